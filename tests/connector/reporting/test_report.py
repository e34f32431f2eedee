"""`report` from a server played in memory: its head and notes, a trace nowhere, and the file written whole or not."""

import errno
import os
import re
import stat
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from support.simulated_label_studio import VERSION, Server

from connector.active_learning.window import Slot
from connector.backend import Probabilities
from connector.diagnostics.status import status
from connector.diagnostics.status_text import format_status
from connector.errors import TryAgainLater, UsageError
from connector.progress import Reporter
from connector.reporting.content import Content
from connector.reporting.html import page
from connector.reporting.report import format_report_result, report
from connector.state.project_state import ProjectState
from connector.state.pull import pull, read_project, read_snapshot
from connector.state.rows import Accepted, Finish

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=timezone.utc)


class Studio(Server):
    """The played Label Studio, which tells who its users are."""

    def emails(self) -> dict[int, str]:
        return {1: "ada@example.com"}


class Untrained:
    """An ML backend without a model."""

    away: TryAgainLater | None = None

    def check(self) -> None:
        if self.away is not None:
            raise self.away

    def put_items(self, *items: Any) -> None:
        pass

    def probabilities(self, project: str) -> Probabilities | None:
        return None


class Drawn:
    """Keeps the content in place of drawing the page."""

    content: Content

    def __call__(self, content: Content) -> str:
        self.content = content
        return "<!DOCTYPE html>"


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def state(adopted_state: ProjectState) -> ProjectState:
    return adopted_state


def write(studio: Studio, state: ProjectState, out: Path, draw: Any = None, backend: Any = None, **more: Any) -> Any:
    done: Any = report(7, studio, backend, state, out, Reporter(), draw or Drawn(), clock=lambda: NOW, **more)  # type: ignore[arg-type]
    return done


def drawn(studio: Studio, state: ProjectState, out: Path, **more: Any) -> Content:
    draw = Drawn()
    write(studio, state, out, draw, **more)
    return draw.content


def synced(studio: Studio, state: ProjectState, *window: Slot, **last: Any) -> None:
    """What a sync leaves that read everything and published `window`."""
    pull(read_project(7, studio), studio, state)  # type: ignore[arg-type]
    state.store_window(VERSION, len(window), window, {"window": 4, "strategy": "activelab-weighted"})
    studio.versions[VERSION] = len(window)
    studio.settings["model_version"] = VERSION
    state.store_round(1, {"round": 1, "annotations": 2, "labels": 2, "model_version": None, "model_agreement": 0.7})
    state.put(last_sync={"at": NOW.isoformat(), "result": "published", "error": None, **last})


def test_the_head_tells_of_accepted_labels_as_status_does(studio: Studio, state: ProjectState, tmp_path: Path) -> None:
    studio.annotate(1, 1)
    studio.rows[6]["data"] = {}
    synced(studio, state, Slot(1, relabel=False))
    assert drawn(studio, state, tmp_path / "report.html").head.accepted == ""
    sources = read_snapshot(7, studio, state).sources  # type: ignore[arg-type]
    finish: Finish = {
        "at": NOW.isoformat(),
        "max_error": 0.05,
        "bound": 0.0421,
        "audited": 164,
        "model_version": "v1",
    }
    state.store_accepted({task: Accepted("Polite", 0.97, sources[task]) for task in (2, 3, 4)}, finish)
    studio.annotate(4, 1)  # a person's label wins
    words = (
        "the model's label for 2 tasks, since connector finish --max-error 0.05. At most 4.3 % of the labels that it "
        "accepted are wrong, with 95 % confidence. 1 task is left for people"
    )
    out = tmp_path / "report.html"
    write(studio, state, out, page)
    assert f"Accepted is {words}.".replace(" %", "\u00a0%").replace("'", "&#39;") in out.read_text("utf-8")
    found = status(7, studio, state, lambda: NOW)  # type: ignore[arg-type]
    assert found.to_json()["accepted"] == {
        "labels": 2,
        "left": 1,
        "max_error": 0.05,
        "bound": 0.0421,
        "at": NOW.isoformat(),
    }
    assert f"\n  Accepted    {words}\n" in format_status(found)


def test_the_head_counts_as_status_does(studio: Studio, state: ProjectState, tmp_path: Path) -> None:
    for task, annotator, choice in (
        (1, 1, "Polite"),
        (1, 2, "Impolite"),
        (2, 1, None),
        (3, 1, "Gone"),
        (4, 3, "Polite"),
    ):
        studio.annotate(task, annotator, choice)
    studio.rows[4]["annotations"][0]["ground_truth"] = True
    studio.rows[5]["data"] = {}
    synced(studio, state, Slot(1, relabel=True), Slot(6, relabel=False))
    head = drawn(studio, state, tmp_path / "report.html").head
    found = status(7, studio, state, lambda: NOW)  # type: ignore[arg-type]
    assert (head.tasks, head.labelled) == (found.tasks.total, found.tasks.labelled) == (6, 2)
    assert (head.labels, head.annotators) == (found.labels.total, found.labels.annotators) == (2, 2)
    assert (head.skipped, head.ground_truth, head.without_text) == (1, 1, 1)
    assert (head.project, head.title, head.label_studio) == (7, "Requests", "http://studio")
    assert (head.made_at, head.last_sync, head.agreement) == (NOW.isoformat(), NOW.isoformat(), 0.7)
    assert head.advice == found.forecast.words
    notes = " ".join(head.notes)
    assert "--no-model" in notes
    assert (
        "1 annotation is marked as ground truth and counted as no annotator's work. "
        'Import labels with "ground_truth": false instead.' in notes
    )
    assert not head.asked_model
    assert "does not serve" not in notes
    assert "There is 1 annotation with an answer that the labelling config no longer has." in notes
    assert "changed since" not in notes


def test_what_a_reader_should_know_first(studio: Studio, state: ProjectState, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    (no_model, never) = drawn(studio, state, out, backend=Untrained()).head.notes
    assert no_model.startswith("There is no model yet")
    assert "never been synced: connector sync --project 7" in never
    studio.annotate(1, 1)
    synced(studio, state, Slot(2, relabel=False))
    head = drawn(studio, state, out, backend=Untrained()).head
    assert (len(head.notes), head.asked_model) == (1, True)
    studio.settings |= {"model_version": "another", "maximum_annotations": 3}
    assert drawn(studio, state, out, backend=Untrained()).head.notes[-1] == (
        "Label Studio does not serve the window in order, because a person changed maximum_annotations, model_version: "
        "run connector sync --project 7."
    )
    studio.settings |= {"model_version": VERSION, "maximum_annotations": 1}
    studio.wait(600)
    studio.annotate(2, 1)
    assert "changed since the last sync" in drawn(studio, state, out).head.notes[-1]
    state.put(last_sync={"at": NOW.isoformat(), "result": "failed", "error": "The disk is full."})
    assert drawn(studio, state, out).head.notes[-1] == "The last sync failed: The disk is full."


def test_a_project_never_synced_and_one_without_tasks(studio: Studio, state: ProjectState, tmp_path: Path) -> None:
    studio.annotate(1, 1, "Polite")
    content = drawn(studio, state, tmp_path / "report.html")
    assert (content.window.size, content.curve.points, content.head.last_sync) == (0, [], None)
    assert [one.name for one in content.people.annotators] == ["ada@example.com"]
    studio.rows.clear()
    done = write(studio, state, tmp_path / "empty.html")
    assert (done["tasks"], done["annotations"], done["alpha"], done["suspects"]) == (0, 0, None, 0)
    assert format_report_result(done) == f"Wrote a report on 0 tasks with 0 labels to {tmp_path}/empty.html."
    assert format_report_result({**done, "tasks": 1670, "annotations": 1}).startswith(
        "Wrote a report on 1,670 tasks with 1 label to "
    )
    assert done["bytes"] == (tmp_path / "empty.html").stat().st_size


def test_it_leaves_no_trace(studio: Studio, state: ProjectState, tmp_path: Path) -> None:
    studio.annotate(1, 1)
    synced(studio, state, Slot(2, relabel=False))
    before = state.record(), state.tasks(), state.window(), state.rounds()
    studio.annotate(3, 2)
    studio.calls.clear()
    with state.lock():
        locked = state.record()
        content = drawn(studio, state, tmp_path / "report.html")
        assert state.record() == locked
    assert content.head.labels == 2
    assert (state.tasks(), state.window(), state.rounds()) == before[1:]
    assert {name if isinstance(name, str) else name[0] for name in studio.calls} <= {
        "project",
        "versions",
        "tasks since",
        "all tasks",
    }


# -- the file ----------------------------------------------------------------------------------------------------------


def test_a_page_that_cannot_be_made_leaves_the_old_one(
    studio: Studio, state: ProjectState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")

    def fails(code: int) -> Callable[..., Any]:
        def fail(*anything: object) -> Any:
            raise OSError(code, "of the system's")

        return fail

    with pytest.raises(OSError, match="of the system's"):  # the page, or the network: it is not the file
        write(studio, state, out, fails(errno.ECONNRESET))
    for code, error, more in ((errno.EFBIG, UsageError, ""), (errno.ENOSPC, TryAgainLater, " Free some space.")):
        with monkeypatch.context() as broken:
            broken.setattr(Path, "write_bytes", fails(code))
            with pytest.raises(error) as told:
                write(studio, state, out)
        assert str(told.value) == f"{out} cannot be written: {os.strerror(code)}.{more}"
    studio.failure = TryAgainLater("gone")
    with pytest.raises(TryAgainLater):
        write(studio, state, out)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", "old")]


def test_a_page_keeps_the_rights_and_the_link_of_the_old_one(
    studio: Studio, state: ProjectState, tmp_path: Path
) -> None:
    private, link = tmp_path / "private.html", tmp_path / "link.html"
    private.write_text("old")
    private.chmod(0o600)
    link.symlink_to("private.html")
    write(studio, state, link)
    assert link.is_symlink()
    assert private.read_text().startswith("<!DOCTYPE html>")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_where_no_page_can_be_written_nothing_is_read(studio: Studio, state: ProjectState, tmp_path: Path) -> None:
    for out, said in (
        (
            tmp_path / "none" / "report.html",
            f"There is no folder {tmp_path}/none: create it first, or give another --out.",
        ),
        (tmp_path, f"{tmp_path} is a folder, and a report writes a file: give another --out."),
        (Path("/dev/null"), "/dev/null is no file, and a report writes a file: give another --out."),
    ):
        with pytest.raises(UsageError, match=re.escape(said)):
            write(studio, state, out)
    with pytest.raises(UsageError, match="holds no results"):
        write(studio, state, tmp_path / "report.html", simulated=tmp_path)
    backend = Untrained()
    backend.away = TryAgainLater("The ML backend is away.")
    with pytest.raises(TryAgainLater, match="With --no-model, the report does not need it"):
        write(studio, state, tmp_path / "report.html", backend=backend)
    state.put(adopted_at=None)
    with pytest.raises(UsageError, match="connector init --project 7"):
        write(studio, state, tmp_path / "report.html")
    assert studio.calls == []
    assert list(tmp_path.iterdir()) == []


def test_labels_and_texts_are_shown_as_they_are_read(studio: Studio, state: ProjectState, tmp_path: Path) -> None:
    studio.rows[1]["data"]["text"] = "<b>bold</b> \ud800 half a letter"
    studio.annotate(2, 1, "Polite")
    synced(studio, state, Slot(1, relabel=False))
    write(studio, state, tmp_path / "report.html", page)
    told = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;bold&lt;/b&gt; ? half a letter" in told

"""`connector report`, the command itself, on the real Label Studio and the real ML backend."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from support.connector_commands import connector, connector_process
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts
from support.proxy import Proxy

from connector.backend import Backend
from connector.demo.people import Person
from connector.progress import Reporter
from connector.reporting.content import Content
from connector.reporting.html import page
from connector.reporting.report import report
from connector.simulation.results import results_json

NOWHERE = "http://127.0.0.1:9"
SUMMARY = {"project", "out", "tasks", "annotations", "suspects", "ambiguous", "alpha", "bytes", "model_version"}


def command(loop: ProjectDriver, out: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return connector(loop, "report", "--project", str(loop.id), "--out", str(out), *options, **environment)


def label_some(loop: ProjectDriver, people: Annotators) -> list[Person]:
    """Three people on ten tasks: the second contradicts the first on one, the third labels two and skips one.

    And the first mislabels an eleventh.
    """
    first, second, third = everyone = people(3)
    for index, task in enumerate(loop.tasks[:10]):
        loop.label(first, task, "Impolite" if index % 2 else "Polite")
        loop.label(second, task, "Impolite" if index % 2 or index == 0 else "Polite")
    loop.label(first, loop.tasks[10], "Impolite")
    loop.label(third, loop.tasks[0], "Polite")
    loop.label(third, loop.tasks[1], "Impolite")
    third.skip({"id": loop.tasks[2]})
    return everyone


def content_of(loop: ProjectDriver, out: Path, *, with_model: bool = True) -> Content:
    """What the report tells, by the real page."""
    told: list[Content] = []

    def draw(content: Content) -> str:
        told.append(content)
        return page(content)

    backend = Backend(loop.backend) if with_model else None
    report(loop.id, loop.gateway, backend, loop.state, out, Reporter(), draw)
    if backend is not None:
        backend.close()
    return told[0]


def shown(browser: Browser, file: Path) -> str:
    """The page's text as a browser shows it, and that it asks for nothing and complains of nothing."""
    opened = browser.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: wrong.append(message.text))
    opened.goto(file.as_uri())
    text = opened.inner_text("body")
    opened.close()
    assert asked == [file.as_uri()]
    assert wrong == []
    return text


def test_a_report_by_the_command(start: StartProject, people: Annotators, tmp_path: Path, browser: Browser) -> None:
    loop = start(texts(30))
    everyone = label_some(loop, people)
    model = loop.sync(window=10)["model_version"]
    before, known = loop.dump(), loop.state.record()
    done = command(loop, tmp_path / "report.html", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    summary = json.loads(done.stdout)
    assert summary.keys() == SUMMARY
    assert (summary["project"], summary["out"]) == (loop.id, str(tmp_path / "report.html"))
    assert (summary["tasks"], summary["annotations"], summary["suspects"]) == (30, 23, 1)
    assert summary["model_version"] == model
    assert 0 < summary["alpha"] < 1
    assert summary["bytes"] == (tmp_path / "report.html").stat().st_size
    assert (loop.dump(), loop.state.record()) == (before, known), "nothing was changed"

    text = shown(browser, tmp_path / "report.html")
    assert loop.project()["title"] in text
    for person in everyone:
        assert person.email in text
    assert texts(30)[10] in text, "the suspect"

    # As the first report on a machine: matplotlib has not seen the fonts, and --out is left to the command.
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    done = connector_process(loop, "report", "--project", str(loop.id), MPLCONFIGDIR=str(fonts))
    assert list(fonts.iterdir())
    assert "font" not in done.stderr
    out = re.fullmatch(r"Wrote a report on 30 tasks with 23 labels to (\S+)\.\n", done.stdout)
    assert out is not None
    assert Path(out[1]).is_absolute()
    assert (Path(out[1]).name, Path(out[1]).stat().st_size) == (f"report-{loop.id}.html", summary["bytes"])


def test_what_it_tells(start: StartProject, people: Annotators, tmp_path: Path) -> None:
    loop = start(texts(30))
    first, second, third = label_some(loop, people)
    made = loop.sync(window=10)
    content = content_of(loop, tmp_path / "report.html")
    head = content.head
    assert (head.tasks, head.labelled, head.labels, head.annotators, head.skipped) == (30, 11, 23, 3, 1)
    assert head.model_version == made["model_version"]
    assert head.agreement == pytest.approx(made["model_agreement"])
    assert head.notes == []
    assert [(one.round, one.labels) for one in content.curve.points] == [(1, 23)]
    assert [place.task for place in content.window.places] == loop.window
    assert all(place.score is not None for place in content.window.places)
    assert [place.rank for place in content.window.places] == list(range(1, len(loop.window) + 1))
    for place in content.window.places:
        beginnings = ("One label, ", "2 labels", "3 labels") if place.second_opinion else ("The model ", "Kept at")
        assert place.why.startswith(beginnings), place.why
    shown = json.loads(connector(loop, "status", "--project", str(loop.id), "--json").stdout)
    assert shown["model"]["agreement"] == head.agreement == content.curve.points[-1].agreement
    (suspect,) = content.consensus.suspects
    assert (suspect.task, suspect.consensus, suspect.predicted) == (loop.tasks[10], "Impolite", "Polite")
    assert sum(one.tasks for one in content.consensus.bins) == 11
    found = {one.name: one for one in content.people.annotators}
    assert list(found) == [first.email, second.email, third.email]
    assert [(one.labels, one.skips) for one in found.values()] == [(11, 0), (10, 0), (2, 1)]
    assert all(one.agreement is not None and one.quality is not None for one in found.values())
    assert sum(one.labels for one in content.pace.days) == 23
    assert [(one.name, one.labels) for one in content.classes] == [("Polite", 10), ("Impolite", 13)]


def test_without_a_model_and_before_the_first_sync(start: StartProject, people: Annotators, tmp_path: Path) -> None:
    loop = start(texts(12))
    out = tmp_path / "report.html"
    done = command(loop, out, "--json", "--no-model", ML_BACKEND_URL=NOWHERE)
    assert json.loads(done.stdout)["annotations"] == 0, "nobody has labelled anything"
    (person,) = people(1)
    for _ in range(2):  # the second time it is another annotation, and the same label
        loop.label(person, loop.tasks[0], "Polite")
    content = content_of(loop, out)
    assert (content.head.model_version, content.head.last_sync, content.window.size) == (None, None, 0)
    assert [one.labels for one in content.people.annotators] == [1]
    assert content.people.alpha is None
    done = loop.sync(window=5)
    content = content_of(loop, out)
    assert ([one.labels for one in content.curve.points], done["annotations"]) == ([1], 2)
    assert content.window.places[0].why == "One of the first tasks, which are spread over the texts."
    assert content.window.places[-1].why == "Kept at the end so that annotators do not run out of tasks."
    alone = content_of(loop, out, with_model=False)
    assert "--no-model" in alone.head.notes[0]
    assert not alone.head.asked_model
    assert alone.consensus.suspects == []


def test_what_somebody_changed_in_label_studio_is_told(start: StartProject, people: Annotators, tmp_path: Path) -> None:
    loop = start(texts(12))
    label_some(loop, people)
    loop.sync(window=5, strategy="random")
    out = tmp_path / "report.html"
    content = content_of(loop, out)
    assert content.head.notes == []
    assert {place.why for place in content.window.places if not place.second_opinion} <= {
        "Chosen at random.",
        "Kept at the end so that annotators do not run out of tasks.",
    }
    loop.call("PATCH", f"/api/projects/{loop.id}", json={"maximum_annotations": 3})
    for place in content.window.places:
        loop.call("DELETE", f"/api/tasks/{place.task}")
    content = content_of(loop, out)
    assert (content.window.gone, content.window.left) == (content.window.size, 0)
    (note,) = (one for one in content.head.notes if "does not serve" in one)
    assert "maximum_annotations" in note


def test_multiple_choice(start: StartProject, people: Annotators, tmp_path: Path) -> None:
    config = """<View><Text name="text" value="$text"/><Choices name="politeness" toName="text" choice="multiple">
      <Choice value="Thanks"/><Choice value="Please"/></Choices></View>"""
    loop = start(texts(12), config=config)
    first, second = people(2)
    for index, task in enumerate(loop.tasks[:6]):
        loop.label(first, task, "Please" if index % 2 else "Thanks")
        loop.label(second, task, "Please" if index % 3 else "Thanks")
    loop.sync(window=5)
    content = content_of(loop, tmp_path / "report.html")
    assert content.head.multiple
    assert content.people.alpha is not None
    shown = {"Thanks", "Please", "Thanks + Please", "none of them"}
    assert content.consensus.suspects
    for one in content.consensus.suspects:
        assert {one.consensus, one.predicted} <= shown
        assert one.quality < 0.5 or one.consensus != one.predicted


def test_a_sync_at_work_is_not_waited_for(start: StartProject, tmp_path: Path) -> None:
    loop = start(texts(5))
    with loop.state.lock():
        assert command(loop, tmp_path / "report.html", "--no-model").returncode == 0


def test_a_replay_is_drawn(start: StartProject, tmp_path: Path, browser: Browser) -> None:
    loop = start(texts(5))
    runs = [
        {
            "strategy": strategy,
            "classifier": "logistic",
            "seed": 0,
            "rounds": [{"labels": 100 * step, "accuracy": gain * step} for step in (1, 2, 3)],
        }
        for strategy, gain in (("activelab-weighted", 0.3), ("random", 0.2))
    ]
    (tmp_path / "results.json").write_text(results_json("activelab-weighted", runs))
    out = tmp_path / "report.html"
    done = command(loop, out, "--no-model", "--simulated", str(tmp_path))
    assert done.returncode == 0, done.stderr
    text = shown(browser, out)
    assert "Random order did not reach it with 300 labels. Its best accuracy was 60.0\u00a0%." in text


def test_wrong_use_is_told_before_anything_is_read(start: StartProject, tmp_path: Path, proxy: Proxy) -> None:
    loop = start(texts(3), through=proxy.url)
    out = tmp_path / "made" / "report.html"
    out.parent.mkdir()
    proxy.calls.clear()

    def refused(code: int, place: Path, *options: str, **environment: Any) -> str:
        done = command(loop, place, *options, **environment)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        return done.stderr.splitlines()[-1]

    assert f"There is no folder {out.parent}/none" in refused(2, out.parent / "none" / "report.html")
    assert f"{out.parent} is a folder, and a report writes a file" in refused(2, out.parent)
    assert "/proc/report.html cannot be written" in refused(2, Path("/proc/report.html"))
    assert "holds no results.json" in refused(2, out, "--simulated", str(tmp_path))
    assert "With --no-model, the report does not need it." in refused(3, out, ML_BACKEND_URL=NOWHERE)
    assert proxy.calls == []
    assert list(out.parent.iterdir()) == []

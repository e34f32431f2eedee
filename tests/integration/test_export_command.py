"""`connector export`, the command itself: what it prints, how it fails, and that it writes all of a file or nothing."""

from __future__ import annotations

import json
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from support.connector_commands import command_environment, connector, start_connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts
from support.proxy import Proxy

from connector.backend import Backend
from connector.errors import TryAgainLater, UsageError
from connector.label_studio.client import LabelStudio as Gateway
from connector.progress import Reporter
from connector.reporting.export import export

FORMATS = {
    "csv": "labels.csv",
    "jsonl": "labels.jsonl",
    "parquet": "labels.parquet",
    "label-studio": "labels.json",
    "datasets": "labels",
}
COMMAND = (sys.executable, "-m", "connector.cli")
NOWHERE = "http://127.0.0.1:9"
SUMMARY = {
    "project",
    "out",
    "format",
    "tasks",
    "annotations",
    "consensus",
    "accepted",
    "without_text",
    "unknown_choices",
    "unreadable_annotations",
    "left_out",
    "model_version",
    "note",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with nothing in it, into which things are exported."""
    made = tmp_path / "results"
    made.mkdir()
    return made


def command(loop: ProjectDriver, out: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return connector(loop, "export", "--project", str(loop.id), "--out", str(out), *options, **environment)


def refused(loop: ProjectDriver, code: int, out: Path, *options: str, **environment: str) -> str:
    """The one sentence with which the command ends."""
    done = command(loop, out, *options, **environment)
    said = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert (done.returncode, done.stdout, len(said)) == (code, "", 1), done.stderr
    assert done.stderr.splitlines()[-1] == said[0]
    return said[0]


def write(loop: ProjectDriver, out: Path, file_format: str = "csv", gateway: Gateway | None = None) -> dict[str, Any]:
    """The export within this process, without a model."""
    return export(loop.id, gateway or loop.gateway, None, loop.state, out, file_format, Reporter())


def label_some(loop: ProjectDriver, people: Annotators) -> None:
    first, second, third = people(3)
    for index, task in enumerate(loop.tasks[:10]):
        loop.label(first, task, "Impolite" if index % 2 else "Polite")
    loop.label(second, loop.tasks[0], "Impolite")
    loop.label(third, loop.tasks[0], "Impolite")


# -- what it does and says ---------------------------------------------------------------------------------------------


def test_every_format_by_the_command(start: StartProject, people: Annotators, folder: Path) -> None:
    loop = start(texts(30))
    label_some(loop, people)
    model = loop.sync(window=10)["model_version"]
    for file_format, name in FORMATS.items():
        options = ["--format", file_format] * (file_format in ("label-studio", "datasets"))
        done = command(loop, folder / name, "--json", *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 1
        summary = json.loads(done.stdout)
        assert summary.keys() == SUMMARY
        assert (summary["format"], summary["out"]) == (file_format, str(folder / name))
        assert (summary["tasks"], summary["annotations"], summary["consensus"]) == (30, 12, 10)
        assert summary["model_version"] == model
    assert sorted(path.name for path in folder.iterdir()) == sorted(FORMATS.values())
    frame = pd.read_csv(folder / "labels.csv")
    assert list(frame["task_id"]) == loop.tasks
    assert list(frame["text"]) == texts(30)
    assert len(pd.read_parquet(folder / "labels.parquet")) == len(datasets.load_from_disk(folder / "labels")) == 30

    done = command(loop, folder / "again", "--format", "csv")
    assert done.stdout == f"Wrote 30 tasks with 12 annotations to {folder}/again. 10 tasks have a consensus label.\n"
    assert (folder / "again").read_bytes() == (folder / "labels.csv").read_bytes()


def test_without_a_model_the_majority_decides_and_no_backend_is_asked(
    start: StartProject, people: Annotators, folder: Path
) -> None:
    loop = start(texts(20))
    label_some(loop, people)
    loop.sync(window=10)
    done = command(loop, folder / "labels.csv", "--no-model", "--json", ML_BACKEND_URL=NOWHERE)
    summary = json.loads(done.stdout)
    assert (summary["model_version"], summary["note"]) == (None, "")
    frame = pd.read_csv(folder / "labels.csv")
    assert list(frame["consensus"][:3]) == ["Impolite", "Impolite", "Polite"]
    assert frame["agreement"][0] == pytest.approx(2 / 3)
    for name in ("quality", "predicted", "prob_Polite", "prob_Impolite", "model_version", "score"):
        assert frame[name].isna().all(), name
    open_places = frame.dropna(subset="rank").sort_values("rank")
    assert list(open_places["task_id"]) == loop.window, "the window needs no model"


def test_before_the_first_sync_there_is_neither_model_nor_rank(
    start: StartProject, people: Annotators, folder: Path
) -> None:
    loop = start(texts(15))
    label_some(loop, people)
    write(loop, folder / "labels.csv")
    served = Backend(loop.backend)
    done = export(loop.id, loop.gateway, served, loop.state, folder / "model.csv", "csv", Reporter())
    assert (done["model_version"], done["consensus"]) == (None, 10)
    assert done["note"].startswith("There is no model yet. Consensus labels are majority votes")
    # As after a restart of the ML backend with an empty folder.
    loop.state.put(model_version="v3")
    lost = export(loop.id, loop.gateway, served, loop.state, folder / "lost.csv", "csv", Reporter())
    served.close()
    assert "does not have the project's model (v3) any more" in lost["note"]
    assert f"connector sync --project {loop.id} --train always" in lost["note"]
    assert (folder / "model.csv").read_bytes() == (folder / "labels.csv").read_bytes()
    assert pd.read_csv(folder / "labels.csv")["rank"].isna().all()


def test_a_sync_at_work_is_not_waited_for(start: StartProject, people: Annotators, folder: Path) -> None:
    loop = start(texts(15))
    label_some(loop, people)
    with loop.state.lock():
        assert command(loop, folder / "labels.csv", "--no-model").returncode == 0
    assert len(pd.read_csv(folder / "labels.csv")) == 15


def calls(loop: ProjectDriver, out: Path, file_format: str) -> int:
    """How many calls an export makes when the last sync is long past and nothing has changed since."""
    later = datetime.now(timezone.utc) + timedelta(minutes=5)
    loop.state.put(bookmark=later.isoformat())
    loop.gateway.calls = 0
    write(loop, out, file_format)
    return loop.gateway.calls


@pytest.mark.nightly
def test_a_large_project_costs_no_more_calls_than_a_small_one(start: StartProject, folder: Path) -> None:
    loop = start(texts(1200))
    loop.read()
    for file_format in ("csv", "parquet"):
        assert calls(loop, folder / "labels", file_format) == 4, "the project, what changed, versions and users"
    assert list(pd.read_parquet(folder / "labels")["text"]) == texts(1200)
    assert calls(loop, folder / "labels", "label-studio") == 4, "the project and three pages of tasks"


def test_many_tasks_without_a_text_are_told_as_they_are(start: StartProject, folder: Path) -> None:
    blank: list[Any] = [" " * (1 + number % 7) if number % 3 else [] for number in range(700)]
    loop = start([{"text": value} for value in [*blank, "Thanks."]])
    loop.read()
    assert calls(loop, folder / "labels", "jsonl") == 4 + 3, "300 tasks a call"
    lines = (folder / "labels").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [*blank, "Thanks."]


def test_a_project_without_tasks(start: StartProject, folder: Path) -> None:
    loop = start([])
    for file_format in ("csv", "jsonl", "parquet", "label-studio"):
        assert write(loop, folder / FORMATS[file_format], file_format)["tasks"] == 0
    with pytest.raises(UsageError, match="has no tasks"):
        write(loop, folder / "labels", "datasets")
    served = Backend(loop.backend)
    export(loop.id, loop.gateway, served, loop.state, folder / "model.csv", "csv", Reporter())
    served.close()
    assert {path.name for path in folder.iterdir()} == {*FORMATS.values(), "model.csv"} - {"labels"}


# -- how it fails ------------------------------------------------------------------------------------------------------


def test_wrong_use_is_told_before_anything_is_read(start: StartProject, folder: Path, proxy: Proxy) -> None:
    loop = start(texts(3), through=proxy.url)
    proxy.calls.clear()
    said = refused(loop, 2, folder / "labels.xlsx")
    assert all(word in said for word in (".csv", ".jsonl", ".parquet", "label-studio", "datasets"))
    assert f"There is no folder {folder}/none" in refused(loop, 2, folder / "none" / "labels.csv")
    assert "is a folder" in refused(loop, 2, folder, "--format", "csv")
    (folder / "labels").write_text("a file")
    assert "writes a folder" in refused(loop, 2, folder / "labels", "--format", "datasets")
    assert "/dev/null is no file" in refused(loop, 2, Path("/dev/null"), "--format", "csv")
    # Nobody may write here, the superuser included.
    assert "/proc/labels.csv cannot be written" in refused(loop, 2, Path("/proc/labels.csv"))
    assert proxy.calls == []
    assert [path.name for path in folder.iterdir()] == ["labels"]


def test_a_project_that_is_not_set_up_is_told_how(start: StartProject, folder: Path) -> None:
    loop = start(texts(3), adopted=False)
    said = refused(loop, 2, folder / "labels.csv")
    assert f"connector init --project {loop.id}" in said
    assert list(folder.iterdir()) == []


def test_a_backend_that_is_away_is_told_with_the_way_round(start: StartProject, folder: Path, proxy: Proxy) -> None:
    loop = start(texts(3), through=proxy.url)
    proxy.calls.clear()
    said = refused(loop, 3, folder / "labels.csv", ML_BACKEND_URL=NOWHERE)
    assert "ml-backend serve" in said
    assert "--no-model" in said
    assert proxy.calls == [], "Label Studio is not read in vain"
    assert list(folder.iterdir()) == []


def test_label_studio_that_fails_leaves_the_old_file(start: StartProject, folder: Path, proxy: Proxy) -> None:
    loop = start(texts(3), through=proxy.url)
    (folder / "labels.csv").write_text("old")
    proxy.fail_with = 502
    assert "failed with 502" in refused(loop, 3, folder / "labels.csv")
    assert (folder / "labels.csv").read_text() == "old"
    assert [path.name for path in folder.iterdir()] == ["labels.csv"]


class HalfWay(Gateway):
    """Label Studio goes away after the first page of tasks."""

    def tasks(self, *arguments: Any, **options: Any) -> Iterator[list[dict[str, Any]]]:
        yield next(super().tasks(*arguments, **options))
        raise TryAgainLater("gone")


def test_label_studio_that_goes_away_half_way_leaves_nothing(start: StartProject, folder: Path) -> None:
    loop = start(texts(3))
    gateway = HalfWay(loop.gateway.url, loop.server.token)
    loop.gateways.append(gateway)
    with pytest.raises(TryAgainLater, match="gone"):
        write(loop, folder / "labels.csv", gateway=gateway)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "file_format", ["csv", *(pytest.param(name, marks=pytest.mark.nightly) for name in FORMATS if name != "csv")]
)
def test_a_file_that_cannot_grow_leaves_the_old_one(start: StartProject, folder: Path, file_format: str) -> None:
    """A limit on the size of files stands for a full disk: the system refuses to write on."""
    loop = start(texts(40))
    out = folder / FORMATS[file_format]
    write(loop, out, file_format)
    before = content(folder)
    done = subprocess.run(
        [*COMMAND, "export", "--no-model", "--project", str(loop.id), "--out", str(out), "--format", file_format],
        env=command_environment(loop, changed={"PYTHONDONTWRITEBYTECODE": "1"}),  # it would be cut short as well
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == f"Error: {out} cannot be written: File too large."
    assert content(folder) == before


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_interrupt_leaves_nothing(start: StartProject, folder: Path, proxy: Proxy) -> None:
    loop = start(texts(3), through=proxy.url)
    proxy.hold("GET", "/api/tasks")
    out = str(folder / "labels.csv")
    process = start_connector(loop, "export", "--no-model", "--project", str(loop.id), "--out", out)
    assert proxy.wait_until_reached(process)
    assert [path.name[:18] for path in folder.iterdir()] == [".connector-export-"]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == "Stopped."
    assert list(folder.iterdir()) == []


# -- what stands there already -----------------------------------------------------------------------------------------


def test_a_file_is_replaced_with_its_rights_and_through_its_link(start: StartProject, folder: Path) -> None:
    loop = start(texts(3))
    private, link = folder / "private.csv", folder / "link.csv"
    private.write_text("old")
    private.chmod(0o600)
    link.symlink_to("private.csv")
    write(loop, link)
    assert len(pd.read_csv(private)) == 3
    assert link.is_symlink()
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    write(loop, folder / "new.csv")
    (folder / "plain").write_text("")
    assert (folder / "new.csv").stat().st_mode == (folder / "plain").stat().st_mode


def test_a_datasets_folder_is_replaced_as_a_whole(start: StartProject, people: Annotators, folder: Path) -> None:
    loop = start(texts(3))
    out = folder / "labels"
    out.mkdir()
    write(loop, out, "datasets")
    assert datasets.load_from_disk(out)["consensus"][0] is None
    (out / "data-00001-of-00002.arrow").write_text("of a larger one")
    (out / "cache-0123456789abcdef.arrow").write_text("what datasets keeps of a map()")
    loop.label(people(1)[0], loop.tasks[0], "Polite")
    write(loop, out, "datasets")
    assert datasets.load_from_disk(out)["consensus"][0] == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "data-00000-of-00001.arrow",
        "dataset_info.json",
        "state.json",
    ]
    assert [path.name for path in folder.iterdir()] == ["labels"]


@pytest.mark.parametrize("name", ["notes.txt", "labels.csv", "dataset_dict.json", "train/state.json"])
def test_a_folder_that_is_not_of_datasets_is_never_deleted(start: StartProject, folder: Path, name: str) -> None:
    loop = start(texts(3))
    out = folder / "labels"
    write(loop, out, "datasets")
    foreign = out / name
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("somebody's")
    before = content(folder)
    with pytest.raises(UsageError, match=f"{name.split('/')[0]}.*Nothing was deleted"):
        write(loop, out, "datasets")
    assert content(folder) == before

"""`connector simulate --project` on what people have answered in a real Label Studio, without `init`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.connector_commands import start_connector
from support.drawn_images import KINDS, png
from support.label_studio_server import Annotators
from support.pictures import opened
from support.project_driver import ProjectDriver, StartProject, texts
from support.uploaded_images import number_of, upload

from connector.annotations.label_config import find_questions
from connector.errors import UsageError
from connector.progress import Reporter
from connector.simulation.project_corpus import read_project
from connector.simulation.simulate import describe

TASKS = 40
CONFIG = (
    '<View><Image name="i" value="$image"/><Choices name="shape" toName="i">'
    '<Choice value="circle"/><Choice value="square"/></Choices></View>'
)
OPTIONS = ("--initial", "10x2", "--batch", "5", "--rounds", "2", "--seeds", "1", "--jobs", "1", "--no-plot")


@pytest.fixture
def loop(start: StartProject, people: Annotators) -> ProjectDriver:
    """A project without `init`, in which two people have labelled all but four tasks."""
    loop = start(texts(TASKS), adopted=False)
    for person in people(2):
        for number, task in enumerate(loop.tasks):
            if number % 13:
                loop.label(person, task, ("Polite", "Impolite")[number % 2])
    return loop


def test_a_projects_annotations_are_a_corpus_and_nothing_is_changed(loop: ProjectDriver, tmp_path: Path) -> None:
    before = loop.dump()
    corpus = read_project(loop.id, loop.gateway, Reporter(), media=tmp_path / "media")
    assert not (tmp_path / "media").exists()  # there are none
    assert loop.dump() == before
    assert (len(corpus.tasks), len(corpus.test), corpus.classes) == (29, 7, ["Impolite", "Polite"])
    assert corpus.tasks.items() <= {(str(task), text) for task, text in zip(loop.tasks, texts(TASKS), strict=True)}
    assert all(len(rows) == 2 and len({label for _, label in rows}) == 1 for rows in corpus.annotations.values())


def test_one_of_several_questions_is_a_corpus_and_what_models_read_can_be_chosen(
    start: StartProject, tmp_path: Path
) -> None:
    config = """<View><Text name="t" value="$text"/>
    <Choices name="mood" toName="t"><Choice value="good"/><Choice value="bad"/></Choices>
    <Rating name="stars" toName="t" maxRating="2"/></View>"""
    questions = find_questions(config)
    made = []
    for number in range(20):
        label = questions.joint({"mood": ("good", "bad")[number % 2], "stars": "1"})
        answers = [{"result": questions.result(label), "ground_truth": False}]
        made.append({"data": {"text": f"Text {number}", "title": f"Title {number}"}, "annotations": answers})
    loop = start(made, config=config, adopted=False)
    corpus = read_project(loop.id, loop.gateway, Reporter(), "mood", ["title", "text"], media=tmp_path)
    assert (corpus.control, describe(corpus)["control"]) == ("mood", "mood")
    assert corpus.notes[0] == "Only the question 'mood' was replayed, without 'stars'."
    assert set(corpus.tasks.values()) < {f"title: Title {number}\n\ntext: Text {number}" for number in range(20)}
    with pytest.raises(UsageError, match="several controls that can be served"):
        read_project(loop.id, loop.gateway, Reporter(), media=tmp_path)


@pytest.mark.nightly
def test_a_projects_annotations_are_replayed_and_nothing_is_changed(loop: ProjectDriver, tmp_path: Path) -> None:
    before = loop.dump()
    chosen = ("--project", str(loop.id), "--strategy", "random", "--out", str(tmp_path / "out"), "--json")
    done = start_connector(loop, "simulate", *chosen, *OPTIONS)
    out, said = done.communicate(timeout=300)
    assert done.returncode == 0, said
    assert loop.dump() == before
    told = json.loads(out)
    assert "There is no test set: accuracy is measured on" in told["notes"][0]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["options"]["project"] == str(loop.id)
    (run,) = results["runs"]
    assert [one["labels"] for one in run["rounds"]] == [20, 25, 30]
    data = {name: results["data"][name] for name in ("tasks", "test", "annotators", "classes")}
    assert data == {"tasks": 29, "test": 7, "annotators": 2, "classes": ["Impolite", "Polite"]}


@pytest.fixture
def images(start: StartProject, people: Annotators) -> ProjectDriver:
    """A project without `init`, in which two people have labelled 40 images. Two are the same, and one is gone."""
    loop = start([], config=CONFIG, adopted=False)
    upload(loop, range(TASKS), lambda number: png(0 if number == 2 else number))
    gone = [{"data": {"image": "/data/upload/1/gone-40.png"}}]
    loop.call("POST", f"/api/projects/{loop.id}/import", json=gone)
    for person in people(2):
        for row in loop.rows():
            person.submit(row, "shape", "i", KINDS[number_of(row["data"]["image"]) % 2])
    return loop


def test_images_of_a_project_are_fetched_once_into_a_folder(images: ProjectDriver, tmp_path: Path) -> None:
    before, folder = images.dump(), tmp_path / "media"
    corpus = read_project(images.id, images.gateway, Reporter(), media=folder)
    assert images.dump() == before
    assert (corpus.kind, corpus.classes) == ("image", KINDS)
    assert corpus.notes[0].startswith("1 labelled task is left out, without an image: ")
    assert corpus.notes[0].endswith(" (its image answers 500 (internal server error)).")
    tested = {path for path, _ in corpus.test}
    paths = tested | set(corpus.tasks.values())
    assert len(paths) == TASKS - 1  # the same image is one
    assert len(corpus.tasks) >= 31
    assert not set(corpus.tasks.values()) & tested
    for path in paths:
        assert Path(path).parent == folder
        assert corpus.content(path) == Path(path).read_bytes()
        assert opened(corpus.content(path)).size == (48, 48)

    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(files) == TASKS
    removed, *kept = sorted(files)
    removed.unlink()
    again = read_project(images.id, images.gateway, Reporter(), media=folder)
    assert (again.tasks, again.digest) == (corpus.tasks, corpus.digest)
    assert {path: path.stat().st_mtime_ns for path in kept} == {path: files[path] for path in kept}
    assert removed.exists()


def test_a_project_none_of_whose_images_can_be_fetched_is_refused(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    loop = start([{"image": f"http://127.0.0.2:1/{number}.png"} for number in range(3)], config=CONFIG, adopted=False)
    for row in loop.rows():
        people(1)[0].submit(row, "shape", "i", "circle")
    with pytest.raises(UsageError, match=r"no image of a labelled task can be fetched, .* private address") as refused:
        read_project(loop.id, loop.gateway, Reporter(), media=tmp_path / "media")
    assert f"Run connector doctor --project {loop.id}." in str(refused.value)


@pytest.mark.nightly
def test_a_project_of_images_is_replayed(images: ProjectDriver, tmp_path: Path) -> None:
    out = tmp_path / "out"
    chosen = ("--project", str(images.id), "--strategy", "activelab", "--out", str(out), "--json")
    done = start_connector(images, "simulate", *chosen, *OPTIONS, ML_BACKEND_IMAGE_ENCODER="pixels")
    said, complaints = done.communicate(timeout=300)
    assert done.returncode == 0, complaints
    assert "1 labelled task is left out" in json.loads(said)["notes"][0]
    (run,) = json.loads((out / "results.json").read_text())["runs"]
    assert [one["labels"] for one in run["rounds"]] == [20, 25, 30]
    assert run["rounds"][-1]["accuracy"] > 0.8
    assert len(list((out / "media").iterdir())) == TASKS

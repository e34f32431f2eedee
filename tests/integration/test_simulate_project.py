"""`connector simulate --project` on what people have answered in a real Label Studio, without `init`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.connector_commands import start_connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

from connector.annotations.label_config import find_questions
from connector.errors import UsageError
from connector.simulation.project_corpus import read_project
from connector.simulation.simulate import describe

TASKS = 40
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


def test_a_projects_annotations_are_a_corpus_and_nothing_is_changed(loop: ProjectDriver) -> None:
    before = loop.dump()
    corpus = read_project(loop.id, loop.gateway)
    assert loop.dump() == before
    assert (len(corpus.tasks), len(corpus.test), corpus.classes) == (29, 7, ["Impolite", "Polite"])
    assert corpus.tasks.items() <= {(str(task), text) for task, text in zip(loop.tasks, texts(TASKS), strict=True)}
    assert all(len(rows) == 2 and len({label for _, label in rows}) == 1 for rows in corpus.annotations.values())


def test_one_of_several_questions_is_a_corpus_and_what_models_read_can_be_chosen(start: StartProject) -> None:
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
    corpus = read_project(loop.id, loop.gateway, "mood", fields=["title", "text"])
    assert (corpus.control, describe(corpus)["control"]) == ("mood", "mood")
    assert corpus.notes[0] == "Only the question 'mood' was replayed, without 'stars'."
    assert set(corpus.tasks.values()) < {f"title: Title {number}\n\ntext: Text {number}" for number in range(20)}
    with pytest.raises(UsageError, match="several controls that can be served"):
        read_project(loop.id, loop.gateway)


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

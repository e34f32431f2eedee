"""A project with choice="multiple" from init to the exported file, on a real Label Studio with the real model."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pandas as pd
import pytest
import requests
from support.connector_commands import connector
from support.label_studio_server import Annotators, MakeProject
from support.project_driver import ProjectDriver
from support.watched_queue import Expected

from connector.demo.people import Person
from connector.label_studio.client import LabelStudio as Gateway
from connector.state.project_state import State

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio

CLASSES = ["rain", "price", "noise"]  # as annotations spell them: the first one by its alias
CONFIG = """<View><Text name="text" value="$text"/><Choices name="topics" toName="text" choice="{kind}">
<Choice value="The weather" alias="rain"/><Choice value="price"/><Choice value="noise"/></Choices></View>"""
MULTIPLE, SINGLE = CONFIG.format(kind="multiple"), CONFIG.format(kind="single")
SAID = {
    "rain": ["it rained all day", "a wet afternoon", "clouds and showers"],
    "price": ["far too expensive", "it cost a fortune", "not worth the money"],
    "noise": ["loud neighbours", "trucks at night", "music through the wall"],
}


def written(count: int) -> list[tuple[str, list[str]]]:
    """Distinct reviews and the topics that they mention: none, one or several."""
    reviews = []
    for number in range(count):
        random = np.random.default_rng([1, number])
        topics = [name for name in CLASSES if random.random() < 0.4]
        said = [str(random.choice(SAID[name])) for name in topics] or ["a fine place"]
        reviews.append((f"Visit {number}: {', '.join(said)}.", topics))
    return reviews


REVIEWS = written(70)


@dataclass
class Story:
    """A project that a team has labelled under our queue; what the syncs printed, and what was served."""

    loop: ProjectDriver
    truth: dict[int, list[str]]
    team: list[Person]
    init: str
    syncs: list[dict[str, Any]]
    served: list[tuple[int | None, int | None]]
    prelabels: list[dict[str, Any]]
    window: dict[int, bool]

    def label(self, person: Person, task: int, topics: list[str] | None = None) -> int:
        return person.submit({"id": task}, "topics", "text", self.truth[task] if topics is None else topics)

    def turn(self, person: Person, expected: Expected) -> None:
        """The person is given a task, which is noted beside the one that is expected, and labels it."""
        task = person.next_task(self.loop.id)
        self.served.append((None if task is None else task["id"], expected.turn(person)))
        if task is not None:
            # The form sends choices in the order of the config, the API takes any.
            person.submit(task, "topics", "text", self.truth[task["id"]][::-1])

    def sync(self, *options: str) -> dict[str, Any]:
        done = connector(self.loop, "sync", "--project", str(self.loop.id), "--json", *options)
        assert done.returncode == 0, done.stderr
        self.syncs.append(json.loads(done.stdout))
        return self.syncs[-1]


@pytest.fixture(scope="module")
def story(
    label_studio: LabelStudio,
    make_project: MakeProject,
    people: Annotators,
    backend: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    project = make_project([text for text, _ in REVIEWS], config=MULTIPLE)
    url = f"sqlite:///{tmp_path_factory.mktemp('multiple')}/state.sqlite"
    database, gateway = State(url), Gateway(label_studio.url, label_studio.token)
    state = database.project(gateway.url, project.id)
    loop = ProjectDriver(label_studio, project.id, project.tasks, gateway, state, url, backend, [gateway])
    done = connector(loop, "init", "--project", str(loop.id))
    assert done.returncode == 0, done.stderr
    truth = dict(zip(loop.tasks, (topics for _, topics in REVIEWS), strict=True))
    told = Story(loop, truth, people(3), done.stdout, [], [], [], {})
    live_through(told)
    yield told
    gateway.close()
    database.close()


def live_through(story: Story) -> None:
    """Three people work in three batches; on five tasks of the first one they differ, one is skipped."""
    story.sync("--window", "30")
    expected = Expected(story.loop)
    for number in range(24):
        story.turn(story.team[number % 3], expected)
    labelled = [task for task, _ in story.served if task is not None]
    for task in labelled[:5]:
        other = next(person for person in story.team if person.user_id not in annotators(story.loop, task))
        story.label(other, task, [name for name in CLASSES if name not in story.truth[task]])
    story.team[0].skip({"id": story.loop.window[-1]})

    story.sync("--window", "20", "--prelabel", "new")
    story.prelabels = story.loop.served()
    story.window = {slot.task: slot.relabel for slot in story.loop.state.window()}
    expected = Expected(story.loop)
    for number in range(15):
        story.turn(story.team[number % 3], expected)
    story.sync("--window", "20", "--train", "always")


def annotators(loop: ProjectDriver, task: int) -> set[int]:
    (row,) = (row for row in loop.rows() if row["id"] == task)
    return {one["completed_by"] for one in row["annotations"]}


# -- the loop ----------------------------------------------------------------------------------------------------------


def test_init_and_sync_take_the_project_and_train_on_sets(story: Story) -> None:
    assert "'topics' with rain, price, noise" in story.init
    cold, trained, again = story.syncs
    assert cold["window"] == {"size": 30, "new": 30, "relabel": 0}
    assert (cold["trained"], trained["trained"], again["trained"]) == (False, True, True)
    assert (trained["labels_changed"], trained["unknown_choices"]) == (24, 0)
    assert trained["annotations"] == 29
    assert 0 <= again["model_agreement"] <= 1
    model = requests.get(f"{story.loop.backend}/api/projects/{story.loop.id}/model", timeout=10).json()
    assert (model["multilabel"], model["classes"]) == (True, CLASSES)
    assert model["model_version"] == again["model_version"]


def test_people_are_served_the_window_in_order_second_opinions_too(story: Story) -> None:
    assert [got for got, _ in story.served] == [expected for _, expected in story.served]
    given = [task for task, _ in story.served[24:]]
    assert {story.window[task] for task in given if task is not None} == {True, False}
    story.loop.assert_published()


def test_prelabels_show_sets_on_new_tasks_and_nothing_on_second_opinions(story: Story) -> None:
    shown = {row["task"]: row["result"] for row in story.prelabels}
    assert all(shown[task] == [] for task, relabel in story.window.items() if relabel)
    sets = [shown[task][0]["value"]["choices"] for task in story.window if shown[task]]
    assert sets
    assert all(one and set(one) <= set(CLASSES) for one in sets)
    assert all(shown[task][0]["from_name"] == "topics" for task in story.window if shown[task])


# -- what comes out ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(story: Story, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("export")
    made = {
        "csv": folder / "labels.csv",
        "jsonl": folder / "labels.jsonl",
        "parquet": folder / "labels.parquet",
        "datasets": folder / "labels",
        "label-studio": folder / "labels.json",
    }
    for name, path in made.items():
        done = connector(
            story.loop, "export", "--project", str(story.loop.id), "--out", str(path), "--format", name, "--json"
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["tasks"] == len(REVIEWS)
    return made


def heard(story: Story) -> dict[int, list[list[str]]]:
    """The sets that people submitted for each task, as Label Studio holds them."""
    return {
        row["id"]: [
            [name for region in one["result"] for name in region["value"]["choices"]]
            for one in row["annotations"]
            if not one["was_cancelled"]
        ]
        for row in story.loop.rows()
    }


def test_the_consensus_is_a_set_that_people_stand_behind(story: Story, files: dict[str, Path]) -> None:
    rows = [json.loads(line) for line in files["jsonl"].read_text(encoding="utf-8").splitlines()]
    answers = heard(story)
    for row in rows:
        sets = [set(one) for one in answers[row["task_id"]]]
        assert row["label_count"] == len(sets)
        if not sets:
            assert row["consensus"] is None
            continue
        consensus = set(row["consensus"])
        assert row["consensus"] == [name for name in CLASSES if name in consensus]
        assert set.intersection(*sets) <= consensus <= set.union(*sets)
        assert row["agreement"] == pytest.approx(sum(one == consensus for one in sets) / len(sets))
        assert 0 < row["quality"] <= 1
    assert [] in [row["consensus"] for row in rows], "none of the topics is an answer"
    assert max(len(row["consensus"] or []) for row in rows) > 1
    assert all(row["predicted"] == [name for name in CLASSES if row[f"prob_{name}"] >= 0.5] for row in rows)
    right = [row["consensus"] == story.truth[row["task_id"]] for row in rows if row["consensus"] is not None]
    assert sum(right) / len(right) > 0.8


def test_every_format_holds_the_same_lists(files: dict[str, Path]) -> None:
    expected = [json.loads(line) for line in files["jsonl"].read_text(encoding="utf-8").splitlines()]
    with files["csv"].open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    frame = pd.read_parquet(files["parquet"])
    loaded = datasets.load_from_disk(files["datasets"])
    names = loaded.features["consensus"].feature.names
    for row, of_csv, of_parquet, of_datasets in zip(
        expected, table, frame.to_dict("records"), loaded.to_list(), strict=True
    ):
        for column in ("label", "consensus", "predicted"):
            wanted = row[column]
            assert (json.loads(of_csv[column]) if of_csv[column] else None) == wanted
            assert (None if of_parquet[column] is None else list(of_parquet[column])) == wanted
            numbers = of_datasets[column]
            assert (None if numbers is None else [names[number] for number in numbers]) == wanted
        given = [one["label"] for one in row["annotations"]]
        assert [one["label"] for one in json.loads(of_csv["annotations"])] == given
        assert [
            one["label"] if one["label"] is None else list(one["label"]) for one in of_parquet["annotations"]
        ] == given
        assert [one["label"] for one in of_datasets["annotations"]] == given


def test_label_studio_imports_its_file_with_the_consensus(
    story: Story, files: dict[str, Path], make_project: MakeProject
) -> None:
    other = make_project([], config=MULTIPLE)
    tasks = json.loads(files["label-studio"].read_text(encoding="utf-8"))
    story.loop.call("POST", f"/api/projects/{other.id}/import", json=tasks)
    query = {"project": other.id, "fields": "all", "page_size": 500}
    imported = {row["data"]["text"]: row for row in story.loop.call("GET", "/api/tasks", params=query)["tasks"]}
    assert len(imported) == len(REVIEWS)
    consensus = {
        row["task_id"]: row["consensus"]
        for row in map(json.loads, files["jsonl"].read_text(encoding="utf-8").splitlines())
    }
    for row in story.loop.rows():
        there = imported[row["data"]["text"]]
        assert len(there["annotations"]) == len(row["annotations"])
        shown = [one for one in there["predictions"] if one["model_version"] == "consensus"]
        assert len(shown) == (consensus[row["id"]] is not None)
        for one in shown:
            assert (one["result"][0]["value"]["choices"] if one["result"] else []) == consensus[row["id"]]


def test_status_and_doctor_know_the_project(story: Story) -> None:
    told = connector(story.loop, "status", "--project", str(story.loop.id), "--json")
    assert told.returncode == 0, told.stderr
    status = json.loads(told.stdout)
    assert (status["labels"]["total"], status["labels"]["skipped"]) == (44, 1)
    assert status["tasks"]["labelled"] == sum(map(bool, heard(story).values()))
    examined = connector(story.loop, "doctor", "--project", str(story.loop.id), "--json")
    levels = {check["check"]: check["level"] for check in json.loads(examined.stdout)["checks"]}
    assert {name: level for name, level in levels.items() if level != "ok"} == {}


def test_the_backend_answers_label_studio_with_all_that_apply(story: Story) -> None:
    texts = ["It rained all day, trucks at night.", "far too expensive", "a fine place"]
    body = {"tasks": [{"id": n, "data": {"text": text}} for n, text in enumerate(texts)], "params": {"context": None}}
    body |= {"project": f"{story.loop.id}.1700000000", "label_config": MULTIPLE}
    answer = requests.post(f"{story.loop.backend}/predict", json=body, timeout=60).json()
    regions = [entry["result"] for entry in answer["results"]]
    assert [one[0]["value"]["choices"] if one else [] for one in regions] == [["rain", "noise"], ["price"], []]
    assert all(0.5 <= entry["score"] <= 1 for entry in answer["results"])
    assert regions[0][0]["from_name"] == "topics"
    body["label_config"] = SINGLE
    entries = requests.post(f"{story.loop.backend}/predict", json=body, timeout=60).json()["results"]
    assert [entry["result"] for entry in entries] == [[], [], []]


# -- another kind of config, last: it changes the project --------------------------------------------------------------


@pytest.mark.nightly
def test_the_config_may_become_single_and_multiple_again(story: Story) -> None:
    loop = story.loop
    loop.set(label_config=SINGLE)
    single = story.sync()
    assert single["trained"], "on those who chose one topic alone"
    model = requests.get(f"{loop.backend}/api/projects/{loop.id}/model", timeout=10).json()
    assert not model["multilabel"]
    ones = [sets for sets in heard(story).values() if any(len(one) == 1 for one in sets)]
    assert model["labels"] == len(ones)
    loop.set(label_config=MULTIPLE)
    several = story.sync()
    assert several["trained"]
    assert requests.get(f"{loop.backend}/api/projects/{loop.id}/model", timeout=10).json()["multilabel"]
    loop.assert_published()

"""Several questions in one project, from init to undo: on a real Label Studio, with a real model for each."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from contextlib import closing
from typing import Any
from xml.etree import ElementTree

from support.command_runner import Commands
from support.doctor_helpers import not_fine
from support.project_driver import ProjectDriver, StartProject

from connector.annotations.label_config import find_questions
from connector.backend import Backend
from connector.simulation.results import results_json

CONFIG = """<View>
  <Text name="t" value="$text"/>
  <Choices name="topic" toName="t"><Choice value="fish"/><Choice value="bikes"/></Choices>
  <Rating name="stars" toName="t" maxRating="3"/>
  <Choices name="water" toName="t" visibleWhen="choice-selected" whenTagName="topic" whenChoiceValue="fish">
    <Choice value="sea"/><Choice value="lake"/>
  </Choices>
</View>"""
QUESTIONS = find_questions(CONFIG)
COUNT, LABELLED = 60, 42
TOPIC = {"fish": "a salmon and a trout swim", "bikes": "a bicycle with new wheels"}
STARS = {"1": "This was awful and dull", "2": "This was fair, so and so", "3": "This was superb, what a joy"}
WATER = {"sea": "by the salt sea", "lake": "in the mountain lake"}


def truth(number: int) -> dict[str, str]:
    topic = ("fish", "bikes")[number % 2]
    labels = {"topic": topic, "stars": str(number % 3 + 1)}
    return labels | ({"water": ("sea", "lake")[number // 2 % 2]} if topic == "fish" else {})


def tasks(*answered: str) -> list[dict[str, Any]]:
    """Tasks about two topics, most of them with an answer to all questions that the form shows, or those `answered`."""
    made = []
    for number in range(COUNT):
        labels = truth(number)
        said = {name: label for name, label in labels.items() if name in (answered or labels)}
        text = f"{STARS[labels['stars']]}: {TOPIC[labels['topic']]} {WATER.get(labels.get('water', ''), '')} ({number})"
        result = QUESTIONS.result(QUESTIONS.joint(said))
        annotations = [{"result": result, "ground_truth": False}] if number < LABELLED else []
        made.append({"data": {"text": text}, "annotations": annotations})
    return made


def exported(loop: ProjectDriver, commands: Commands, ending: str) -> list[dict[str, Any]]:
    out = commands.folder / f"export.{ending}"
    assert commands.run(loop, "export", "--out", str(out)).code == 0
    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)) if ending == "csv" else list(map(json.loads, file))


def test_one_annotation_answers_all_questions_and_each_has_a_model(commands: Commands, start: StartProject) -> None:
    loop = start(tasks(), config=CONFIG, adopted=False)
    before = loop.dump()

    assert "set up: 'topic' (fish, bikes), 'stars' (1, 2, 3) and 'water' (sea, lake)." in commands.run(loop, "init").out
    synced = commands.run(loop, "sync", "--train", "always", "--prelabel", "new", "--publish-consensus")
    assert synced.code == 0, synced.said
    assert "Trained a model for each of 3 questions" in synced.out
    said = commands.run(loop, "status").out
    assert f"'topic': {LABELLED} labels on {LABELLED} tasks, model" in said
    assert f"'water': {LABELLED // 2} labels on {LABELLED // 2} tasks, model" in said
    assert not_fine(loop) == {}

    rows = exported(loop, commands, "csv")
    numbers = {task: number for number, task in enumerate(loop.tasks)}
    for row in rows[:LABELLED]:
        labels = truth(numbers[int(row["task_id"])])
        assert {name: row[f"{name}.consensus"] for name in QUESTIONS.names if row[f"{name}.consensus"]} == labels
    nested = exported(loop, commands, "jsonl")
    assert nested[0]["questions"]["stars"]["consensus"] == truth(numbers[nested[0]["task_id"]])["stars"]
    assert nested[0]["annotations"][0]["label"] == {**dict.fromkeys(QUESTIONS.names), **truth(0)}
    assert commands.run(loop, "report").code == 0
    (page,) = commands.folder.glob("*.html")
    html = page.read_text(encoding="utf-8")
    assert [name for name in QUESTIONS.names if "Question <bdi" in html and f">{name}</bdi></h2>" in html] == [
        *QUESTIONS.names
    ]
    assert [name for name, times in Counter(re.findall(r' id="([^"]+)"', html)).items() if times > 1] == []

    shown = {row["task"]: labels_in(row) for row in loop.served() if row["result"]}
    assert set(shown) == set(loop.tasks[LABELLED:])
    right = [labels["topic"] == truth(numbers[task])["topic"] for task, labels in shown.items()]
    assert sum(right) > 0.8 * len(right)
    for labels in shown.values():  # the form would hide the third question of a text about bikes
        assert ("water" in labels) == (labels["topic"] == "fish")
    published = [row for row in loop.predictions() if row["model_version"] == "activelab-consensus"]
    assert {row["task"]: labels_in(row) for row in published} == {
        task: truth(number) for task, number in numbers.items() if number < LABELLED
    }

    assert commands.run(loop, "undo").code == 0
    assert loop.predictions() == []
    assert loop.dump()["project"]["model_version"] == before["project"]["model_version"]


def labels_in(row: dict[str, Any]) -> dict[str, str]:
    joint = QUESTIONS.read(row["result"]).label
    return QUESTIONS.labels_of(joint) if joint is not None else {}


TWO_TEXTS = """<View>
  <Text name="t1" value="$a"/><Text name="t2" value="$b"/>
  <Choices name="q1" toName="t1"><Choice value="yes"/><Choice value="no"/></Choices>
  <Choices name="q2" toName="t2"><Choice value="yes"/><Choice value="no"/></Choices>
</View>"""


def test_an_annotation_without_a_usable_answer_is_a_label_for_no_command(
    commands: Commands, start: StartProject
) -> None:
    two = find_questions(TWO_TEXTS)
    made: list[dict[str, Any]] = []
    for number in range(14):
        label = ("yes", "no")[number % 2]
        labels = {"q1": label, "q2": label} if number < 6 else {"q2": label} if 8 <= number < 12 else {}
        answers = [{"result": two.result(two.joint(labels)), "ground_truth": False}] if labels else []
        data = {"a": f"Salmon {number}", "b": f"Trout {number}" if number < 8 else ""}
        made.append({"data": data, "annotations": answers})
    loop = start(made, config=TWO_TEXTS)

    assert commands.run(loop, "sync").code == 0
    said = commands.run(loop, "status").out
    assert "Labels      6 by 1 annotator" in said
    assert "Tasks       14: 6 labelled, 8 unlabelled\n" in said
    assert [f"'{name}': 6 labels on 6 tasks" in said for name in two.names] == [True, True]
    doctor = commands.run(loop, "doctor").out
    assert "6 of 10 annotations give a label. 'q1' has 6 labels, 'q2' has 6 labels. 4 answers in 'q2'" in doctor
    out = commands.folder / "export.csv"
    exported = json.loads(commands.run(loop, "export", "--no-model", "--out", str(out), "--json").out)
    assert (exported["annotations"], exported["consensus"]) == (10, 6)
    report = json.loads(commands.run(loop, "report", "--no-model", "--json").out)
    assert (report["tasks"], report["annotations"]) == (14, 6)


def test_a_replay_of_one_question_is_drawn_beside_it(commands: Commands, start: StartProject) -> None:
    loop = start([{"a": "Salmon", "b": "Trout"}], config=TWO_TEXTS)
    rounds = [{"labels": 100 * step, "accuracy": 0.2 * step} for step in (1, 2, 3)]
    runs = [{"strategy": "random", "classifier": "logistic", "seed": 0, "rounds": rounds}]

    def report(**data: str) -> tuple[int, str, str]:
        more = {"options": {"project": str(loop.id)}, "data": {"tasks": 300, **data}}
        (commands.folder / "results.json").write_text(results_json("random", runs, **more))
        out = commands.folder / "report.html"
        done = commands.run(loop, "report", "--no-model", "--simulated", str(commands.folder), "--out", str(out))
        return done.code, out.read_text(encoding="utf-8") if done.code == 0 else "", done.err

    code, html, _ = report(control="q2")
    assert code == 0
    assert html.count("connector simulate made the replay of 300 texts") == 1
    assert html.index("made the replay") > html.index('id="question-2"')
    for data, of in (({}, "of no question of this project"), ({"control": "q3"}, "of the question 'q3'")):
        code, _, said = report(**data)
        assert code == 2
        assert f"--simulated is a replay {of}." in said
        assert "--control q1 or --control q2" in said


def test_a_question_that_is_removed_and_comes_back_counts_again(commands: Commands, start: StartProject) -> None:
    loop = start(tasks(), config=CONFIG, adopted=False)
    assert commands.run(loop, "init", "--control", "topic", "--control", "water").code == 0
    assert commands.run(loop, "sync", "--train", "always").code == 0
    root = ElementTree.fromstring(CONFIG)
    (water,) = root.findall("Choices[@name='water']")
    root.remove(water)
    loop.set(label_config=ElementTree.tostring(root, encoding="unicode"))

    said = commands.run(loop, "doctor").out
    assert "and 'water', which the labelling config no longer has. Its labels do not count now." in said
    assert "Put 'water' back in Settings, Labeling Interface." in said
    synced = commands.run(loop, "sync")
    assert "the question 'water', which the labelling config no longer has" in synced.out
    assert f"Labels      {LABELLED} by 1 annotator" in commands.run(loop, "status").out
    assert "water" not in exported(loop, commands, "csv")[0]

    loop.set(label_config=CONFIG)
    synced = commands.run(loop, "sync")
    assert synced.code == 0
    assert "which the labelling config no longer has" not in synced.out
    assert f"'water': {LABELLED // 2} labels on {LABELLED // 2} tasks, model" in commands.run(loop, "status").out
    served = commands.run(loop, "doctor").out
    assert "To serve 'stars', too: connector init --project" in served

    assert {region["from_name"] for row in predicted(loop) for region in row["result"]} == {"topic", "water"}
    assert commands.run(loop, "init", "--control", "topic").code == 0
    assert commands.run(loop, "sync").code == 0
    assert {region["from_name"] for row in predicted(loop) for region in row["result"]} == {"topic"}


def predicted(loop: ProjectDriver) -> list[dict[str, Any]]:
    with closing(Backend(loop.backend)) as backend:
        return backend.predict(str(loop.id), [task["data"] for task in tasks()], CONFIG)


def test_the_model_of_a_question_that_cannot_be_served_just_now_is_not_lost(
    commands: Commands, start: StartProject
) -> None:
    loop = start(tasks("topic"), config=CONFIG, adopted=False)
    assert commands.run(loop, "init", "--control", "topic", "--control", "stars").code == 0
    made = commands.run(loop, "sync", "--train", "always").out
    version = re.search(r"[Mm]odel (\d+T\d+-\w+)", made)
    assert version is not None
    per_region = CONFIG.replace('<Choices name="topic"', '<Choices perRegion="true" name="topic"')
    assert per_region != CONFIG
    loop.set(label_config=per_region)

    synced = commands.run(loop, "sync", "--train", "always")
    assert "the question 'topic', which cannot be served any more (perRegion=\"true\")" in synced.out
    assert "lost" not in synced.out + synced.err
    doctor = commands.run(loop, "doctor").out
    assert "'topic', which cannot be served any more (perRegion=\"true\"). Its labels do not count now." in doctor
    assert "Make 'topic' as before in Settings, Labeling Interface." in doctor
    assert "lost" not in doctor
    assert "Model       none" in commands.run(loop, "status").out

    loop.set(label_config=CONFIG)
    assert commands.run(loop, "sync", "--train", "never").code == 0
    assert version[1] in commands.run(loop, "status").out

    # Another first question does not inherit its model.
    assert commands.run(loop, "init", "--control", "stars").code == 0
    synced = commands.run(loop, "sync")
    assert "No model yet" in synced.out
    assert "lost" not in synced.out + synced.err
    assert [row["result"] for row in predicted(loop)] == [[]] * COUNT

"""Several questions of one project: joint labels, joint texts, and what the state keeps of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from connector.annotations.label_config import find_questions
from connector.annotations.left_out import LeftOut
from connector.annotations.questions import Questions, questions_from_json
from connector.annotations.records import Annotation, Task, digest, read_task, readable
from connector.annotations.statistics import TaskCounts, label_counts, task_counts
from connector.diagnostics import content_checks, media_checks
from connector.diagnostics.finding import ok
from connector.errors import UsageError
from connector.media import Failure, Source
from connector.state.media import MediaFailure
from connector.state.snapshot import ProjectSnapshot, usable_tasks

TEXT = '<Text name="t" value="$text"/>'
TOPIC = '<Choices name="topic" toName="t"><Choice value="fish"/><Choice value="bikes"/></Choices>'
STARS = '<Rating name="stars" toName="t" maxRating="3"/>'
WATER = (
    '<Choices name="water" toName="t" visibleWhen="choice-selected" whenTagName="topic" whenChoiceValue="fish">'
    '<Choice value="sea"/><Choice value="lake"/></Choices>'
)
TAGS = (
    '<Choices name="tags" toName="t" choice="multiple"><Choice value="new"/><Choice value="old"/></Choices>'
    '<Text name="u" value="$reply"/><Choices name="good" toName="u"><Choice value="yes"/><Choice value="no"/></Choices>'
)
AT = "2026-03-01T10:00:00.000000Z"


def questions(*tags: str, names: tuple[str, ...] = ()) -> Questions:
    return find_questions(f"<View>{TEXT}{''.join(tags)}</View>", names)


def raw(data: dict[str, Any], *results: list[dict[str, Any]], task: int = 1) -> dict[str, Any]:
    rows = [
        {
            "id": task * 10 + place,
            "completed_by": place + 1,
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": AT,
            "updated_at": AT,
            "result": result,
        }
        for place, result in enumerate(results)
    ]
    return {"id": task, "data": data, "is_labeled": True, "overlap": 1, "updated_at": AT, "annotations": rows}


def test_without_names_all_controls_that_can_be_served_are_taken_in_the_order_of_the_config() -> None:
    assert questions(TOPIC, '<TextArea name="why" toName="t"/>', STARS).names == ["topic", "stars"]
    assert questions(TOPIC, STARS, names=("stars",)).names == ["stars"]
    with pytest.raises(UsageError, match=r"called 'size' that can be served\. Found: Choices 'topic'"):
        questions(TOPIC, names=("topic", "size"))
    with pytest.raises(UsageError, match="needs a"):
        questions()


def test_a_label_of_one_question_is_the_label_and_one_of_several_names_them() -> None:
    (one,) = (questions(TOPIC),)
    assert (one.joint({"topic": "fish"}), one.labels_of("fish")) == ("fish", {"topic": "fish"})
    several = questions(TOPIC, STARS, TAGS)
    labels = {"tags": '["new", "old"]', "topic": "fish"}
    joint = several.joint(labels)
    assert json.loads(joint) == labels
    assert list(several.labels_of(joint)) == ["topic", "tags"]
    assert several.read(several.result(joint)).label == joint
    assert several.labels_of("fish") == several.labels_of("2") == {}  # labels from before init named several questions


def test_a_question_without_an_answer_is_left_out_of_the_joint_label() -> None:
    several = questions(TOPIC, STARS)
    assert several.read(several.controls[1].result("2")).label == '{"stars": "2"}'
    assert several.read([]).label is None
    other = several.read(
        [*several.controls[0].result("fish"), *questions('<Rating name="stars" toName="t"/>').result("5")]
    )
    assert (other.label, other.unknown, other.problem) == ('{"topic": "fish"}', True, "stars: '5'")


def test_a_prediction_does_not_answer_what_the_form_hides() -> None:
    several = questions(TOPIC, WATER)
    both = several.joint({"topic": "fish", "water": "sea"})
    assert [region["from_name"] for region in several.result(both)] == ["topic", "water"]
    hidden = several.joint({"topic": "bikes", "water": "sea"})
    assert [region["from_name"] for region in several.result(hidden)] == ["topic"]
    # If the question that decides is not served, nothing is known about it.
    alone = questions(TOPIC, WATER, names=("water",))
    assert alone.conditions == {}
    assert [region["from_name"] for region in alone.result("sea")] == ["water"]


def test_an_answer_that_cannot_be_read_is_not_hidden_by_one_of_an_earlier_config() -> None:
    several = questions(TOPIC, STARS)
    unknown = {**several.controls[0].result("fish")[0], "value": {"choices": ["birds"]}}
    broken = {**several.controls[1].result("2")[0], "value": {"rating": "x"}}
    read = several.read([unknown, broken])
    assert (read.label, read.unknown) == (None, False)
    assert "topic: 'birds'" in read.problem
    assert "stars: " in read.problem
    assert several.read([unknown]).unknown


def test_answers_on_a_task_that_lacks_what_they_are_about_are_named() -> None:
    several = questions(TOPIC, TAGS, names=("topic", "good"))
    both = several.result('{"topic": "fish", "good": "yes"}')
    raws = [raw({"text": "Salmon", "reply": "Thanks"}, both), raw({"text": "Trout"}, both, task=2)]
    tasks = {one["id"]: read_task(one, several) for one in raws}
    texts = {one["id"]: several.shown(one["data"]).text or "" for one in raws}
    pulled = ProjectSnapshot(
        {"id": 7}, several, tasks, {}, changed=True, texts=lambda ids: {task: texts[task] for task in ids}
    )
    assert pulled.answers_without_content() == {"good": [20]}
    assert pulled.left_out_sentences(LeftOut.of(tasks.values())) == [
        "1 answer in 'good' on a task that lacks what it is about: 20"
    ]


def halves() -> ProjectSnapshot:
    """14 tasks, of which the last six have one of two texts. Four of these have an answer to the other question."""
    several = questions(TOPIC, TAGS, names=("topic", "good"))
    both, good = several.result('{"topic": "fish", "good": "yes"}'), several.result('{"good": "yes"}')
    raws = [
        raw(
            {"text": f"Salmon {task}"} | ({"reply": "Thanks"} if task <= 8 else {}),
            *([both] if task <= 6 else [good] if 9 <= task <= 12 else []),
            task=task,
        )
        for task in range(1, 15)
    ]
    texts = {one["id"]: several.shown(one["data"]).text or "" for one in raws}
    return ProjectSnapshot(
        {"id": 7},
        several,
        {one["id"]: read_task(one, several) for one in raws},
        {},
        changed=True,
        texts=lambda ids: {task: texts[task] for task in ids},
    )


def test_an_annotation_whose_answers_are_all_on_missing_content_gives_no_label() -> None:
    pulled = halves()
    rows = [row for task in pulled.usable_tasks.values() for row in task.annotations]
    assert sum(row.label is not None for row in rows) == 6
    assert len(rows) == 10  # a person has answered them, so they are asked of another one
    assert task_counts(pulled.usable_tasks) == TaskCounts(total=14, labelled=6, unlabelled=8, without_text=0)
    assert label_counts(rows, datetime(2026, 3, 2, tzinfo=timezone.utc)).total == 6
    assert pulled.answers_without_content() == {"good": [90, 100, 110, 120]}
    cause = content_checks.answers(pulled, "http://studio").cause
    assert cause.startswith("6 of 10 annotations give a label. 'topic' has 6 labels, 'good' has 6 labels. 4 answers in")


def test_of_an_annotation_the_answers_on_content_that_is_there_count() -> None:
    several = questions(TOPIC, TAGS, names=("topic", "good"))
    task = read_task(raw({"text": "Trout"}, several.result('{"topic": "fish", "good": "yes"}')), several)
    joint = several.shown({"text": "Trout"}).text or ""
    usable = usable_tasks({1: task}, several, lambda ids: dict.fromkeys(ids, joint))
    assert [row.label for row in usable[1].annotations] == ['{"topic": "fish"}']


def test_labels_of_one_question_on_tasks_without_a_text_do_not_count_either() -> None:
    one = questions(TOPIC)
    result = one.controls[0].result("fish")
    tasks = {task: read_task(raw({"text": "Trout" * (task == 1)}, result, task=task), one) for task in (1, 2)}
    usable = usable_tasks(tasks, one, lambda ids: dict.fromkeys(ids, "Trout"))
    rows = [row for task in usable.values() for row in task.annotations]
    assert label_counts(rows, datetime(2026, 3, 2, tzinfo=timezone.utc)).total == 1
    assert task_counts(usable) == TaskCounts(total=2, labelled=1, unlabelled=0, without_text=1)


def test_a_question_counts_only_where_the_form_shows_it() -> None:
    tags = f'<View visibleWhen="choice-selected" whenTagName="topic" whenChoiceValue="fish">{TAGS}</View>'
    several = questions(TOPIC, tags, names=("topic", "tags"))
    shown = several.read(several.controls[0].result("fish"))
    hidden = several.read([*several.controls[0].result("bikes"), *several.controls[1].result('["new"]')])
    assert (shown.label, hidden.label) == ('{"topic": "fish", "tags": "[]"}', '{"topic": "bikes"}')


def test_questions_on_different_objects_read_their_own_content() -> None:
    several = questions(TOPIC, TAGS)
    assert not several.read_alike
    whole = raw({"text": "Salmon", "reply": "Thanks"}, several.result('{"topic": "fish", "good": "yes"}'))
    half = raw({"text": "Trout"}, several.result('{"topic": "fish"}'), task=2)
    tasks = {task["id"]: read_task(task, several) for task in (whole, half)}
    texts = {task["id"]: several.shown(task["data"]).text or "" for task in (whole, half)}
    assert readable(texts[1]) == "Salmon | Thanks"
    assert tasks[2].problem == "it has no 'reply'"
    pulled = ProjectSnapshot(
        {"id": 7}, several, tasks, {}, changed=True, texts=lambda ids: {task: texts[task] for task in ids}
    )
    topic, tags, good = pulled.by_question()
    assert [part.model_key for part in (topic, tags, good)] == ["7", "7/questions/tags", "7/questions/good"]
    assert topic.texts([1, 2]) == {1: "Salmon", 2: "Trout"}
    assert good.texts([1, 2]) == {1: "Thanks"}
    assert [good.tasks[number].digest for number in (1, 2)] == [digest("Thanks"), None]
    assert [part.tasks[1].annotations[0].label for part in (topic, tags, good)] == ["fish", "[]", "yes"]
    nothing = read_task(raw({"other": "x"}), several)
    assert (nothing.digest, nothing.problem) == (None, "it has no 'text' and it has no 'reply'")


def test_with_fields_all_questions_read_the_same() -> None:
    several = questions(TOPIC, TAGS).with_fields(["text", "reply"])
    assert several.read_alike
    assert several.data_keys == ("text", "reply")
    page = '<HyperText name="p" value="$page"/><Rating name="look" toName="p"/>'
    assert not questions(TOPIC, page).with_fields(["text", "page"]).read_alike  # one of them removes markup
    pair = '<Text name="u" value="$reply"/><Pairwise name="better" toName="t,u"/>'
    assert not questions(TOPIC, pair).with_fields(["text", "reply"]).read_alike


def test_questions_that_read_the_same_have_the_tasks_as_they_are() -> None:
    several = questions(TOPIC, STARS)
    task = read_task(raw({"text": "Salmon"}), several)
    pulled = ProjectSnapshot({"id": 7}, several, {1: task}, {}, changed=True, texts=lambda ids: {1: "Salmon"})
    assert all(part.tasks[1] is task for part in pulled.by_question())
    one = ProjectSnapshot({"id": 7}, questions(TOPIC), {1: task}, {}, changed=True, texts=lambda ids: {})
    assert one.by_question() == [one]


def test_the_first_question_keeps_the_models_key_of_the_project_though_its_control_is_gone() -> None:
    several = find_questions(f"<View>{TEXT}{STARS}</View>", ["topic", "stars"], missing_allowed=True)
    assert (several.names, several.missing) == (["stars"], {"topic": ""})
    assert several.model_key(7, "stars") == "7/questions/stars"
    assert several.model_key(7, "topic") == "7"
    assert questions(TOPIC, names=("topic",)).model_key(7, "topic") == "7"
    named = questions(TOPIC, '<Rating name="how good?" toName="t" maxRating="3"/>').model_key(7, "how good?")
    assert named == "7/questions/ab02fb3f1da1a3a8" or named.startswith("7/questions/")


@pytest.mark.parametrize("tags", [(TOPIC,), (TOPIC, WATER), (TOPIC, STARS, TAGS)])
def test_the_state_keeps_questions_as_they_are(tags: tuple[str, ...]) -> None:
    several = questions(*tags)
    kept = questions_from_json(json.loads(json.dumps(several.to_json())))
    assert (kept.controls, kept.conditions, kept.missing) == (several.controls, several.conditions, {})
    if several.several:
        assert kept == several


def test_an_image_that_cannot_be_fetched_is_missing_for_its_question_alone() -> None:
    config = (
        '<View><Text name="t" value="$text"/><Image name="i" value="$image"/>'
        '<Choices name="mood" toName="t"><Choice value="A"/><Choice value="B"/></Choices>'
        '<Choices name="shape" toName="i"><Choice value="C"/><Choice value="D"/></Choices></View>'
    )
    both = find_questions(config)
    data = {number: {"text": f"Text {number}", "image": f"/data/{number}.png"} for number in (1, 2)}
    data[3] = {"image": "/data/3.png"}
    texts = {number: both.shown(row).text or "" for number, row in data.items()}
    answer = Annotation(1, 1, 5, both.joint({"mood": "A", "shape": "D"}), False, False, "2026-01-01T00:00:00Z")
    tasks = {
        number: Task(number, digest(text), False, 1, "", (answer._replace(task=number),))
        for number, text in texts.items()
    }
    whole = ProjectSnapshot({"id": 7}, both, tasks, {}, True, lambda ids: {task: texts[task] for task in ids})
    failed = {digest(f"/data/{number}.png"): "its image answers 404 (not found)" for number in (1, 3)}
    left = whole.without_failed(failed)
    mood, shape = left.by_question()
    assert {number for number, task in mood.tasks.items() if task.digest} == {1, 2}
    assert {number for number, task in shape.tasks.items() if task.digest} == {2}
    assert shape.texts([1, 2, 3]) == {2: "/data/2.png"}
    assert left.tasks[1].digest == tasks[1].digest
    assert left.tasks[1].problem == "its image answers 404 (not found)"
    assert left.tasks[3].digest is None
    assert left.answers_without_content()["shape"] == [1, 1]
    assert left.complete is whole
    left_out = left.left_out_sentences(LeftOut.of(left.tasks.values()))
    assert "a part of 1 task: 1 (its image answers 404 (not found))" in left_out
    assert content_checks.texts(left, "http://studio", lambda ids: []).level == "ok"
    assert left.without_failed({}).complete is whole
    assert whole.without_failed({}) is whole
    assert [part.control.kind for part in whole.by_question()] == ["text", "image"]


def test_a_task_of_which_two_files_cannot_be_fetched_is_none_without_content() -> None:
    config = (
        '<View><Image name="i" value="$image"/><Image name="j" value="$other"/>'
        '<Choices name="shape" toName="i"><Choice value="C"/><Choice value="D"/></Choices>'
        '<Choices name="mood" toName="j"><Choice value="A"/><Choice value="B"/></Choices></View>'
    )
    both = find_questions(config)
    texts = {number: both.shown({"image": f"/{number}.png", "other": f"/{number}.jpg"}).text or "" for number in (1, 2)}
    tasks = {number: Task(number, digest(text), False, 1, "") for number, text in texts.items()}
    whole = ProjectSnapshot({"id": 7}, both, tasks, {}, True, lambda ids: {task: texts[task] for task in ids})
    problems = {"/1.png": "its image answers 404 (not found)", "/1.jpg": "its image is too large"}
    failures = {digest(path): MediaFailure("404", problem, 1, 0.0) for path, problem in problems.items()}
    left = whole.without_failed({key: failure.problem for key, failure in failures.items()})
    assert left.tasks[1].digest is None
    found = content_checks.texts(left, "http://studio", lambda ids: [])
    assert found == ok("texts", "No task lacks an image, but that of 1 task is not there: see media.")


class Gone:
    """Fetches nothing."""

    def fetch(self, wanted: dict[int, Source], kind: object) -> Iterator[tuple[int, Failure]]:
        for task, source in wanted.items():
            yield task, Failure("404", f"its image at {source.addresses[0]} is gone")


def test_doctor_counts_images_not_tasks_nor_questions() -> None:
    config = (
        '<View><Image name="i" value="$image"/><Image name="j" value="$other"/>'
        '<Choices name="shape" toName="i"><Choice value="C"/><Choice value="D"/></Choices>'
        '<Rating name="size" toName="i"/>'
        '<Choices name="mood" toName="j"><Choice value="A"/><Choice value="B"/></Choices></View>'
    )
    both = find_questions(config)
    text = both.shown({"image": "/1.png", "other": "/1.jpg"}).text or ""
    whole = ProjectSnapshot({"id": 7}, both, {1: Task(1, digest(text), False, 1, "")}, {}, True, lambda ids: {1: text})
    found = media_checks.media(whole, {}, Gone())  # type: ignore[arg-type]
    assert found.cause == (
        "2 of 2 images that were tried now failed: 1 (its image at /1.png is gone and its image at /1.jpg is gone)."
    )

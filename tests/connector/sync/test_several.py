"""What was found of several questions, joined."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from connector.annotations.label_config import find_questions
from connector.annotations.questions import Questions
from connector.state.project_state import ProjectState
from connector.sync.differing import Differing
from connector.sync.review import Review, shown_reviews
from connector.sync.scoring import Scored
from connector.sync.several import join, without_hidden

CONFIG = """<View><Text name="t" value="$text"/>
<Choices name="topic" toName="t"><Choice value="fish"/><Choice value="bikes"/></Choices>
<Choices name="water" toName="t"{when}><Choice value="sea"/><Choice value="lake"/></Choices></View>"""
WHEN = ' visibleWhen="choice-selected" whenTagName="topic" whenChoiceValue="fish"'


@pytest.fixture
def questions() -> Questions:
    return find_questions(CONFIG.format(when=""))


def topic() -> Scored:
    return Scored(
        {(1, 1): "fish", (1, 2): "bikes", (2, 1): "bikes"},
        consensus={1: "fish", 2: "bikes"},
        quality={1: 0.6, 2: 0.9},
        scores={1: 0.5, 2: 0.9, 3: 0.4},
        predicted={1: "fish", 2: "bikes", 3: "bikes"},
        labels_changed=2,
        trained=True,
        model_version="20260301-b",
        agreement=0.8,
    )


def water() -> Scored:
    return Scored(
        {(1, 2): "sea"},
        consensus={1: "sea"},
        quality={1: 0.7},
        scores={1: 0.1, 2: 0.2, 3: 0.8, 4: 0.3},
        predicted={1: "sea", 2: "lake", 3: "lake", 4: "lake"},
        labels_changed=1,
        model_version="20260301-a",
        agreement=0.6,
    )


def test_labels_are_joined_and_figures_are_of_all_questions(questions: Questions) -> None:
    joined = join(questions, [topic(), water()])
    assert {key: json.loads(label) for key, label in joined.labels.items()} == {
        (1, 1): {"topic": "fish"},
        (1, 2): {"topic": "bikes", "water": "sea"},
        (2, 1): {"topic": "bikes"},
    }
    assert {task: json.loads(label) for task, label in joined.consensus.items()} == {
        1: {"topic": "fish", "water": "sea"},
        2: {"topic": "bikes"},
    }
    assert joined.quality == {1: 0.6, 2: 0.9}
    assert (joined.labels_changed, joined.trained, joined.model_version) == (3, True, "20260301-b")
    assert joined.agreement == pytest.approx(0.7)
    assert [part.labels_changed for part in joined.parts] == [2, 1]


def test_a_task_is_worth_what_its_questions_are_worth_in_the_mean(questions: Questions) -> None:
    scores = join(questions, [topic(), water()]).scores
    assert scores == pytest.approx({1: 0.3, 2: 0.55, 3: 0.6, 4: 0.3})
    assert join(questions, [topic(), water()], "minimum").scores == {1: 0.1, 2: 0.2, 3: 0.4, 4: 0.3}


def test_a_hidden_question_does_not_count() -> None:
    # Task 2 has the consensus "bikes" and task 3 the prediction "bikes", so that the form hides the second question.
    scores = join(find_questions(CONFIG.format(when=WHEN)), [topic(), water()]).scores
    assert scores == pytest.approx({1: 0.3, 2: 0.9, 3: 0.4, 4: 0.3})


def test_a_consensus_that_hides_a_question_leaves_it_without_one() -> None:
    hidden = find_questions(CONFIG.format(when=WHEN))
    seen = replace(water(), consensus={1: "sea", 2: "lake"}, quality={1: 0.7, 2: 0.1})  # one annotator of 2 saw it
    first, second = without_hidden(hidden, join(hidden, [topic(), seen])).parts
    assert (first.consensus, first.quality) == (topic().consensus, topic().quality)
    assert (second.consensus, second.quality, second.predicted) == ({1: "sea"}, {1: 0.7}, seen.predicted)
    reviewed = [Review(part, part.quality) for part in (topic(), seen)]
    shown, joined = shown_reviews(hidden, reviewed, join(hidden, [topic(), seen]))
    assert [review.quality for review in shown] == [{1: 0.6, 2: 0.9}, {1: 0.7}]
    assert joined.quality == {1: 0.6, 2: 0.9}
    assert joined.scores == join(hidden, [topic(), seen]).scores
    always = find_questions(CONFIG.format(when=""))
    assert shown_reviews(always, reviewed, joined) == (reviewed, joined)


def test_a_question_without_a_model_has_no_say(questions: Questions) -> None:
    scores = join(questions, [topic(), Scored({})]).scores
    assert scores == topic().scores
    assert join(questions, [Scored({}), Scored({})]).scores == {}


def test_what_each_model_was_trained_on_is_remembered_apart(questions: Questions, state: ProjectState) -> None:
    first, second = (state.memory_of(questions, name) for name in questions.names)
    first.store_trained({1: "fish", 2: "bikes"})
    second.store_trained({2: "sea", 3: "lake"})
    assert (first.trained(), second.trained()) == ({1: "fish", 2: "bikes"}, {2: "sea", 3: "lake"})
    first.store_trained({3: "fish"})
    assert (first.trained(), second.trained()) == ({3: "fish"}, {2: "sea", 3: "lake"})
    second.store_trained({})
    assert (first.trained(), second.trained()) == ({3: "fish"}, {})
    alone = find_questions(CONFIG.format(when=""), ["topic"])
    assert state.memory_of(alone, "topic") is state


def differing(*tasks: int) -> dict[int, Differing]:
    return {task: Differing(task / 10, ambiguous=True, hopeless=True, settles=0.0, soft=[0.5, 0.5]) for task in tasks}


def test_a_task_is_ambiguous_by_any_question_and_given_up_only_by_all_that_were_answered(questions: Questions) -> None:
    parts = [replace(topic(), differing=differing(1, 2)), replace(water(), differing=differing(3))]
    parts[1].differing[1] = Differing(0.4, ambiguous=True, hopeless=False, settles=0.0, soft=[0.5, 0.5])
    joined = join(questions, parts)
    assert joined.ambiguous == {1: 0.4, 2: 0.2, 3: 0.3}
    assert joined.hopeless == {2, 3}, "of task 1, the water may be settled"


def test_of_a_hidden_question_nothing_is_ambiguous() -> None:
    conditional = find_questions(CONFIG.format(when=WHEN))
    parts = [replace(topic(), consensus={1: "bikes"}, differing=differing(2)), replace(water(), differing=differing(1))]
    assert without_hidden(conditional, join(conditional, parts)).ambiguous == {2: 0.2}

"""What a report tells of the window: what is left of it, and why each place is there."""

import pytest
from support.report_data_factory import SURE, SYNCED, TRAINED, make

from connector.active_learning.strategies import STRATEGIES
from connector.active_learning.window import Slot
from connector.reporting.content import Text, WindowPlace
from connector.reporting.numbers import NO_BREAK
from connector.reporting.report_data import ReportData
from connector.reporting.section_window import window_section


def places(data: ReportData, *slots: Slot) -> dict[int, WindowPlace]:
    answers = {slot.task: len(data.pulled.tasks[slot.task].annotations) for slot in slots}
    return {place.task: place for place in window_section(data, slots, answers).places}


def why(data: ReportData, task: int, *, relabel: bool) -> str:
    """Why, with plain spaces before "%"."""
    return places(data, Slot(task, relabel))[task].why.replace(NO_BREAK, " ")


def test_why_a_new_task_is_asked_for() -> None:
    made = make(3)
    made.say(3, 1, "Polite")
    data = made.facts({1: (0.52, 0.46, 0.02), 2: (0.93, 0.04, 0.03), 3: SURE}, rounds=TRAINED)
    assert why(data, 1, relabel=False) == "The model is unsure: “Polite” 52 %, “Impolite” 46 %."
    assert why(data, 2, relabel=False) == "The model predicts “Polite” with 93 %."
    alone = made.facts(rounds=TRAINED, with_backend=False)
    assert why(alone, 1, relabel=False) == "Chosen by the model's prediction at the last sync."
    first = made.facts(rounds=[{**TRAINED[0], "model_version": None}])
    assert why(first, 1, relabel=False) == "One of the first tasks, which are spread over the texts."
    at_random = made.facts(
        rounds=[{**TRAINED[0], "model_version": None}], window_options={**SYNCED, "strategy": "margin"}
    )
    assert why(at_random, 1, relabel=False) == "One of the first tasks."


def test_why_a_second_opinion_is_asked_for() -> None:
    made = make(6)
    made.say(1, 1, "Polite")
    made.say(1, 2, "Impolite")
    made.say(2, 1, "Impolite")
    made.say(3, 1, "Polite")
    made.say(4, 1, "Polite")
    made.say(4, 2, "Polite")
    for annotator, label in enumerate(("Rude", "Rude", "Polite"), start=1):
        made.say(5, annotator, label)
    probs = {1: (0.5, 0.3, 0.2), 2: (0.93, 0.05, 0.02), 3: SURE, 4: (0.1, 0.1, 0.8), 5: (0.1, 0.1, 0.8), 6: SURE}
    data = made.facts(probs, rounds=TRAINED)
    quality = data.reviewed.quality
    said = {task: why(data, task, relabel=True) for task in range(1, 7)}
    assert said[1].startswith(
        "2 labels disagree: “Polite”, “Impolite”. The consensus “Polite” is right with a probability of "
    )
    assert said[2] == "One label, “Impolite”, but the model predicts “Polite” with 93 %."
    assert said[3] == f"One label, “Polite”, which is right with a probability of {100 * quality[3]:.0f} %."
    assert said[4] == "2 labels, all “Polite”, but the model predicts “Rude” with 80 %."
    assert said[5].startswith(
        "3 labels disagree: “Rude” 2 times, “Polite”. The consensus “Rude” is right with a probability of "
    )
    assert said[6] == "Its text or its label is gone."
    alone = made.facts(rounds=TRAINED, with_backend=False, min_annotations_per_task=3)
    assert why(alone, 2, relabel=True) == "One label, “Impolite”. Every task should have 3."
    assert why(alone, 5, relabel=True) == "3 labels disagree: “Rude” 2 times, “Polite”. The consensus is “Rude”."


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("trained", [False, True])
def test_what_was_chosen_at_random_is_not_explained_by_the_model(strategy: str, trained: bool) -> None:
    made = make(3)
    made.say(2, 1, "Polite")
    probs = {1: (0.52, 0.46, 0.02), 2: SURE, 3: SURE}
    rounds = [{**TRAINED[0], "model_version": "model-1" if trained else None}]
    data = made.facts(probs, rounds=rounds, window_options={**SYNCED, "strategy": strategy})
    new, again = why(data, 1, relabel=False), why(data, 2, relabel=True)
    if strategy in ("random", "random-new"):
        assert new == "Chosen at random."
        assert again.startswith("One label, “Polite”, ")
        assert again.endswith(". Chosen at random.")
    else:
        assert ("model is unsure" in new) == trained
        assert "random" not in new + again
    wanted = made.facts(probs, min_annotations_per_task=2, window_options={**SYNCED, "strategy": "random"})
    assert why(wanted, 2, relabel=True).endswith(". Every task should have 2."), "those come first"


def test_tasks_that_test_labels_or_annotators_are_not_explained_by_the_model() -> None:
    made = make(3)
    made.say(2, 1, "Polite")
    data = made.facts({1: SURE, 2: SURE, 3: SURE}, rounds=TRAINED)
    found = places(data, Slot(1, False, audit=True), Slot(2, True, gold=True), Slot(3, False))
    assert found[1].why == "Drawn at random, to tell how many labels are right."
    assert found[2].why == "Its class is known, to tell how often annotators are right."
    assert found[3].why.startswith("The model predicts ")


def test_deleted_tasks_of_the_window_are_not_answered() -> None:
    found = window_section(make(2).facts(), [Slot(1, False), Slot(8, False), Slot(9, True)], {1: 0, 8: 0, 9: 1})
    assert (found.size, found.gone, found.left) == (3, 2, 1)


def test_why_of_several_classes() -> None:
    made = make(3, ("A", "B"), multiple=True)
    made.say(3, 1, [])
    data = made.facts({1: (0.9, 0.45), 2: (0.9, 0.1), 3: (0.9, 0.8)}, rounds=TRAINED)
    assert why(data, 1, relabel=False) == "The model is unsure whether “B” applies (45 %)."
    assert why(data, 2, relabel=False) == "The model predicts “A”."
    assert why(data, 3, relabel=True) == "One label, “none of them”, but the model predicts “A + B” with 80 %."


def test_the_window_is_what_nobody_has_answered_since() -> None:
    made = make(70)
    made.say(70, 1, "Polite")
    made.texts[1] = "x" * 5000
    slots = [Slot(task, relabel=False) for task in range(1, 70)] + [Slot(70, relabel=True)]
    made.say(2, 1, "Rude")  # since the window was published
    answers = {slot.task: int(slot.task == 70) for slot in slots}
    data = made.facts(dict.fromkeys(range(1, 71), SURE), rounds=TRAINED)
    found = window_section(data, slots, answers)
    assert (found.size, found.gone, found.left, found.second_opinions) == (70, 0, 69, 1)
    assert [place.rank for place in found.places] == [1, *range(3, 52)]
    first = found.places[0]
    assert (first.task, first.text, first.label_count) == (1, Text("x" * 1000, 4000), 0)
    assert first.score == data.reviewed.scored.scores[1]
    assert found.places[10].why == "Kept at the end so that annotators do not run out of tasks."
    assert found.places[8].why == f"The model predicts “Polite” with 96{NO_BREAK}%."
    other = made.facts(
        dict.fromkeys(range(1, 71), SURE), rounds=TRAINED, window_options={**SYNCED, "strategy": "margin"}
    )
    assert window_section(other, slots, answers).places[0].score is None, "the order was by another score"

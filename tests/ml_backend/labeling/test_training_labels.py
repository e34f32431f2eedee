"""What Start Training trains on: what most annotations say, and the connector's labels first."""

from pathlib import Path

import pytest
from support.webhook_events import BUTTON, TOPICS, EventHarness, question

from ml_backend.storage.dataset import ConsensusLabel, digest


@pytest.fixture
def events(tmp_path: Path) -> EventHarness:
    return EventHarness(tmp_path)


# -- the button ------------------------------------------------------------------------------------------------------


def test_the_button_trains_on_what_most_annotations_say(events: EventHarness) -> None:
    for number, (item, choice) in enumerate(
        [(1, "Impolite"), (1, "Polite"), (1, "Impolite"), (2, "Impolite"), (2, "Polite"), (3, "Polite")]
    ):
        events.annotate(number, item, choice)
    events.annotate(10, 3, was_cancelled=True)
    events.annotate(11, 4)  # nothing chosen
    events.annotate(12, 5, "Polite", "Impolite")  # two where one can be
    events.annotate(13, 6, "Rude")  # no class
    assert events.trained() == {
        "text 1": "Impolite",
        "text 2": "Polite",
        "text 3": "Polite",
    }  # level: the config's first
    assert events.trained(question("Impolite", "Polite"))["text 2"] == "Impolite"
    project, request = events.started[0]
    assert (project, request.classes, request.multilabel) == ("1", ("Polite", "Impolite"), False)
    assert request.weights == (1.0, 1.0, 1.0)
    assert (request.folds, request.classifier) == (3, "auto")


def test_of_a_multiple_choice_each_class_is_voted_on(events: EventHarness) -> None:
    config = TOPICS.format("")
    for number, (item, choices) in enumerate(
        [
            (1, ["rain", "noise"]),
            (1, ["rain"]),
            (1, ["noise", "price"]),
            (2, ["price"]),
            (2, []),
            (3, []),
            (4, ["hail"]),
        ]
    ):
        events.annotate(number, item, *choices, config=config)
    events.annotate(9, 5, "hail", "rain", config=config)
    # Level is no; nothing chosen says that none applies; a class that is gone says nothing.
    said = {"text 1": ["rain", "noise"], "text 2": [], "text 3": [], "text 5": ["rain"]}
    assert events.trained(config) == said
    assert events.started[-1][1].multilabel
    insisting = events.trained(TOPICS.format('required="true"'))
    assert insisting == {"text 1": ["rain", "noise"], "text 2": ["price"], "text 5": ["rain"]}


def test_the_connectors_word_comes_first(events: EventHarness) -> None:
    events.dataset.set_items([1, 2, 3], [digest(f"text {item}") for item in (1, 2, 3)])
    events.dataset.add_texts([f"text {item}" for item in (1, 2, 3)])
    events.dataset.set_consensus(
        [ConsensusLabel(digest("text 1"), "Polite", 0.7), ConsensusLabel(digest("text 2"), "Impolite", 0.9)]
    )
    for number, item in enumerate([1, 1, 2, 2, 3, 4]):
        events.annotate(number, item, "Impolite" if item == 1 else "Polite")
    assert events.trained() == {"text 1": "Polite", "text 2": "Impolite", "text 3": "Polite", "text 4": "Polite"}
    assert events.started[0][1].weights == (0.7, 0.9, 1.0, 1.0)
    events.dataset.set_consensus([ConsensusLabel(digest("text 4"), "Impolite")])
    assert events.trained() == {"text 4": "Impolite", "text 1": "Impolite", "text 2": "Polite", "text 3": "Polite"}


def test_beside_the_connectors_labels_a_ground_truth_may_be_of_a_test_set(events: EventHarness) -> None:
    events.annotate(1, 1, "Polite", ground_truth=True)
    events.annotate(2, 1, "Polite")
    events.annotate(3, 2, "Impolite")
    events.annotate(4, 3, "Polite")
    assert events.trained() == {"text 1": "Polite", "text 2": "Impolite", "text 3": "Polite"}
    events.dataset.set_consensus([ConsensusLabel(digest("text 2"), "Impolite")])
    assert events.trained() == {"text 2": "Impolite", "text 3": "Polite"}


def test_a_statement_of_all_items_ends_what_was_told_of_others(events: EventHarness) -> None:
    events.annotate(1, 1, "Polite")
    events.annotate(2, 2, "Impolite")
    events.annotate(3, 3, "Impolite")
    events.dataset.set_consensus([ConsensusLabel(digest("text 2"), "Polite")])
    assert events.dataset.set_items([1, 3], [digest("text 1"), digest("changed")]) == [1]
    events.dataset.add_texts(["changed"])
    assert [item for item, _ in events.known()] == [1]  # what was said of another text says nothing of this one
    assert events.dataset.consensus() == []
    events.annotate(4, 3, "Impolite", text="changed")
    assert events.trained() == {"text 1": "Polite", "changed": "Impolite"}


def test_an_item_that_the_connector_stated_keeps_its_text(events: EventHarness) -> None:
    events.dataset.set_items([1], [digest("as stated")])
    events.annotate(1, 1, "Polite", text="as told")
    events.dataset.add_texts(["as stated"])
    assert events.dataset.digests_of_items() == {1: digest("as stated")}


def test_labels_of_classes_that_are_gone_are_left_out(events: EventHarness) -> None:
    for item, choice in enumerate(["Polite", "Impolite", "Rude", "Rude"]):
        events.annotate(item, item, choice)
    events.dataset.set_items(range(6), [digest(f"text {item}") for item in range(6)])
    events.dataset.add_texts(["text 4", "text 5"])
    events.dataset.set_consensus(
        [ConsensusLabel(digest("text 4"), "Polite"), ConsensusLabel(digest("text 5"), "Impolite")]
    )
    said = events.trained(question("Rude", "Impolite", "Neutral"))
    assert said == {"text 5": "Impolite", "text 1": "Impolite", "text 2": "Rude", "text 3": "Rude"}
    assert events.started[-1][1].classes == ("Rude", "Impolite", "Neutral")
    refused = events.send(BUTTON | {"project": {"id": 1, "label_config": question("Polite", "Neutral")}})
    assert "at least two classes" in refused["detail"]


def test_labels_on_one_text_alone_start_no_training(events: EventHarness) -> None:
    for item, choice in enumerate(["Polite", "Impolite", "Polite"]):
        events.annotate(item, item, choice, text="thanks")
    assert "at least two items that differ" in events.send(BUTTON)["detail"]
    events.annotate(3, 3, "Impolite", text="no thanks")
    assert "job" in events.send(BUTTON)


def test_one_label_is_not_another_kind_of_label(events: EventHarness) -> None:
    events.annotate(1, 1, "rain", config=TOPICS.format(""))
    events.annotate(2, 2, "price", config=TOPICS.format(""))
    events.dataset.set_consensus(
        [ConsensusLabel(digest("text 1"), "rain"), ConsensusLabel(digest("text 2"), ["rain", "hail"])]
    )
    events.annotate(3, 3, "noise", config=TOPICS.format(""))
    assert events.trained(TOPICS.format("")) == {"text 2": ["rain"], "text 3": ["noise"]}


@pytest.mark.parametrize("config", ["<View", "<View/>", ""])
def test_a_config_that_cannot_be_served_is_told(
    events: EventHarness, config: str, caplog: pytest.LogCaptureFixture
) -> None:
    events.annotate(1, 1, "Polite")
    answer = events.send(BUTTON | {"project": {"id": 1, "label_config": config}})
    assert "labelling config cannot be read" in answer["detail"]
    assert any(answer["detail"] in message for message in caplog.messages)

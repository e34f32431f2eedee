"""Whether more labels are likely to pay: what the forecast says of agreement and labels, and how it is told."""

import pytest

from connector.active_learning.stopping import LABELS, LEAST_TASKS, PAYS, forecast, sentence
from connector.simulation.metrics import ADVICE_GAIN, ADVICE_ROUNDS
from connector.simulation.replay import ReplayOptions


@pytest.mark.parametrize(
    ("agreement", "tasks", "gain", "likely"),
    [
        (0.8, 100, 43 * 0.2 * (1 / 100 - 1 / 225), True),
        (0.8, 600, 43 * 0.2 * (1 / 600 - 1 / 725), True),
        (0.8, 700, 43 * 0.2 * (1 / 700 - 1 / 825), False),
        (0.95, 700, 43 * 0.05 * (1 / 700 - 1 / 825), False),
        (1.0, 100, 0.0, False),
    ],
)
def test_the_gain_falls_with_agreement_and_with_labels(agreement: float, tasks: int, gain: float, likely: bool) -> None:
    found = forecast(agreement, tasks)
    assert found["gain"] == pytest.approx(gain, abs=1e-6)
    assert (found["labels"], found["likely_to_pay"]) == (LABELS, likely)


@pytest.mark.parametrize(("agreement", "tasks"), [(None, 500), (0.7, LEAST_TASKS - 1), (None, 0)])
def test_without_a_model_or_enough_tasks_there_is_none(agreement: float | None, tasks: int) -> None:
    assert forecast(agreement, tasks) == {"labels": LABELS, "gain": None, "likely_to_pay": None}


def test_once_labels_hardly_pay_they_do_not_begin_to_pay_by_themselves() -> None:
    said = [forecast(0.85, tasks)["likely_to_pay"] for tasks in range(LEAST_TASKS, 2000)]
    assert said == sorted(said, reverse=True)
    assert (said[0], said[-1]) == (True, False)


def test_a_replay_judges_what_the_forecast_says() -> None:
    assert ADVICE_ROUNDS * ReplayOptions().batch == LABELS
    assert PAYS == ADVICE_GAIN


@pytest.mark.parametrize(
    ("agreement", "tasks", "told"),
    [
        (0.8, 200, "More labels are likely to pay: the next 125 would make the model about 1.7 points more accurate."),
        (0.95, 500, "More labels will hardly pay: the next 125 would make the model about 0.1 points more accurate."),
        (
            0.99,
            900,
            "More labels will hardly pay: the next 125 would make the model less than 0.1 points more accurate.",
        ),
        (None, 900, "Too early to say: this needs a model and 100 labelled tasks."),
    ],
)
def test_it_is_told_in_a_sentence(agreement: float | None, tasks: int, told: str) -> None:
    assert sentence(forecast(agreement, tasks)) == told


def test_a_round_of_an_older_connector_says_nothing_yet() -> None:
    assert sentence(None).startswith("Too early to say")

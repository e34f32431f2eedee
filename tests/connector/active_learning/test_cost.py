"""How long answers are expected to take, and the order by what tasks are worth per second."""

import math
from dataclasses import replace

import numpy as np
import pytest

from connector.active_learning.cost import LEAST_TIMES, Answered, fit, worth_per_second
from connector.active_learning.labels import Floats, Labels
from connector.active_learning.strategies import STRATEGIES


def answered(
    n: int = 400, *, slope: float = 1.0, noise: float = 0.3, speeds: tuple[float, ...] = (1.0,), seed: int = 0
) -> Answered:
    """Answers that take 0.1 s a character to the power of the slope, by people of these speeds in turn."""
    rng = np.random.default_rng(seed)
    length = np.round(np.exp(rng.uniform(math.log(20), math.log(500), n)))
    who = np.arange(n) % len(speeds)
    seconds = 10 * (length / 100) ** slope * np.exp(rng.normal(0, noise, n)) * np.array(speeds)[who]
    return Answered(who, seconds, length)


def expected(given: Answered, *lengths: float) -> list[float]:
    model = fit(given)
    assert model is not None
    return model.expected(np.array(lengths, np.float64)).tolist()


@pytest.mark.parametrize("slope", [0.5, 1.0])
def test_seconds_follow_the_length(slope: float) -> None:
    made = expected(answered(slope=slope), 50, 100, 200)
    assert made == pytest.approx([10 * 0.5**slope, 10, 10 * 2**slope], rel=0.1)


def test_without_noise_the_model_is_exact() -> None:
    model = fit(answered(slope=0.5, noise=0.0))
    assert model is not None
    assert model.slope == pytest.approx(0.5)
    assert expected(answered(slope=0.5, noise=0.0), 100.0) == pytest.approx([10.0])


def test_pauses_and_slips_change_little() -> None:
    plain = answered()
    paused = plain.seconds.copy()
    paused[::20] = 3600  # an hour
    paused[1::40] = 0.01  # a slip of the finger
    lengths = (30.0, 100.0, 400.0)
    assert expected(replace(plain, seconds=paused), *lengths) == pytest.approx(expected(plain, *lengths), rel=0.1)


def test_the_speed_of_an_annotator_is_removed() -> None:
    """The slow one answers the short texts. Without their speed, short texts would seem to take longer."""
    given = answered(noise=0.2)
    short = given.length < 100
    rng = np.random.default_rng(1)
    who = np.where(rng.random(len(short)) < np.where(short, 0.9, 0.1), 1, 0)
    slow = replace(given, annotator=who, seconds=given.seconds * np.where(who == 1, 6.0, 1.0))
    model, plain = fit(slow), fit(given)
    assert model is not None
    assert plain is not None
    assert model.slope == pytest.approx(plain.slope, abs=0.1)


def test_the_speeds_are_those_of_the_team_on_average() -> None:
    assert expected(answered(speeds=(0.5, 1.0, 2.0)), 100) == pytest.approx([10], rel=0.1)


def test_few_times_say_that_all_tasks_take_the_same() -> None:
    few = answered(LEAST_TIMES - 1)
    assert expected(few, 20, 500) == pytest.approx([float(np.median(few.seconds))] * 2)
    enough = expected(answered(LEAST_TIMES), 20, 500)
    assert enough[1] > 3 * enough[0]


def test_noise_is_no_dependence() -> None:
    """Of forty teams whose times do not depend on the length, the model leaves most alone and trusts no other far."""
    models = [fit(answered(200, slope=0.0, noise=0.5, seed=seed)) for seed in range(40)]
    slopes = [model.slope for model in models if model is not None]
    assert np.mean([slope == 0 for slope in slopes]) >= 0.7
    assert max(slopes) < 0.12
    assert fit(answered(slope=-0.5)).slope == 0  # type: ignore[union-attr]


def test_a_text_of_twice_the_length_takes_at_most_twice_as_long() -> None:
    short, long = expected(answered(slope=2.0), 100, 200)
    assert long / short == pytest.approx(2.0)


def test_lengths_beyond_those_that_were_answered_count_as_the_ends() -> None:
    made = expected(answered(), 1, 20, 500, 1_000_000)
    assert made[0] == made[1]
    assert made[2] == made[3]
    assert 15 < made[3] / made[0] < 25


def test_one_text_of_odd_length_decides_nothing() -> None:
    given = answered()
    length, seconds = given.length.copy(), given.seconds.copy()
    length[0], seconds[0] = 10_000_000, 0.5
    odd = expected(replace(given, length=length, seconds=seconds), 50, 200)
    assert odd == pytest.approx(expected(given, 50, 200), rel=0.05)


def test_content_without_a_length_takes_the_same() -> None:
    given = answered(noise=0.0)
    images = replace(given, length=np.full(len(given.length), np.nan))
    assert expected(images, math.nan, 500.0) == pytest.approx([float(np.median(given.seconds))] * 2, rel=1e-4)


def test_answers_without_a_time_do_not_count() -> None:
    given = answered(40)
    unknown: Floats = np.where(np.arange(40) < 10, [np.nan, 0.0] * 20, given.seconds)
    model = fit(replace(given, seconds=unknown))
    assert model is not None
    assert model.answers == 30
    assert fit(replace(given, seconds=np.full(40, np.nan))) is None
    assert fit(Answered(np.array([], np.int64), np.array([]), np.array([]))) is None


def test_the_order_is_by_worth_per_second() -> None:
    scores, seconds = np.array([0.5, 0.6, 0.9, 1.0, 1.0 + 1e-12]), np.array([10.0, 4.0, 1.0, 2.0, 2.0])
    assert worth_per_second(scores, 1.0, seconds).tolist() == pytest.approx([0.05, 0.1, 0.1, 0.0, 0.0])
    assert worth_per_second(np.array([-0.6, -0.3]), 0.0, np.array([3.0, 1.0])).tolist() == pytest.approx([0.2, 0.3])


def test_every_score_is_at_most_the_highest_of_its_strategy() -> None:
    """So that a worth is never negative, and random numbers are no worth."""
    assert {name for name, strategy in STRATEGIES.items() if strategy.highest_score is None} == {"random", "random-new"}
    labels = Labels(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([1, 1, 0]), 2, 3)
    sure, probs = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 0.0], [0.4, 0.3, 0.3]])
    for strategy in STRATEGIES.values():
        if strategy.highest_score is not None:
            for found in strategy.scores(labels, sure, probs):
                assert (found <= strategy.highest_score + 1e-12).all()

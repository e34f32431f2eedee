"""Multiple choice on generated texts, offline: what sync does, function by function, beats random order."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

SEEDS = 10


@pytest.fixture(scope="module")
def benchmark(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("multilabel")


def test_our_queue_beats_random_order(benchmark: ModuleType) -> None:
    random, ours = np.array(benchmark.in_random_order(0)), np.array(benchmark.ours(0))
    assert ours[0] == random[0], "both begin with the same labels and the same model"
    assert ours.mean() > random.mean() + 0.01
    assert ours[-1] > random[-1] + 0.01


@pytest.mark.nightly
def test_our_queue_beats_random_order_by_more_than_the_paired_interval(benchmark: ModuleType) -> None:
    random = np.array([benchmark.in_random_order(seed) for seed in range(SEEDS)])
    ours = np.array([benchmark.ours(seed) for seed in range(SEEDS)])
    np.testing.assert_array_equal(ours[:, 0], random[:, 0], "both begin with the same labels and the same model")
    for got, other in ((ours.mean(axis=1), random.mean(axis=1)), (ours[:, -1], random[:, -1])):
        mean, half = benchmark.gain(got, other)
        assert mean > half, f"{mean:+.4f} ± {half:.4f}"
    np.testing.assert_array_equal(benchmark.ours(0), ours[0], "a seed gives the same numbers again")

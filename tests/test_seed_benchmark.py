"""The benchmark that repeats the first experiment: what it draws and what it tells."""

from collections.abc import Callable
from types import ModuleType

import pytest

from connector.simulation.corpus import Corpus


@pytest.fixture(scope="module")
def benchmark(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("seed")


def test_a_drawn_part_keeps_the_order_and_the_test(benchmark: ModuleType) -> None:
    names = [f"t{number}" for number in range(20)]
    corpus = Corpus(
        dict.fromkeys(names, "text"), {name: [("ann", "yes")] for name in names}, [("x", "yes")], {names[0]: "yes"}
    )
    part: Corpus = benchmark.drawn(corpus, 7)
    assert len(part.tasks) == 7
    assert list(part.tasks) == list(part.annotations) == [name for name in names if name in part.tasks]
    assert part.truth == {name: "yes" for name in names[:1] if name in part.tasks}
    assert part.test == corpus.test
    assert benchmark.drawn(corpus, 7) == part
    assert benchmark.drawn(corpus, 20) is benchmark.drawn(corpus, None) is corpus


def test_rounds_are_told_by_strategy_with_the_deviation_over_seeds(benchmark: ModuleType) -> None:
    runs = [
        {
            "strategy": strategy,
            "seed": seed,
            "rounds": [{"labels": 200, "accuracy": start}, {"labels": 225, "accuracy": start + 0.1}],
        }
        for strategy, start in (("activelab", 0.6), ("random", 0.5))
        for seed, start in enumerate((start, start + 0.2))
    ]
    told = benchmark.by_labels(runs)
    assert list(told) == ["activelab", "random"]
    assert [row[0] for row in told["random"]] == [200, 225]
    assert [row[1:] for row in told["random"]] == [pytest.approx((0.6, 0.1)), pytest.approx((0.7, 0.1))]

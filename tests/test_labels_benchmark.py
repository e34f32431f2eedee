"""The benchmark of labels: what its data are made of, and when one thing counts as better than another."""

from collections import Counter, defaultdict
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from connector.simulation.corpus import Corpus
from connector.simulation.metrics import summarise


@pytest.fixture(scope="module")
def benchmark(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("labels")


def runs(**accuracies: list[float]) -> list[dict[str, Any]]:
    """Runs of one round each: {strategy: accuracies by seed}."""
    return [
        {
            "strategy": name.replace("_", "-"),
            "classifier": "logistic",
            "seed": seed,
            "rounds": [{"labels": 10, "accuracy": accuracy}],
        }
        for name, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


@pytest.mark.parametrize("classes", [3, 6])
def test_generated_people_are_as_good_as_they_are_called(benchmark: ModuleType, classes: int) -> None:
    corpus: Corpus = benchmark.generated.generate(classes)
    right: dict[str, list[bool]] = defaultdict(list)
    for task, rows in corpus.annotations.items():
        assert len({person for person, _ in rows}) == 5
        for person, label in rows:
            right[person].append(label == corpus.truth[task])
    shares = {person: sum(hits) / len(hits) for person, hits in right.items()}
    expected = {f"right in {quality:.0%}": quality for quality in benchmark.generated.QUALITIES}
    expected |= dict.fromkeys(("random 1", "random 2", "always the same"), 1 / classes)
    assert shares == pytest.approx(expected, abs=0.05)
    said = {label for rows in corpus.annotations.values() for person, label in rows if person == "always the same"}
    assert said == {"class 1"}


def test_generated_texts_differ_are_balanced_and_come_again(benchmark: ModuleType) -> None:
    corpus: Corpus = benchmark.generated.generate(3)
    assert (len(corpus.tasks), len(corpus.test)) == (1500, 500)
    assert len({*corpus.tasks.values(), *(text for text, _ in corpus.test)}) == 2000
    frequencies = Counter(label for _, label in corpus.test)
    assert all(frequency > 130 for frequency in frequencies.values())
    assert corpus == benchmark.generated.generate(3)
    assert corpus != benchmark.generated.generate(3, seed=1)


@pytest.mark.parametrize(("theirs", "is_beaten"), [([0.70, 0.72, 0.71], True), ([0.70, 0.79, 0.81], False)])
def test_the_default_beats_another_only_beyond_the_paired_interval(
    benchmark: ModuleType, theirs: list[float], is_beaten: bool
) -> None:
    summary = summarise(runs(default=[0.80, 0.82, 0.80], random=theirs), "default")
    assert benchmark.beaten("random", summary) is is_beaten
    assert benchmark.beaten("not replayed", summary)


def test_the_share_of_the_gap_is_paired_by_seed(benchmark: ModuleType) -> None:
    some = runs(ours=[0.75, 0.80], random=[0.70, 0.75])
    share = benchmark.gap_closed(some, ("ours", "logistic"), "logistic", 0.80)
    assert share.value == pytest.approx(0.05 / 0.075)

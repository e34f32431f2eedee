"""What runs amount to: intervals, labels needed, errors removed, advice, and the files and table that tell of it."""

import csv
import io
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
from PIL import Image
from rich.console import Console

from connector.cli.simulate_table import format_table
from connector.errors import UsageError
from connector.simulation import results
from connector.simulation.confidence_intervals import Estimate, mean, ratio
from connector.simulation.metrics import Advice, format_advice, judge_advice, labels_to_reach, summarise
from connector.simulation.results import plot, require_plot, results_csv, results_json, rounded


def run(strategy: str, seed: int, *accuracies: float, classifier: str = "fast", **more: Any) -> dict[str, Any]:
    """A run of 100 labels and 25 a round more."""
    rounds = [
        {"labels": 100 + 25 * number, "accuracy": accuracy, "consensus_accuracy": None, "new": 20, "relabel": 5, **more}
        for number, accuracy in enumerate(accuracies)
    ]
    return {"strategy": strategy, "classifier": classifier, "seed": seed, "rounds": rounds}


RUNS = [
    run("random", 0, 0.60, 0.70, 0.71),
    run("random", 1, 0.62, 0.66, 0.73),
    run("random", 2, 0.58, 0.70, 0.75),
    run("best", 0, 0.70, 0.78, 0.80),
    run("best", 1, 0.70, 0.76, 0.82),
    run("best", 2, 0.70, 0.80, 0.81),
]

# -- intervals ---------------------------------------------------------------------------------------------------------


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    values = [0.71, 0.74, 0.69, 0.75, 0.72]
    low, high = scipy.stats.t.interval(0.95, 4, scipy.stats.describe(values).mean, scipy.stats.sem(values))
    estimate = mean(values)
    assert estimate.margin is not None
    assert (estimate.value - estimate.margin, estimate.value + estimate.margin) == pytest.approx((low, high))


def test_one_value_has_no_interval() -> None:
    assert mean([0.7]) == Estimate(0.7, None)
    assert ratio([1.0], [2.0]) == Estimate(0.5, None)


def test_a_constant_ratio_is_certain_whatever_its_parts() -> None:
    estimate = ratio([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
    assert (estimate.value, estimate.margin) == (0.5, pytest.approx(0.0))


def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says() -> None:
    rng = random.Random(0)
    hits = 0
    for _ in range(2000):
        below = [rng.gauss(0.25, 0.01) for _ in range(10)]
        estimate = ratio([0.6 * value + rng.gauss(0, 0.01) for value in below], below)
        assert estimate.margin is not None
        hits += abs(estimate.value - 0.6) < estimate.margin
    assert 0.935 < hits / 2000 < 0.965


# -- lines -------------------------------------------------------------------------------------------------------------


def test_lines_are_paired_by_seed_and_the_best_is_first() -> None:
    summary = summarise(RUNS, "best")
    best, chance = summary.lines
    assert [line.strategy for line in summary.lines] == ["best", "random"]
    assert (best.seeds, summary.rounds, summary.reference) == (3, 3, "best")
    means = [[0.76, 0.76, 0.77], [0.67, 0.67, 2.03 / 3]]
    assert best.accuracy.value == pytest.approx(sum(means[0]) / 3)
    assert best.final == mean([0.80, 0.82, 0.81])
    assert chance.difference is not None
    expected = mean([randoms - ours for ours, randoms in zip(*means, strict=True)])
    assert (chance.difference.value, chance.difference.margin) == pytest.approx((expected.value, expected.margin))
    assert best.error_removed is not None
    assert best.error_removed.value == pytest.approx(1 - (3 - sum(means[0])) / (3 - sum(means[1])))
    assert (best.difference, chance.error_removed, best.consensus) == (None, None, None)


def test_the_order_of_runs_changes_nothing() -> None:
    shuffled = random.Random(1).sample(RUNS, len(RUNS))
    assert summarise(shuffled, "best") == summarise(RUNS, "best")


def test_without_the_default_differences_are_to_random_choice_or_the_first() -> None:
    summary = summarise(RUNS, "another")
    assert summary.reference == "random"
    assert [line.difference is None for line in summary.lines] == [False, True]
    others = [one | {"strategy": one["strategy"].replace("random", "worst")} for one in RUNS]
    assert summarise(others, "another").reference == "best"


def test_targets_are_what_random_reaches_and_round_accuracies_between() -> None:
    summary = summarise(RUNS, "best")
    assert summary.targets == (0.686, 0.7, 0.72, 0.73)
    assert summary.lines[0].labels_needed == (100.0, 100.0, pytest.approx(106.25), pytest.approx(109.375))
    assert summary.lines[1].labels_needed[-1] == 150.0


def test_labels_are_reached_between_rounds_or_never() -> None:
    rounds = run("random", 0, 0.5, 0.7, 0.6, 0.9)["rounds"]
    assert [labels_to_reach(rounds, target) for target in (0.4, 0.6, 0.7, 0.75)] == [100.0, 112.5, 125.0, 162.5]
    assert math.isinf(labels_to_reach(rounds, 0.91))


def test_the_accuracy_that_random_order_ends_with_is_one_that_it_reaches() -> None:
    summary = summarise([run("random", 0, 0.5, 0.6, 2 / 3)], "best")
    assert summary.targets[-1] == 0.666
    assert summary.lines[0].labels_needed[-1] == pytest.approx(149.75)
    rounds = run("random", 0, 0.5, 0.8 - 1e-12)["rounds"]
    assert labels_to_reach(rounds, 0.8) == pytest.approx(125.0)


def test_what_half_of_the_runs_do_not_reach_is_not_reached() -> None:
    runs = [run("random", 0, 0.5, 0.6), run("random", 1, 0.5, 0.8)]
    summary = summarise(runs, "best")
    assert summary.targets[-1] == 0.7
    assert summary.lines[0].labels_needed[-1] is None


def test_runs_that_end_early_are_compared_as_far_as_all_go() -> None:
    summary = summarise([*RUNS, run("short", 0, 0.6, 0.7)], "best")
    assert summary.rounds == 2
    assert summary.lines[0].accuracy.value == pytest.approx((0.74 + 0.73 + 0.75) / 3)
    assert summary.lines[0].final.value == pytest.approx(0.81)


def test_with_one_strategy_classifiers_are_compared_with_the_first_that_was_named() -> None:
    runs = [run("best", seed, 0.7, 0.8 + seed / 100, classifier="fast") for seed in (0, 1)]
    runs += [run("best", seed, 0.7, 0.9 + seed / 100, classifier="deep") for seed in (0, 1)]
    summary = summarise(runs, "best", ["fast", "deep"])
    assert summary.reference == "fast"
    assert [line.classifier for line in summary.lines] == ["deep", "fast"]
    assert summary.lines[0].difference == Estimate(pytest.approx(0.05), pytest.approx(0.0))
    assert summary.lines[1].difference is None


def test_each_classifier_has_its_own_random_choice() -> None:
    runs = [
        run(*given, classifier=name) for name in ("fast", "deep") for given in (("random", 0, 0.5), ("best", 0, 0.6))
    ]
    removed = [line.error_removed for line in summarise(runs, "best").lines if line.strategy == "best"]
    assert removed == [Estimate(pytest.approx(0.2), None)] * 2


def test_hours_are_told_where_times_are_known() -> None:
    known = [run("best", 0, 0.6, 0.7, hours=3.0), run("best", 1, 0.7, hours=4.0), run("random", 0, 0.6, hours=6.04)]
    assert [line.hours for line in summarise(known, "best").lines] == [3.5, 6.04]
    assert [line.hours for line in summarise([*known, run("best", 2, 0.7)], "best").lines] == [None, 6.04]
    assert [line.hours for line in summarise(RUNS, "best").lines] == [None, None]
    text = shown(known, "best")
    assert "hours" in text
    assert "3.5" in text
    assert "6.0" in text
    assert "hours" not in shown(RUNS, "best")


def test_consensus_is_told_where_truth_is_known() -> None:
    known = [run("best", seed, 0.7, consensus_accuracy=0.9 + seed / 100) for seed in (0, 1)]
    assert summarise(known, "best").lines[0].consensus == mean([0.9, 0.91])
    assert summarise([*known, run("best", 2, 0.7)], "best").lines[0].consensus is None


def test_a_perfect_random_leaves_no_error_to_remove() -> None:
    assert summarise([run("random", 0, 1.0), run("best", 0, 1.0)], "best").lines[0].error_removed is None


# -- advice ------------------------------------------------------------------------------------------------------------


def test_advice_is_judged_by_the_next_five_rounds() -> None:
    given = run("best", 0, 0.70, 0.70, 0.70, 0.70, 0.70, 0.71, 0.70, 0.71, 0.702, 0.71)
    for one, advice in zip(given["rounds"], [True, True, False, False, None, *[True] * 5], strict=True):
        one["advice"] = advice
    # 0 → 5 gains; 1 → 6 does not; 2 → 7 gains; 3 → 8 gains 0.2 points and no more; 4 says nothing; 5 on is too late.
    assert judge_advice([given]) == Advice(go_paid=1, go_vain=1, stop_paid=1, stop_vain=1)


def test_advice_is_told_in_one_sentence() -> None:
    assert format_advice(judge_advice(RUNS)) is None
    assert format_advice(Advice(30, 10, 0, 0)) == (
        "The advice that more labels are likely to pay was right 30 of 40 times, judged by whether the next 5 rounds "
        "gained more than 0.2 points."
    )
    assert "and that they are not was right 7 of 9 times" in str(format_advice(Advice(30, 10, 2, 7)))


# -- files and the table -----------------------------------------------------------------------------------------------


def test_results_are_the_same_bytes_whatever_the_order() -> None:
    shuffled = random.Random(1).sample(RUNS, len(RUNS))
    assert results_json("best", shuffled, data={"tasks": 9}) == results_json("best", RUNS, data={"tasks": 9})
    assert results_csv(shuffled) == results_csv(RUNS)
    read = json.loads(results_json("best", shuffled))
    assert (read["default"], len(read["runs"])) == ("best", 6)
    assert read["runs"][0] == RUNS[3]


def test_numbers_have_six_digits() -> None:
    assert rounded({"a": [1 / 3, {"b": 2 / 3}], "c": 1, "d": True, "e": None}) == {
        "a": [0.333333, {"b": 0.666667}],
        "c": 1,
        "d": True,
        "e": None,
    }


def test_the_csv_has_a_row_a_round_and_what_else_rounds_tell() -> None:
    rows = list(csv.DictReader(io.StringIO(results_csv([*RUNS, run("odd", 0, 1 / 3, advice=True, parts=[1])]))))
    assert len(rows) == 19
    assert rows[3] == {
        "strategy": "best",
        "classifier": "fast",
        "seed": "1",
        "round": "0",
        "labels": "100",
        "accuracy": "0.7",
        "consensus_accuracy": "",
        "new": "20",
        "relabel": "5",
        "advice": "",
    }
    assert (rows[9]["accuracy"], rows[9]["advice"]) == ("0.333333", "true")


def test_the_plot_is_the_same_file_again_and_says_nothing_of_its_making(tmp_path: Path) -> None:
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    plot(RUNS, first)
    plot(list(reversed(RUNS)), second)
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        assert image.size == (1200, 750)
        assert set(image.info) <= {"dpi"}
        assert len(image.getcolors(1 << 20) or []) > 50


def test_without_matplotlib_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'label-studio-activelab\[simulate\]'.*--no-plot"):
        require_plot()


def shown(*arguments: Any) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None, _environ={})
    console.print(format_table(summarise(*arguments)))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_the_table_of_strategies() -> None:
    text = shown(RUNS, "best")
    assert "mean of 3 seeds and 3 rounds" in text
    assert "against best" in text
    assert "0.763 ± 0.014" in text
    assert "-0.091 ± " in text
    assert "classifier" not in text
    assert "consensus" not in text


def test_the_table_of_classifiers() -> None:
    runs = [run("best", seed, 0.7, 0.8, classifier=name) for seed in (0, 1) for name in ("fast", "deep")]
    text = shown(runs, "best", ["fast"])
    assert "against fast" in text
    assert "strategy" not in text
    assert "not reached" not in text


def test_one_seed_has_no_margin() -> None:
    text = shown([run("best", 0, 0.7, 0.8)], "best")
    assert "mean of 1 seed and 2 rounds" in text
    assert " ± " not in text

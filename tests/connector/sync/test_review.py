"""Consensus and quality as an export has them: reused from a round if that found the same, and computed once."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from support.scoring_factory import Model, both_classes, labelled, pulled

from connector.active_learning import DEFAULT_STRATEGY, activelab, consensus
from connector.active_learning.strategies import find_strategy
from connector.annotations.records import Task
from connector.progress import Reporter
from connector.state.project_state import ProjectState
from connector.sync.review import consensus_quality, review
from connector.sync.scoring import Scored, score

TASKS = [labelled(40, "Polite", "Impolite"), *both_classes(30)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the posteriors of Dawid and Skene, and the ActiveLab scores, which begin with CROWDLAB."""
    counted: Counter[str] = Counter()

    def count(module: Any, name: str, what: str) -> None:
        original: Callable[..., Any] = getattr(module, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            counted[what] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, counting)

    count(consensus, "posterior", "posterior")
    count(activelab, "crowdlab", "scores")
    return counted


def round_of(
    tasks: list[Task], state: ProjectState, model: Model, name: str = DEFAULT_STRATEGY, **options: Any
) -> Scored:
    """A round of a sync on a model that is there."""
    project, reporter = pulled(*tasks), Reporter()
    if model.served is None:
        score(project, model, state, reporter)  # type: ignore[arg-type]
    return score(project, model, state, reporter, strategy=find_strategy(name), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options", "posteriors"),
    [
        (DEFAULT_STRATEGY, {}, 1),
        (DEFAULT_STRATEGY, {"train": "always"}, 2),  # the probabilities are others after the training
        ("activelab", {}, 1),
        ("random", {}, 1),
    ],
    ids=["nothing to train", "trained", "another consensus", "by majority"],
)
def test_consensus_is_computed_once_for_the_same_probabilities_and_nothing_is_scored_for_it(
    calls: Counter[str], state: ProjectState, name: str, options: dict[str, Any], posteriors: int
) -> None:
    model = Model()
    round_of(TASKS, state, model)
    calls.clear()
    scored = round_of(TASKS, state, model, name, **options)
    scores_before = calls["scores"]
    reviewed = consensus_quality(pulled(*TASKS), scored, name)
    assert (calls["posterior"], calls["scores"]) == (posteriors, scores_before)
    assert scores_before == (0 if name == "random" else 1)

    exported = review(pulled(*TASKS), model, Reporter())  # type: ignore[arg-type]
    assert reviewed.consensus == exported.scored.consensus
    assert reviewed.quality == exported.quality
    assert set(reviewed.quality) == {task.id for task in TASKS}


def test_a_test_set_that_the_round_held_out_has_a_consensus_label(state: ProjectState) -> None:
    first = TASKS[0].annotations[0]._replace(ground_truth=True)
    tasks, model = [TASKS[0]._replace(annotations=(first,)), *TASKS[1:]], Model()
    scored = round_of(tasks, state, model, ground_truth=True)
    assert 40 not in scored.quality
    reviewed = consensus_quality(pulled(*tasks), scored, DEFAULT_STRATEGY)
    assert reviewed.quality == review(pulled(*tasks), model, Reporter()).quality  # type: ignore[arg-type]
    assert 40 in reviewed.quality


def test_without_a_model_there_is_a_majority_and_no_quality(state: ProjectState) -> None:
    scored = score(pulled(*TASKS), Model(), state, Reporter(), train="never")  # type: ignore[arg-type]
    assert scored.consensus == consensus_quality(pulled(*TASKS), scored, "random").consensus
    assert scored.quality == consensus_quality(pulled(*TASKS), scored, "random").quality == {}
    assert review(pulled(*TASKS), None, Reporter()).scored.consensus == scored.consensus


def test_a_model_whose_labels_are_all_gone_says_nothing(state: ProjectState) -> None:
    model = Model()
    round_of(TASKS, state, model)
    found = review(pulled(*TASKS), model, Reporter(), trained={99: "Polite"})  # type: ignore[arg-type]
    assert (found.scored.model_version, found.quality, found.pred_probs) == (None, {}, {})
    assert review(pulled(*TASKS), model, Reporter(), trained={1: "Polite"}).quality  # type: ignore[arg-type]

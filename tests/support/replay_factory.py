"""A replay that invents its rounds, for the machinery around it. Workers import it, so it is a function of a module."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connector.backend import Backend
from connector.errors import TryAgainLater, UsageError
from connector.simulation.corpus import Corpus
from connector.simulation.replay import ReplayOptions

LOG = "MADE_UP_REPLAY_LOG"  # a folder in which every run leaves a file
FAULT = "MADE_UP_REPLAY_FAULT"  # "strategy seed fault": what goes wrong in which run


def replay(
    corpus: Corpus,
    strategy: str,
    classifier: str,
    seed: int,
    options: ReplayOptions,
    backend: Backend,
    progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """Rounds that grow with the number of the round, the seed and the length of the strategy's name."""
    told = Path(os.environ[LOG]) / f"{strategy} {classifier} {seed}"
    told.write_text(backend.url)
    failing, failing_seed, fault = os.environ.get(FAULT, "no 0 fault").split()
    if (strategy, seed) == (failing, int(failing_seed)):
        _fail(fault)
    rounds = []
    ended = 2 if strategy == "short" else options.rounds
    for number in range(ended + 1):
        rounds.append(
            {
                "labels": options.initial_tasks * options.initial_labels + number * options.batch,
                "accuracy": 0.5 + number / 100 + seed / 1000 + len(strategy) / 300,
                "consensus_accuracy": None,
                "new": options.batch,
                "relabel": 0,
            }
        )
        progress(number + 1, options.rounds + 1)
        if multiprocessing.parent_process() is not None:
            time.sleep(0.1)  # so that the other worker gets a run, too
    return rounds


def _fail(fault: str) -> None:
    if fault == "dies":
        os._exit(9)
    if fault == "away":
        raise TryAgainLater("The ML backend at http://nowhere does not answer.")
    if fault == "wrong":
        raise UsageError("The data are wrong.")
    raise ValueError("nobody thought of this")

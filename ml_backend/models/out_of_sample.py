"""Out-of-sample probabilities of all items, computed in shards."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.errors import ClusterUnavailable
from ml_backend.features.feature_spec import Block, read_block
from ml_backend.models.registry import TrainedModel
from ml_backend.parallel import ParallelRunner
from ml_backend.settings import Settings
from ml_backend.storage import Dataset

Scores = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int8]]

SHARD = 10_000  # items
_SECONDS_AN_ITEM = 3e-5  # to read and score one, most of it reading


def out_of_sample(model: TrainedModel, dataset: Dataset, settings: Settings) -> Scores:
    """Ids int64 (n,), probabilities float32 (n, k) and folds int8 (n,) of all items with the model's features.

    Processes of this machine read their shards themselves. Those of a Ray cluster receive them from a process that ends
    afterwards. Raises ClusterUnavailable.
    """
    if settings.ray is None or not ParallelRunner(settings).divides(_SECONDS_AN_ITEM * dataset.count_items()):
        return _out_of_sample(model, dataset, settings.model_copy(update={"ray": None}))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        try:
            return executor.submit(_out_of_sample, model, dataset, settings).result()
        except BrokenExecutor as error:
            raise ClusterUnavailable(
                "The Ray cluster of ML_BACKEND_RAY went away. Try again when it is back."
            ) from error


def _out_of_sample(model: TrainedModel, dataset: Dataset, settings: Settings) -> Scores:
    runner, shards = ParallelRunner(settings), dataset.shards(SHARD)
    seconds = _SECONDS_AN_ITEM * SHARD * len(shards)
    if runner.distributed:
        scored = list(runner.run(_score, _read(model, dataset, shards), len(shards), seconds=seconds))
    else:
        ranges = ((model, dataset, *shard) for shard in shards)
        scored = list(runner.run(_read_and_score, ranges, len(shards), seconds=seconds))
    nothing = (
        np.zeros(0, dtype=np.int64),
        np.zeros((0, len(model.classes)), dtype=np.float32),
        np.zeros(0, dtype=np.int8),
    )
    ids, probabilities, folds = zip(nothing, *filter(None, scored), strict=True)
    return np.concatenate(ids), np.concatenate(probabilities), np.concatenate(folds)


def _read(model: TrainedModel, dataset: Dataset, shards: list[tuple[int, int]]) -> Iterator[tuple[Any, ...]]:
    for first, last in shards:
        yield model, read_block(dataset, model.feature_spec, first, last)


def _read_and_score(model: TrainedModel, dataset: Dataset, first: int, last: int) -> Scores | None:
    return _score(model, read_block(dataset, model.feature_spec, first, last))


def _score(model: TrainedModel, block: Block | None) -> Scores | None:
    if block is None:
        return None
    return np.array(block.ids, dtype=np.int64), *model.out_of_sample(block.features, block.digests)

"""Points that represent all others, in an order in which every prefix covers the space, and near-duplicates."""

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

_ITERATIONS = 20  # after that the centres hardly move, and only the points nearest to them matter


def cluster_centres(points: npt.NDArray[np.float32], count: int, seed: int) -> list[int]:
    """Positions of at most `count` of the points (n, d): the nearest one to the centre of each k-means cluster.

    They are ordered by `farthest_first` among themselves. So are all points, if there are no more than `count`. The
    centres of clusters avoid the outliers that `farthest_first` alone would choose early.
    """
    distinct = np.sort(np.unique(points, axis=0, return_index=True)[1])
    if len(distinct) <= count or count == 0:
        return farthest_first(points, count)
    # One thread, because sums in another order give another result.
    with threadpool_limits(1):
        means = KMeans(count, n_init=1, max_iter=_ITERATIONS, random_state=seed).fit(points[distinct])
        distances = ((points[distinct] - means.cluster_centers_[means.labels_]) ** 2).sum(axis=1)
        by_distance = np.argsort(distances, kind="stable")
        nearest = by_distance[np.unique(means.labels_[by_distance], return_index=True)[1]]
        chosen = np.sort(distinct[nearest])
        order = farthest_first(points[chosen], count)
    return [int(position) for position in chosen[order]]


def farthest_first(points: npt.NDArray[np.float32], count: int) -> list[int]:
    """Positions of at most `count` of the points (n, d): the most central one, then always the farthest one.

    The distance is that to the nearest point chosen before. Every prefix covers the points within twice the least
    possible radius (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985). Ties go to the lower
    position.
    """
    if not len(points) or not count:
        return []
    chosen = [int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        nearest[chosen] = -1  # identical points are all at distance 0, and none is chosen twice
        chosen.append(int(nearest.argmax()))
    return chosen


def first_distinct(
    points: npt.NDArray[np.float32], before: npt.NDArray[np.float32], count: int, similarity: float
) -> list[int]:
    """Positions of the first `count` of the points (n, d) that resemble neither `before` (m, d) nor one chosen earlier.

    Two points resemble each other if the cosine of the angle between them is at least `similarity`.
    """
    if not len(points) or count < 1:
        return []
    directions, taken = _directions(points), _directions(before)
    is_free = np.ones(len(points), np.bool_)
    if len(taken):
        is_free &= (directions @ taken.T).max(axis=1) < similarity
    chosen: list[int] = []
    for position in np.flatnonzero(is_free).tolist():
        if not is_free[position]:
            continue
        chosen.append(position)
        if len(chosen) == count:
            break
        is_free &= directions @ directions[position] < similarity
    return chosen


def _directions(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)

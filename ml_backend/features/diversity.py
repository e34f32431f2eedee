"""Points that stand for all, in an order whose every prefix covers the space."""

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

_ITERATIONS = 20  # the centres hardly move after that, and only their neighbours are asked for


def cluster_centres(points: npt.NDArray[np.float32], count: int, seed: int) -> list[int]:
    """Positions of at most `count` of the points (n, d): of each k-means cluster the one nearest to its centre.

    They come in the order of `farthest_first` among themselves, and so do all points where there are no more than
    `count`. A start from the centres of clusters avoids the outliers that `farthest_first` by itself begins with.
    """
    distinct = np.sort(np.unique(points, axis=0, return_index=True)[1])
    if len(distinct) <= count or count == 0:
        return farthest_first(points, count)
    # One thread: with several, sums in another order give another result.
    with threadpool_limits(1):
        means = KMeans(count, n_init=1, max_iter=_ITERATIONS, random_state=seed).fit(points[distinct])
        distances = ((points[distinct] - means.cluster_centers_[means.labels_]) ** 2).sum(axis=1)
        by_distance = np.argsort(distances, kind="stable")
        nearest = by_distance[np.unique(means.labels_[by_distance], return_index=True)[1]]
        chosen = np.sort(distinct[nearest])
        order = farthest_first(points[chosen], count)
    return [int(position) for position in chosen[order]]


def farthest_first(points: npt.NDArray[np.float32], count: int) -> list[int]:
    """Positions of at most `count` of the points (n, d): the most central, then always the farthest from those before.

    Gonzalez, "Clustering to minimize the maximum intercluster distance" (1985): every prefix covers the points within
    twice the least possible radius. Ties go to the lower position.
    """
    if not len(points) or not count:
        return []
    chosen = [int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        nearest[chosen] = -1  # identical points are all at distance 0, and none is taken twice
        chosen.append(int(nearest.argmax()))
    return chosen

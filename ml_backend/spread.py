"""An order of points whose every prefix covers the space."""

import numpy as np
import numpy.typing as npt


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

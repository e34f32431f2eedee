"""Points that represent all others."""

import numpy as np

from ml_backend.features.diversity import cluster_centres, farthest_first


def test_every_prefix_of_a_spread_covers_the_space() -> None:
    corners = np.array([[0, 0], [0, 9], [9, 0], [9, 9]], dtype=np.float32)
    points = np.concatenate([corners + shift for shift in np.random.default_rng(0).random((25, 1, 2))]).astype(
        np.float32
    )
    order = farthest_first(points, 100)
    assert sorted(order) == list(range(100))
    assert {tuple(points[position] // 5) for position in order[:4]} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert farthest_first(points, 7) == order[:7]
    assert farthest_first(np.ones((3, 2), dtype=np.float32), 3) == [0, 1, 2]
    assert farthest_first(points[:0], 3) == []


def test_the_centres_of_clusters_are_chosen_and_no_outlier() -> None:
    random = np.random.default_rng(0)
    middles = 10 * np.eye(4, 8)
    points = np.concatenate([middles[number % 4] + random.normal(size=8) for number in range(200)]).reshape(200, 8)
    points = np.vstack([points, middles[0] + 6 * np.ones(8)]).astype(np.float32)
    chosen = cluster_centres(points, 4, seed=0)
    assert {position % 4 for position in chosen} == {0, 1, 2, 3}
    assert 200 not in chosen
    assert 200 in farthest_first(points, 2)
    for position in chosen:
        assert np.linalg.norm(points[position] - middles[position % 4]) < 2.5
    assert cluster_centres(points, 4, seed=0) == chosen


def test_centres_come_spread_and_without_repetition() -> None:
    points = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    twice = np.vstack([points, points])
    chosen = cluster_centres(twice, 20, seed=3)
    assert len(set(chosen)) == 20
    assert max(chosen) < 60
    assert [chosen[position] for position in farthest_first(twice[chosen], 20)] == sorted(chosen, key=chosen.index)
    assert sorted(cluster_centres(twice, 60, seed=3)[:60]) == list(range(60))
    assert sorted(cluster_centres(twice, 200, seed=3)) == list(range(120))
    assert cluster_centres(points, 0, seed=3) == []
    assert cluster_centres(points[:0], 3, seed=3) == []

"""Points that represent all others, and near-duplicates."""

import numpy as np

from ml_backend.features.diversity import cluster_centres, farthest_first, first_distinct


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


def at(*degrees: float, length: float = 1.0) -> np.ndarray:
    """Points on a circle: two of them resemble each other by the cosine of the angle between them."""
    angles = np.deg2rad(degrees)
    return (length * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


def test_of_points_that_resemble_each_other_the_first_is_chosen() -> None:
    points = at(0, 10, 50, 55, 0, 100, 30)
    similarity = float(np.cos(np.deg2rad(25)))
    assert first_distinct(points, at(), 9, similarity) == [0, 2, 5]
    assert first_distinct(points[::-1], at(), 9, similarity) == [0, 1, 2]  # 30, 100 and 0 degrees
    assert first_distinct(points, at(), 2, similarity) == [0, 2]
    assert first_distinct(points, at(52), 9, similarity) == [0, 5]
    assert first_distinct(points, at(), 0, similarity) == []
    assert first_distinct(points[:0], at(52), 9, similarity) == []


def test_resemblance_is_one_of_direction() -> None:
    points = np.concatenate([at(0), at(1, length=7.0), at(90, length=0.01)])
    assert first_distinct(points, np.zeros((0, 2), np.float32), 9, 0.9) == [0, 2]
    nothing = np.zeros((2, 2), np.float32)  # an embedding without a direction resembles none
    assert first_distinct(nothing, points, 9, 0.9) == [0, 1]


def test_the_choice_is_that_of_comparing_every_pair() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(40, 16))
    points = (centres[random.integers(0, 40, 700)] + 0.2 * random.normal(size=(700, 16))).astype(np.float32)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    expected: list[int] = []
    for position in range(700):
        if all(float(unit[position] @ unit[other]) < 0.9 for other in expected):
            expected.append(position)
    assert 30 < len(expected) < 400
    assert first_distinct(points, points[:0], 700, 0.9) == expected
    half = [position for position in expected if position < 300]
    assert first_distinct(points[300:], points[half], 700, 0.9) == [each - 300 for each in expected if each >= 300]

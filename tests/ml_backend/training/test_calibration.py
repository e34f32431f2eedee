"""The penalty and the temperature, chosen by the folds."""

from pathlib import Path

import numpy as np
import pytest

from ml_backend.classifiers.logistic import LogisticClassifier
from ml_backend.classifiers.one_vs_rest import OneVsRestClassifier
from ml_backend.classifiers.protocol import Classifier
from ml_backend.training.calibration import STRENGTHS, HeldOut, choose, cross_entropy


def noisy(count: int, dims: int, wrong: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FeatureStore, labels of which a share is wrong, and the true ones."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, dims)).astype(np.float32)
    truth = (features[:, :3].sum(axis=1) > 0).astype(np.int64)
    return features, np.where(random.random(count) < wrong, 1 - truth, truth), truth


def folded(features: np.ndarray, labels: np.ndarray, kind: type) -> tuple[list[list[Classifier]], list[HeldOut]]:
    """Three folds: the classifiers made without each, and what each holds out."""
    folds, paths, held_out = np.arange(len(labels)) % 3, [], []
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    for fold in range(3):
        rest, out = folds != fold, folds == fold
        paths.append([kind(c) for c in STRENGTHS])
        for classifier in paths[-1]:
            classifier.fit(features[rest], labels[rest], classes, seed=0)
        held_out.append((features[out], labels[out], np.ones(out.sum())))
    return paths, held_out


def test_noisy_labels_of_many_features_ask_for_a_strong_penalty_and_clean_ones_of_few_for_a_weak_one() -> None:
    features, labels, _ = noisy(150, 60, wrong=0.25)
    strong, _ = choose(*folded(features, labels, LogisticClassifier))
    features, labels, _ = noisy(150, 3, wrong=0.0)
    weak, _ = choose(*folded(features, labels, LogisticClassifier))
    assert STRENGTHS[strong] <= 0.3
    assert STRENGTHS[weak] >= 10


@pytest.mark.parametrize("several", [False, True])
def test_the_choice_makes_new_labels_more_probable_than_any_penalty_by_itself(several: bool) -> None:
    features, labels, _ = noisy(300, 40, wrong=0.2)
    new, new_labels, _ = noisy(4000, 40, wrong=0.2, seed=1)
    kind: type = LogisticClassifier
    if several:  # a second class that nothing tells
        kind = OneVsRestClassifier
        labels, new_labels = (np.stack([one, np.arange(len(one)) % 2], axis=1) for one in (labels, new_labels))
    paths, held_out = folded(features, labels, kind)
    place, temperature = choose(paths, held_out)

    def loss(place: int, temperature: float) -> float:
        each = [path[place].at_temperature(temperature).predict_proba(new) for path in paths]
        return sum(cross_entropy(one, new_labels, np.ones(4000), 12_000) for one in each) / 12_000

    chosen = loss(place, temperature)
    assert all(chosen < loss(other, 1.0) for other in range(len(STRENGTHS)))


def test_a_few_labels_all_predicted_right_do_not_ask_for_certainty() -> None:
    features = np.array([[-1], [1]] * 6, dtype=np.float32)
    paths, held_out = folded(features, np.array([0, 1] * 6), LogisticClassifier)
    place, temperature = choose(paths, held_out)
    sure = paths[0][place].at_temperature(temperature).predict_proba(features).max()
    assert sure == pytest.approx(13 / 14, abs=0.01)  # 12 labels and one more of each class


def test_weights_count_in_the_choice() -> None:
    features, labels, truth = noisy(300, 20, wrong=0.3)
    paths, held_out = folded(features, labels, LogisticClassifier)
    trusted = [(x, y, np.where(y == truth[fold::3], 1.0, 1e-6)) for fold, (x, y, _) in enumerate(held_out)]
    assert choose(paths, trusted)[1] < 0.8 * choose(paths, held_out)[1]


def test_a_temperature_divides_logits_and_leaves_laplaces_estimates(tmp_path: Path) -> None:
    features, labels, _ = noisy(60, 3, wrong=0.1)
    one = LogisticClassifier()
    one.fit(features, labels, 3, seed=0)
    before, after = one.predict_proba(features), one.at_temperature(2.0).predict_proba(features)
    np.testing.assert_allclose(after[:, 2], before[:, 2])
    np.testing.assert_allclose(np.log(after[:, 1] / after[:, 0]), np.log(before[:, 1] / before[:, 0]) / 2, atol=1e-4)

    several = OneVsRestClassifier()
    several.fit(features, np.stack([labels, np.ones(60, dtype=np.int64)], axis=1), 2, seed=0)
    cooler = several.at_temperature(0.5)
    before, after = several.predict_proba(features), cooler.predict_proba(features)
    np.testing.assert_allclose(after[:, 1], before[:, 1])
    odds = before[:, 0] / (1 - before[:, 0])
    np.testing.assert_allclose(np.log(after[:, 0] / (1 - after[:, 0])), 2 * np.log(odds), rtol=1e-3, atol=1e-3)
    cooler.save(tmp_path / "model")
    assert np.array_equal(OneVsRestClassifier.load(tmp_path / "model").predict_proba(features), after)

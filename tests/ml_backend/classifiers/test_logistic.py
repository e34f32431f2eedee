from pathlib import Path

import numpy as np
import pytest

from ml_backend.classifiers.logistic import LogisticClassifier
from ml_backend.classifiers.one_vs_rest import OneVsRestClassifier
from ml_backend.errors import CorruptModel


def fitted(labels: list[int], classes: int, seed: int = 0) -> tuple[LogisticClassifier, np.ndarray]:
    features = np.random.default_rng(seed).normal(size=(len(labels), 4)).astype(np.float32)
    features[:, 0] += 4 * np.array(labels, dtype=np.float32)
    model = LogisticClassifier(c=10.0)
    model.fit(features, np.array(labels), classes, seed)
    return model, features


@pytest.mark.parametrize(
    ("labels", "classes"), [([0, 1] * 10, 2), ([0, 1, 2] * 10, 3), ([0, 2] * 10, 4), ([1] * 5, 3), ([0], 2)]
)
def test_rows_sum_to_one_and_no_class_is_impossible(labels: list[int], classes: int) -> None:
    model, features = fitted(labels, classes)
    probabilities = model.predict_proba(features)
    assert probabilities.shape == (len(labels), classes)
    assert (probabilities > 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    for absent in set(range(classes)) - set(labels):
        np.testing.assert_allclose(probabilities[:, absent], 1 / (len(labels) + classes), rtol=1e-5)


@pytest.mark.parametrize("labels", [[0, 1] * 10, [0, 1, 2] * 10])
def test_it_is_scikit_learns_logistic_regression(labels: list[int]) -> None:
    from sklearn.linear_model import LogisticRegression

    model, features = fitted(labels, len(set(labels)))
    reference = LogisticRegression(C=10.0, max_iter=1000).fit(features.astype(np.float64), labels)
    np.testing.assert_allclose(model.predict_proba(features), reference.predict_proba(features), atol=1e-5)


def test_a_weight_counts_like_so_many_copies() -> None:
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(30, 4)).astype(np.float32), random.integers(0, 3, 30)
    sets = random.integers(0, 2, (30, 3))
    times = random.integers(1, 4, 30)
    for kind, y in ((LogisticClassifier, labels), (OneVsRestClassifier, sets)):
        weighted, copied, plain = kind(c=1.0), kind(c=1.0), kind(c=1.0)
        weighted.fit(features, y, 3, 0, times.astype(np.float64))
        copied.fit(features.repeat(times, axis=0), y.repeat(times, axis=0), 3, 0)
        plain.fit(features, y, 3, 0)
        expected = copied.predict_proba(features)
        np.testing.assert_allclose(weighted.predict_proba(features), expected, atol=1e-3)
        assert np.abs(plain.predict_proba(features) - expected).max() > 0.01


def test_probabilities_stay_above_zero_far_out() -> None:
    model, features = fitted([0, 1] * 10, 2)
    far = model.predict_proba(features * 1e6)
    assert far.astype(np.float32).min() > 0


@pytest.mark.parametrize(("labels", "classes"), [([0, 1] * 10, 2), ([0, 2] * 5, 3), ([1, 1], 2)])
def test_it_comes_back_from_disk(tmp_path: Path, labels: list[int], classes: int) -> None:
    model, features = fitted(labels, classes)
    model.save(tmp_path / "model")
    again = LogisticClassifier.load(tmp_path / "model")
    assert np.array_equal(again.predict_proba(features), model.predict_proba(features))


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(CorruptModel, match="Train again"):
        LogisticClassifier.load(tmp_path / "model")

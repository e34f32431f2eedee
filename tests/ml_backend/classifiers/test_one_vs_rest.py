"""Logistic regression of each class against the rest."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ml_backend.classifiers.one_vs_rest import OneVsRestClassifier
from ml_backend.errors import CorruptModel


def features(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


def test_each_class_is_scikit_learns_logistic_regression_against_the_rest() -> None:
    x = features(60)
    labels = (x[:, :3] + features(60, 1)[:, :3] > 0).astype(np.int64)
    model = OneVsRestClassifier(c=3.0)
    model.fit(x, labels, 3, seed=0)
    probabilities = model.predict_proba(x)
    for index in range(3):
        reference = LogisticRegression(C=3.0, max_iter=1000).fit(x.astype(np.float64), labels[:, index])
        np.testing.assert_allclose(probabilities[:, index], reference.predict_proba(x)[:, 1], atol=1e-5)


def test_a_class_that_none_has_is_improbable_and_one_that_all_have_probable() -> None:
    labels = np.stack([np.zeros(8), np.ones(8), np.arange(8) % 2], axis=1).astype(np.int64)
    model = OneVsRestClassifier()
    model.fit(features(8), labels, 3, seed=0)
    probabilities = model.predict_proba(features(5, 1))
    np.testing.assert_allclose(probabilities[:, :2], np.tile([0.1, 0.9], (5, 1)))
    assert ((probabilities > 0) & (probabilities < 1)).all()


def test_probabilities_stay_between_zero_and_one_far_out() -> None:
    model = OneVsRestClassifier()
    model.fit(features(20), (features(20)[:, :2] > 0).astype(np.int64), 2, seed=0)
    far = model.predict_proba(features(20) * 1e6).astype(np.float32)
    assert 0 < far.min() < far.max() < 1


def test_it_comes_back_from_disk_and_other_files_are_refused(tmp_path: Path) -> None:
    model = OneVsRestClassifier()
    model.fit(features(20), (features(20)[:, :2] > 0).astype(np.int64), 2, seed=0)
    model.save(tmp_path / "model")
    again = OneVsRestClassifier.load(tmp_path / "model")
    assert np.array_equal(again.predict_proba(features(5)), model.predict_proba(features(5)))
    (tmp_path / "model").write_bytes(b"\x80\x04.")
    with pytest.raises(CorruptModel, match="Train again"):
        OneVsRestClassifier.load(tmp_path / "model")

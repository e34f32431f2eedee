"""Probabilities from logits."""

from pathlib import Path

import numpy as np
import pytest

from ml_backend.classifiers.softmax import SoftmaxClassifier
from ml_backend.errors import CorruptModel


def test_probabilities_of_logits(tmp_path: Path) -> None:
    logits = np.array([[0.0, 2.0, -900.0], [1.0, 1.0, 1.0]], dtype=np.float32)
    for several in (False, True):
        made = SoftmaxClassifier(several)
        made.fit(logits, np.array([0, 1]), 3, 0)
        made = made.at_temperature(2.0)
        made.save(tmp_path / "logits.safetensors")
        found = SoftmaxClassifier.load(tmp_path / "logits.safetensors").predict_proba(logits)
        assert np.array_equal(found, made.predict_proba(logits))
        assert 0 < found.min() < 1e-6
        if several:
            assert found[0, :2] == pytest.approx([0.5, 1 / (1 + np.exp(-1))])
        else:
            assert found[0, 1] / found[0, 0] == pytest.approx(np.e)
            assert found.sum(axis=1) == pytest.approx([1, 1])
        with pytest.raises(CorruptModel, match="another number of classes"):
            made.predict_proba(logits[:, :2])
    (tmp_path / "logits.safetensors").write_bytes(b"")
    with pytest.raises(CorruptModel, match="cannot be read"):
        SoftmaxClassifier.load(tmp_path / "logits.safetensors")

"""What a version on disk must be to be read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.training_harness import TrainingHarness

from ml_backend.errors import CorruptModel
from ml_backend.features.encoder import Encoder
from ml_backend.models.registry import Registry

Sentences = Callable[..., tuple[list[str], list[int]]]


def test_a_version_that_is_not_as_ours_are_is_refused(
    tmp_path: Path, tiny_encoder: Encoder, make_sentences: Sentences
) -> None:
    texts, truth = make_sentences(20)
    bench = TrainingHarness(tmp_path / "project", tiny_encoder, "transformers", classifier="logistic")
    bench.hold(texts)
    version = bench.train(texts, truth).version
    path = bench.directory / "versions" / version / "version.json"
    told = json.loads(path.read_text())
    registry = Registry(bench.directory, 3)
    assert registry.read(version).feature_spec == bench.model.feature_spec
    for wrong in (
        {key: value for key, value in told.items() if key != "accuracy"},
        {key: value for key, value in told.items() if key != "files"},
        {**told, "recipe": {"lexical": "x"}},
        {**told, "recipe": 1},
        {**told, "files": 1},
        {**told, "classes": 1},
        {**told, "classifier": ["logistic"]},
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(CorruptModel, match="Train again"):
            registry.read(version)

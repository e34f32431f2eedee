"""Model versions on disk: what is kept, and what must be there to be read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.project_harness import ProjectHarness
from support.training_harness import TrainingHarness

from ml_backend.errors import CorruptModel, NotFound
from ml_backend.features.encoder import Encoder
from ml_backend.models.registry import Registry

Sentences = Callable[..., tuple[list[str], list[int]]]


class Killed(BaseException):
    """The process is no more."""


def killed_in_the_middle(directory: Path, ignore_errors: bool = False) -> None:
    """What is left of a removal that a SIGKILL ends behind the first file."""
    if directory.exists():
        next(path for path in sorted(directory.rglob("*")) if path.is_file()).unlink()
        raise Killed


@pytest.fixture
def bench(tmp_path: Path, tiny_encoder: Encoder) -> ProjectHarness:
    return ProjectHarness(tmp_path / "project", tiny_encoder)


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


def test_a_version_of_an_unknown_classifier_is_refused(
    bench: ProjectHarness, tiny_encoder: Encoder, make_sentences: Sentences, caplog: pytest.LogCaptureFixture
) -> None:
    texts, labels = make_sentences(20)
    bench.hold(texts)
    version = bench.train(texts, labels).version
    path = bench.directory / "versions" / version / "version.json"
    path.write_text(path.read_text().replace('"logistic"', '"oracle"'))
    assert ProjectHarness(bench.directory, tiny_encoder).project.model is None
    assert "unknown classifier, 'oracle'. Train again" in caplog.text


def test_only_the_newest_versions_and_their_terms_are_kept(
    tmp_path: Path, tiny_encoder: Encoder, make_sentences: Sentences
) -> None:
    bench = ProjectHarness(tmp_path / "project", tiny_encoder, keep_versions=2)
    versions = []
    for count in (10, 20, 40):
        texts, labels = make_sentences(count)
        bench.hold(texts)
        versions.append(bench.train(texts, labels).version)
    assert sorted(path.name for path in (bench.directory / "versions").iterdir()) == sorted(versions[1:])
    assert len(list((bench.directory / "lexical").iterdir())) == 2


def test_rolling_back_goes_one_version_back_at_a_time(bench: ProjectHarness, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(20)
    bench.hold(texts)
    first, second, third = (bench.train(texts, labels).version for _ in range(3))
    registry = Registry(bench.directory, 3)
    for expected in (second, first):
        registry.roll_back()
        assert registry.current_version() == expected
    with pytest.raises(NotFound, match="There is no older version"):
        registry.roll_back()
    registry.roll_back(third)
    assert registry.current_version() == third


def test_a_removal_that_is_killed_leaves_no_part_of_a_version(
    tmp_path: Path, tiny_encoder: Encoder, make_sentences: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = ProjectHarness(tmp_path / "project", tiny_encoder, keep_versions=1)
    texts, labels = make_sentences(10)
    bench.hold(texts)
    first = bench.train(texts, labels).version
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed_in_the_middle)
        with pytest.raises(Killed):
            bench.train(texts, labels)
    registry = ProjectHarness(bench.directory, tiny_encoder).project.registry
    (version,) = registry.versions()
    assert registry.read(version).version == registry.current_version() == version != first
    third = bench.train(texts, labels).version
    assert [path.name for path in (bench.directory / "versions").iterdir()] == [third]


def test_what_is_on_disk_holds_no_pickle_and_serves_again(
    bench: ProjectHarness, tiny_encoder: Encoder, make_sentences: Sentences
) -> None:
    texts, labels = make_sentences(20)
    bench.hold(texts)
    bench.train(texts, labels)
    files = [path for path in bench.directory.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".sqlite", "", ".sqlite-wal", ".sqlite-shm"}
    for path in files:
        assert not path.read_bytes().startswith(b"\x80"), path
        assert b"csklearn" not in path.read_bytes()
        assert b"sklearn." not in path.read_bytes()
    again = ProjectHarness(bench.directory, tiny_encoder)
    assert again.model.version == bench.model.version
    assert again.model.classes == bench.model.classes
    assert np.array_equal(again.out_of_sample(texts)[0], bench.out_of_sample(texts)[0])


@pytest.mark.parametrize("name", ["final.safetensors", "fold-01.safetensors", "training.safetensors", "version.json"])
def test_damaged_models_are_refused_until_the_next_training(
    bench: ProjectHarness, tiny_encoder: Encoder, make_sentences: Sentences, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    texts, labels = make_sentences(10)
    bench.hold(texts)
    version = bench.train(texts, labels).version
    path = bench.directory / "versions" / version / name
    content = bytearray(path.read_bytes())
    content[-20 if name != "version.json" else 0] ^= 1
    path.write_bytes(content)
    again = ProjectHarness(bench.directory, tiny_encoder)
    assert again.project.model is None
    assert "Train again" in caplog.text
    assert again.train(texts, labels).version != version

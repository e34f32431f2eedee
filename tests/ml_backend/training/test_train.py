"""Training without HTTP, with a tiny encoder wherever quality is not the point."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_backend.errors import CorruptModel, InvalidRequest
from ml_backend.features import tfidf
from ml_backend.features.encoder import Encoder
from ml_backend.features.lru_cache import LruCache
from ml_backend.models.registry import TrainedModel
from ml_backend.progress import Progress, ProgressUpdate
from ml_backend.project import Project
from ml_backend.settings import ClassifierName, Settings
from ml_backend.storage.dataset import digest
from ml_backend.training.request import TrainingRequest

Sentences = Callable[..., tuple[list[str], list[int]]]


class Stopped(Exception):
    """Nobody waits for the training any more."""


def refuse(update: ProgressUpdate) -> None:
    raise Stopped


class Killed(BaseException):
    """The process is no more."""


def killed_in_the_middle(directory: Path, ignore_errors: bool = False) -> None:
    """What is left of a removal that a SIGKILL ends behind the first file."""
    if directory.exists():
        next(path for path in sorted(directory.rglob("*")) if path.is_file()).unlink()
        raise Killed


class Bench:
    """A project on which tests train directly."""

    def __init__(self, directory: Path, encoder: Encoder, **settings: object) -> None:
        self.settings = Settings(model_dir=directory, **settings)
        self.directory = directory
        self.project = Project(directory, encoder, LruCache(), self.settings)

    def hold(self, texts: list[str]) -> None:
        self.project.dataset.set_items(range(len(texts)), [digest(text) for text in texts])
        self.project.dataset.add_texts(texts)

    def train(
        self,
        texts: list[str],
        labels: list[int],
        classes: int = 2,
        folds: int = 3,
        seed: int = 0,
        stop: bool = False,
        **options: Any,
    ) -> TrainedModel:
        names = tuple(f"class {number}" for number in range(classes))
        keys = tuple(digest(text) for text in texts)
        request = TrainingRequest(names, keys, tuple(labels), folds, seed, self.settings.c, **options)
        self.project.train(request, Progress(refuse if stop else lambda update: None))
        return self.model

    @property
    def model(self) -> TrainedModel:
        assert self.project.model is not None
        return self.project.model

    def features(self, texts: list[str]) -> np.ndarray:
        return self.project.features.of_texts(self.model.feature_spec, texts)

    def out_of_sample(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        features = [self.features(texts)] * len(self.model.by_fold)
        return self.model.out_of_sample(features, [digest(text) for text in texts])


@pytest.fixture
def bench(tmp_path: Path, tiny_encoder: Encoder) -> Bench:
    return Bench(tmp_path / "project", tiny_encoder)


@pytest.mark.service
def test_it_learns_what_is_there_to_be_learned(tmp_path: Path, encoder: Encoder, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(100)
    new, truth = make_sentences(40, seed=9)
    bench = Bench(tmp_path / "project", encoder)
    bench.hold(texts)
    assert bench.train(texts, labels).accuracy > 0.9
    assert (bench.model.final.predict_proba(bench.features(new)).argmax(axis=1) == truth).mean() > 0.9


def test_out_of_sample_means_that_the_label_was_not_seen(bench: Bench, make_sentences: Sentences) -> None:
    # Random labels can only be remembered: the final model does, the out-of-sample rows cannot.
    texts, _ = make_sentences(200)
    labels = np.random.default_rng(1).integers(0, 2, len(texts)).tolist()
    bench.hold(texts)
    bench.settings = Settings(c=1e4)
    model = bench.train(texts, labels)
    probabilities, folds = bench.out_of_sample(texts)
    assert (folds >= 0).all()
    remembered = (model.final.predict_proba(bench.features(texts)).argmax(axis=1) == labels).mean()
    guessed = (probabilities.argmax(axis=1) == labels).mean()
    assert remembered > 0.95
    assert abs(guessed - 0.5) < 0.15
    assert model.accuracy == pytest.approx(guessed)


def test_choosing_by_the_folds_tells_nothing_of_the_labels_held_out(bench: Bench, make_sentences: Sentences) -> None:
    texts, truth = make_sentences(300)
    random = np.random.default_rng(1)
    chance = random.integers(0, 2, len(texts)).tolist()
    bench.hold(texts)
    assert abs(bench.train(texts, chance, classifier="logistic-cv").accuracy - 0.5) < 0.1
    # Where a fifth of the labels is wrong, no model can agree with more than the rest.
    noisy = np.where(random.random(len(texts)) < 0.2, 1 - np.array(truth), truth)
    model = bench.train(texts, noisy.tolist(), classifier="logistic-cv")
    assert abs(model.accuracy - (noisy == truth).mean()) < 0.05
    probabilities, _ = bench.out_of_sample(texts)
    assert abs(probabilities.max(axis=1).mean() - model.accuracy) < 0.05
    assert (probabilities.argmax(axis=1) == truth).mean() > 0.95
    assert set(model.settings) == {"c", "temperature", "folds", "seed"}


def test_rows_come_from_the_named_fold_or_from_the_mean(bench: Bench, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(40)
    new, _ = make_sentences(10, seed=5)
    bench.hold(texts + new)
    model = bench.train(texts, labels)
    features = bench.features(texts + new)
    each = np.stack([classifier.predict_proba(features) for classifier in model.by_fold])
    probabilities, folds = bench.out_of_sample(texts + new)
    assert set(folds[:40]) == {0, 1, 2}
    assert set(folds[40:]) == {-1}
    for row, fold in enumerate(folds):
        expected = each[fold, row] if fold >= 0 else each[:, row].mean(axis=0)
        np.testing.assert_allclose(probabilities[row], expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_a_fold_model_is_one_trained_without_its_fold(bench: Bench, make_sentences: Sentences) -> None:
    from sklearn.linear_model import LogisticRegression

    texts, labels = make_sentences(40)
    bench.hold(texts)
    model = bench.train(texts, labels)
    features, (probabilities, folds) = bench.features(texts).astype(np.float64), bench.out_of_sample(texts)
    for fold in range(3):
        rest = folds != fold
        reference = LogisticRegression(C=10.0, max_iter=1000).fit(features[rest], np.array(labels)[rest])
        expected = reference.predict_proba(features[~rest])
        np.testing.assert_allclose(probabilities[~rest], expected, atol=1e-4)
    assert len(model.by_fold) == 3


def test_identical_texts_share_a_fold(bench: Bench, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(20)
    bench.hold(texts)
    bench.train(texts * 3, labels * 3)
    trained = bench.model.training_set
    assert len(trained.labels) == 60
    for key in np.unique(trained.digests, axis=0):
        assert len(set(trained.folds[(trained.digests == key).all(axis=1)])) == 1


def test_a_changed_text_counts_as_not_trained_on(bench: Bench, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(20)
    bench.hold(texts)
    bench.train(texts, labels)
    _, folds = bench.out_of_sample([texts[0] + " indeed", *texts[1:]])
    assert folds[0] == -1
    assert (folds[1:] >= 0).all()


def test_the_same_seed_gives_the_same_model(tmp_path: Path, tiny_encoder: Encoder, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(40)
    results = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        bench = Bench(tmp_path / name, tiny_encoder)
        bench.hold(texts)
        bench.train(texts, labels, seed=seed)
        results.append((bench.model.feature_spec, *bench.out_of_sample(texts)))
    assert results[0][0] == results[1][0]
    assert np.array_equal(results[0][1], results[1][1])
    assert np.array_equal(results[0][2], results[1][2])
    assert not np.array_equal(results[0][2], results[2][2])


def test_weights_reach_every_fold_and_the_final_model(bench: Bench, make_sentences: Sentences) -> None:
    # Half of the labels are wrong, and count next to nothing.
    texts, labels = make_sentences(120)
    wrong = np.arange(120) % 2 == 1
    said = [1 - label if lie else label for label, lie in zip(labels, wrong, strict=True)]
    bench.hold(texts)
    bench.train(texts, said, weights=tuple(np.where(wrong, 1e-4, 1.0).tolist()))
    final = bench.model.final.predict_proba(bench.features(texts)).argmax(axis=1)
    assert (final == labels).mean() > 0.9
    assert (bench.out_of_sample(texts)[0].argmax(axis=1) == labels).mean() > 0.9
    bench.train(texts, said)
    assert (bench.out_of_sample(texts)[0].argmax(axis=1) == labels).mean() < 0.8


def test_a_version_of_an_unknown_classifier_is_refused(
    bench: Bench, tiny_encoder: Encoder, make_sentences: Sentences, caplog: pytest.LogCaptureFixture
) -> None:
    texts, labels = make_sentences(20)
    bench.hold(texts)
    version = bench.train(texts, labels).version
    path = bench.directory / "versions" / version / "version.json"
    path.write_text(path.read_text().replace('"logistic"', '"oracle"'))
    assert Bench(bench.directory, tiny_encoder).project.model is None
    assert "unknown classifier, 'oracle'. Train again" in caplog.text


@pytest.mark.parametrize(
    ("labels", "classes", "folds"),
    [
        ([0, 1], 2, 2),
        ([0, 1, 1], 2, 3),
        ([0, 1], 5, 2),
        ([0] * 8 + [1], 2, 3),
        ([0] * 8 + [1, 3], 4, 3),
    ],
    ids=["one of each", "three", "classes without labels", "one rare", "several rare and absent"],
)
@pytest.mark.parametrize("classifier", ["logistic", "logistic-cv"])
def test_few_labels_are_enough(
    bench: Bench, labels: list[int], classes: int, folds: int, classifier: ClassifierName
) -> None:
    texts = [f"text number {number}" for number in range(len(labels))]
    bench.hold(texts)
    model = bench.train(texts, labels, classes=classes, folds=3, classifier=classifier)
    assert len(model.by_fold) == folds
    probabilities, held = bench.out_of_sample([*texts, "another text"])
    assert probabilities.shape == (len(labels) + 1, classes)
    assert set(held[:-1]) == set(range(folds))
    assert (probabilities > 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("texts", [["", " ", "\n\t"], ["?", "!", "\u200b"], ["\x00", "a\x00b", "漢字"]])
def test_odd_texts_are_texts(bench: Bench, texts: list[str]) -> None:
    bench.hold(texts)
    bench.train(texts, [0, 1, 0])
    assert np.isfinite(bench.out_of_sample(texts)[0]).all()


def test_one_class_alone_is_refused_and_the_model_before_stays(bench: Bench, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(10)
    bench.hold(texts)
    before = bench.train(texts, labels)
    with pytest.raises(InvalidRequest, match="at least two classes"):
        bench.train(texts, [0] * 10)
    assert bench.model is before


def test_a_training_that_nobody_waits_for_ends(bench: Bench, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(10)
    bench.hold(texts)
    with pytest.raises(Stopped):
        bench.train(texts, labels, stop=True)
    assert bench.project.model is None


def test_embeddings_are_computed_once(tmp_path: Path, tiny_folder: Path, make_sentences: Sentences) -> None:
    class Counting(Encoder):
        seen = 0

        def encode(self, texts):  # type: ignore[no-untyped-def]
            Counting.seen += len(texts)
            return super().encode(texts)

    encoder = Counting(str(tiny_folder))
    texts, labels = make_sentences(20)
    bench = Bench(tmp_path / "project", encoder)
    bench.hold(texts)
    bench.train(texts, labels)
    assert Counting.seen == 20
    bench.train(texts, labels, seed=1)
    bench.out_of_sample(texts)
    Bench(bench.directory, encoder).train(texts, labels)
    assert Counting.seen == 20
    bench.hold([*texts[1:], "a new text"])
    bench.train(texts[1:], labels[1:])
    assert Counting.seen == 21


def test_terms_are_fitted_anew_when_the_pool_has_doubled(bench: Bench, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(40)
    bench.hold(texts[:20])
    first = bench.train(texts[:20], labels[:20]).feature_spec
    bench.hold(texts[:39])
    assert bench.train(texts[:39], labels[:39]).feature_spec == first
    bench.hold(texts)
    second = bench.train(texts, labels).feature_spec
    assert second.lexical != first.lexical
    assert second.encoder == first.encoder


def test_only_the_newest_versions_and_their_terms_are_kept(
    tmp_path: Path, tiny_encoder: Encoder, make_sentences: Sentences
) -> None:
    bench = Bench(tmp_path / "project", tiny_encoder, keep_versions=2)
    versions = []
    for count in (10, 20, 40):
        texts, labels = make_sentences(count)
        bench.hold(texts)
        versions.append(bench.train(texts, labels).version)
    assert sorted(path.name for path in (bench.directory / "versions").iterdir()) == sorted(versions[1:])
    assert len(list((bench.directory / "lexical").iterdir())) == 2


def test_a_removal_that_is_killed_leaves_no_part_of_a_version(
    tmp_path: Path, tiny_encoder: Encoder, make_sentences: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "project", tiny_encoder, keep_versions=1)
    texts, labels = make_sentences(10)
    bench.hold(texts)
    first = bench.train(texts, labels).version
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed_in_the_middle)
        with pytest.raises(Killed):
            bench.train(texts, labels)
    registry = Bench(bench.directory, tiny_encoder).project.registry
    (version,) = registry.versions()
    assert registry.read(version).version == registry.current_version() == version != first
    third = bench.train(texts, labels).version
    assert [path.name for path in (bench.directory / "versions").iterdir()] == [third]


def test_terms_that_are_whole_are_never_replaced(tmp_path: Path) -> None:
    texts = ["one text", "another text", "and one more"]
    written = tfidf.fit(texts, 2, len(texts), tmp_path).id
    before = (tmp_path / written).stat().st_ino
    assert tfidf.fit(texts, 2, len(texts), tmp_path).id == written
    assert (tmp_path / written).stat().st_ino == before


def test_what_is_on_disk_holds_no_pickle_and_serves_again(
    bench: Bench, tiny_encoder: Encoder, make_sentences: Sentences
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
    again = Bench(bench.directory, tiny_encoder)
    assert again.model.version == bench.model.version
    assert again.model.classes == bench.model.classes
    assert np.array_equal(again.out_of_sample(texts)[0], bench.out_of_sample(texts)[0])


@pytest.mark.parametrize("name", ["final.safetensors", "fold-01.safetensors", "training.safetensors", "version.json"])
def test_damaged_models_are_refused_until_the_next_training(
    bench: Bench, tiny_encoder: Encoder, make_sentences: Sentences, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    texts, labels = make_sentences(10)
    bench.hold(texts)
    version = bench.train(texts, labels).version
    path = bench.directory / "versions" / version / name
    content = bytearray(path.read_bytes())
    content[-20 if name != "version.json" else 0] ^= 1
    path.write_bytes(content)
    again = Bench(bench.directory, tiny_encoder)
    assert again.project.model is None
    assert "Train again" in caplog.text
    assert again.train(texts, labels).version != version


def test_damaged_terms_are_refused_and_fitted_anew(
    bench: Bench, tiny_encoder: Encoder, make_sentences: Sentences
) -> None:
    texts, labels = make_sentences(10)
    bench.hold(texts)
    spec = bench.train(texts, labels).feature_spec
    path = bench.directory / "lexical" / spec.lexical / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    again = Bench(bench.directory, tiny_encoder)
    with pytest.raises(CorruptModel, match=r"damaged\. Train again"):
        again.features(["a text of no item"])
    again.train(texts, labels)
    assert again.features(["a text of no item"]).shape[0] == 1

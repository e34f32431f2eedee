"""Training without HTTP, with a tiny encoder wherever quality is not the point."""

from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
from support.project_harness import ProjectHarness, Stopped

from ml_backend.errors import CorruptModel, InvalidRequest
from ml_backend.features.encoder import Encoder
from ml_backend.settings import ClassifierName, Settings

Sentences = Callable[..., tuple[list[str], list[int]]]


@pytest.fixture
def bench(tmp_path: Path, tiny_encoder: Encoder) -> ProjectHarness:
    return ProjectHarness(tmp_path / "project", tiny_encoder)


@pytest.mark.service
def test_it_learns_what_is_there_to_be_learned(tmp_path: Path, encoder: Encoder, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(100)
    new, truth = make_sentences(40, seed=9)
    bench = ProjectHarness(tmp_path / "project", encoder)
    bench.hold(texts)
    assert bench.train(texts, labels).accuracy > 0.9
    assert (bench.model.final.predict_proba(bench.features(new)).argmax(axis=1) == truth).mean() > 0.9


def test_out_of_sample_means_that_the_label_was_not_seen(bench: ProjectHarness, make_sentences: Sentences) -> None:
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


def test_choosing_by_the_folds_tells_nothing_of_the_labels_held_out(
    bench: ProjectHarness, make_sentences: Sentences
) -> None:
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


def test_rows_come_from_the_named_fold_or_from_the_mean(bench: ProjectHarness, make_sentences: Sentences) -> None:
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


def test_a_fold_model_is_one_trained_without_its_fold(bench: ProjectHarness, make_sentences: Sentences) -> None:
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


def test_identical_texts_share_a_fold(bench: ProjectHarness, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(20)
    bench.hold(texts)
    bench.train(texts * 3, labels * 3)
    trained = bench.model.training_set
    assert len(trained.labels) == 60
    for key in np.unique(trained.digests, axis=0):
        assert len(set(trained.folds[(trained.digests == key).all(axis=1)])) == 1


def test_a_changed_text_counts_as_not_trained_on(bench: ProjectHarness, make_sentences: Sentences) -> None:
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
        bench = ProjectHarness(tmp_path / name, tiny_encoder)
        bench.hold(texts)
        bench.train(texts, labels, seed=seed)
        results.append((bench.model.feature_spec, *bench.out_of_sample(texts)))
    assert results[0][0] == results[1][0]
    assert np.array_equal(results[0][1], results[1][1])
    assert np.array_equal(results[0][2], results[1][2])
    assert not np.array_equal(results[0][2], results[2][2])


def test_weights_reach_every_fold_and_the_final_model(bench: ProjectHarness, make_sentences: Sentences) -> None:
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
    bench: ProjectHarness, labels: list[int], classes: int, folds: int, classifier: ClassifierName
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


@pytest.mark.parametrize("classifier", ["logistic", "logistic-cv"])
def test_any_labels_train_unless_all_of_them_or_all_texts_are_the_same(
    bench: ProjectHarness, classifier: ClassifierName
) -> None:
    bench.hold(["thanks", "no thanks"])
    items = [(text, label) for text in ("thanks", "no thanks") for label in (0, 1)]
    for size in (2, 3):
        for chosen in combinations_with_replacement(items, size):
            texts, labels = zip(*chosen, strict=True)
            if len(set(texts)) == len(set(labels)) == 2:
                assert len(bench.train([*texts], [*labels], classifier=classifier).by_fold) == 2
            else:
                with pytest.raises(InvalidRequest, match=r"at least two (classes|items that differ)"):
                    bench.train([*texts], [*labels], classifier=classifier)


@pytest.mark.parametrize("texts", [["", " ", "\n\t"], ["?", "!", "\u200b"], ["\x00", "a\x00b", "漢字"]])
def test_odd_texts_are_texts(bench: ProjectHarness, texts: list[str]) -> None:
    bench.hold(texts)
    bench.train(texts, [0, 1, 0])
    assert np.isfinite(bench.out_of_sample(texts)[0]).all()


def test_one_class_alone_is_refused_and_the_model_before_stays(
    bench: ProjectHarness, make_sentences: Sentences
) -> None:
    texts, labels = make_sentences(10)
    bench.hold(texts)
    before = bench.train(texts, labels)
    with pytest.raises(InvalidRequest, match="at least two classes"):
        bench.train(texts, [0] * 10)
    assert bench.model is before


def test_a_training_that_nobody_waits_for_ends(bench: ProjectHarness, make_sentences: Sentences) -> None:
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
    bench = ProjectHarness(tmp_path / "project", encoder)
    bench.hold(texts)
    bench.train(texts, labels)
    assert Counting.seen == 20
    bench.train(texts, labels, seed=1)
    bench.out_of_sample(texts)
    ProjectHarness(bench.directory, encoder).train(texts, labels)
    assert Counting.seen == 20
    bench.hold([*texts[1:], "a new text"])
    bench.train(texts[1:], labels[1:])
    assert Counting.seen == 21


def test_terms_are_fitted_anew_when_the_pool_has_doubled(bench: ProjectHarness, make_sentences: Sentences) -> None:
    texts, labels = make_sentences(40)
    bench.hold(texts[:20])
    first = bench.train(texts[:20], labels[:20]).feature_spec
    bench.hold(texts[:39])
    assert bench.train(texts[:39], labels[:39]).feature_spec == first
    bench.hold(texts)
    second = bench.train(texts, labels).feature_spec
    assert second.lexical != first.lexical
    assert second.encoder == first.encoder


def test_damaged_terms_are_refused_and_fitted_anew(
    bench: ProjectHarness, tiny_encoder: Encoder, make_sentences: Sentences
) -> None:
    texts, labels = make_sentences(10)
    bench.hold(texts)
    spec = bench.train(texts, labels).feature_spec
    path = bench.directory / "lexical" / spec.lexical / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    again = ProjectHarness(bench.directory, tiny_encoder)
    with pytest.raises(CorruptModel, match=r"damaged\. Train again"):
        again.features(["a text of no item"])
    again.train(texts, labels)
    assert again.features(["a text of no item"]).shape[0] == 1

"""Pseudo-labels are learnt from if that predicts given labels better, and else leave the model exactly as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.training_harness import TrainingHarness

from ml_backend.errors import InvalidRequest
from ml_backend.features.encoder import Encoder
from ml_backend.storage.dataset import digest
from ml_backend.training.request import TrainingRequest

WORDS = [["thank", "please", "grateful", "kindly"], ["now", "stop", "useless", "hurry"]]
GIVEN, ASSUMED = 24, 160


def texts_of(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Texts of a few words, most of which are of the class, and the classes."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for number in range(count):
        label = number % 2
        words = [str(rng.choice(WORDS[label if rng.random() < 0.7 else 1 - label])) for _ in range(5)]
        texts.append(f"{' '.join(words)} {seed} {number}")
        labels.append(label)
    return texts, labels


@pytest.fixture
def harness(tmp_path: Path, tiny_encoder: Encoder) -> TrainingHarness:
    made = TrainingHarness(tmp_path, tiny_encoder, "finetuned", classifier="logistic-cv")
    given, assumed = texts_of(GIVEN, 0), texts_of(ASSUMED, 1)
    made.hold([*given[0], *assumed[0]])
    return made


def request(harness: TrainingHarness, assumed: list[int], **options: object) -> TrainingRequest:
    (texts, labels), (more, _) = texts_of(GIVEN, 0), texts_of(ASSUMED, 1)
    return harness.request([*texts, *more], [*labels, *assumed], pseudo=ASSUMED, folds=4, **options)


def test_right_pseudo_labels_are_learnt_from(harness: TrainingHarness) -> None:
    (texts, labels), (_, truth) = texts_of(GIVEN, 0), texts_of(ASSUMED, 1)
    test = texts_of(200, 2)
    alone = harness.train(texts, labels, folds=4)
    before = harness.right(*test)
    model = harness.train([*texts, *texts_of(ASSUMED, 1)[0]], [*labels, *truth], pseudo=ASSUMED, folds=4)
    assert "pseudo_share" not in alone.settings
    assert model.settings["pseudo_share"] > 0
    assert harness.right(*test) > before


@pytest.mark.parametrize("wrong", ["chance", "all of one class", "the others"])
def test_wrong_pseudo_labels_change_nothing(harness: TrainingHarness, wrong: str) -> None:
    (texts, labels), (more, truth) = texts_of(GIVEN, 0), texts_of(ASSUMED, 1)
    rng = np.random.default_rng(3)
    assumed = {
        "chance": rng.integers(2, size=ASSUMED).tolist(),
        "all of one class": [0] * ASSUMED,
        "the others": [1 - label for label in truth],
    }[wrong]
    alone = harness.train(texts, labels, folds=4)
    model = harness.train([*texts, *more], [*labels, *assumed], pseudo=ASSUMED, folds=4)
    assert model.settings["pseudo_share"] == 0
    assert model.accuracy == alone.accuracy
    features = harness.project.features.of_texts(model.feature_spec, texts_of(50, 4)[0])
    others = harness.project.features.of_texts(alone.feature_spec, texts_of(50, 4)[0])
    assert np.allclose(model.final.predict_proba(features), alone.final.predict_proba(others), atol=1e-6)
    of_given = dict(zip(map(bytes, alone.training_set.digests), alone.training_set.folds.tolist(), strict=True))
    found = zip(map(bytes, model.training_set.digests[:GIVEN]), model.training_set.folds[:GIVEN].tolist(), strict=True)
    assert dict(found) == of_given


def test_a_text_with_a_given_label_and_its_copy_are_in_one_fold(harness: TrainingHarness) -> None:
    texts, labels = texts_of(GIVEN, 0)
    copies = texts[:4]
    model = harness.train([*texts, *copies], [*labels, *labels[:4]], pseudo=4, folds=4)
    folds = model.training_set.folds
    assert folds[GIVEN:].tolist() == folds[:4].tolist()


def test_given_labels_alone_must_be_of_two_classes(harness: TrainingHarness) -> None:
    texts, _ = texts_of(2, 0)
    labelled = [(digest(text), 0, 1.0) for text in texts]
    with pytest.raises(InvalidRequest, match="at least two classes"):
        TrainingRequest.of(
            harness.settings, ("a", "b"), labelled, pseudo=[(digest("x"), 1, 1.0)], multilabel=False, folds=2
        )

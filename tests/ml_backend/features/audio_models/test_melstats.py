"""Features of recordings without weights."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from support.made_recordings import KINDS, RATE, make

from ml_backend.features.audio_models.melstats import MelStats

MODEL = MelStats()


def vectors(*recordings: np.ndarray) -> np.ndarray:
    return MODEL.vectors(MODEL.prepare([one.astype(np.float32) for one in recordings]))


def test_vectors_have_length_1() -> None:
    found = vectors(*map(make, range(6)), np.zeros(RATE), np.ones(1_600))
    assert found.dtype == np.float32
    assert found.shape == (8, 272)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_few_labels_tell_kinds_apart() -> None:
    numbers = range(60)
    points = vectors(*map(make, numbers))
    labels = [KINDS[number % 3] for number in numbers]
    assert cross_val_score(LogisticRegression(C=10), points, labels, cv=3).mean() > 0.9


def quieter(samples: np.ndarray) -> np.ndarray:
    return samples * 0.2


def hiss(samples: np.ndarray) -> np.ndarray:
    return samples + np.random.default_rng(1).normal(0, 0.002, len(samples))


def later(samples: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(800), samples])


@pytest.mark.parametrize(("change", "least"), [(quieter, 0.9999), (hiss, 0.99), (later, 0.85)])
def test_the_same_recording_changed_a_little_is_near(change: Any, least: float) -> None:
    recordings = [make(number) for number in range(12)]
    near = (vectors(*recordings) * vectors(*map(change, recordings))).sum(1)
    assert near.min() > least


def test_different_recordings_are_rarely_as_near_as_duplicates() -> None:
    points = vectors(*map(make, range(60)))
    similarity = (points @ points.T)[np.triu_indices(60, 1)]
    assert (similarity > 0.99).mean() < 0.005


@pytest.mark.parametrize("frequency", [100.0, 440.0, 3_000.0])
def test_the_band_of_a_tone_is_the_strongest(frequency: float) -> None:
    time = np.arange(RATE) / RATE
    (vector,) = vectors(np.sin(2 * np.pi * frequency * time))
    mel = [2_595 * np.log10(1 + hertz / 700) for hertz in (50, frequency, 7_600)]
    assert abs(vector[:64].argmax() + 1 - 65 * (mel[1] - mel[0]) / (mel[2] - mel[0])) < 2


def test_steady_and_changing_sounds_differ_in_more_than_their_bands() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.2, RATE)
    beats = noise * (np.sin(2 * np.pi * 4 * np.arange(RATE) / RATE) > 0)
    steady, beating = vectors(noise, beats)
    assert steady @ beating < 0.5
    np.testing.assert_allclose(steady[:64], 0, atol=0.2)

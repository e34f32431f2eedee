"""Colours and gradients."""

import sys

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from support.drawn_pictures import picture

from ml_backend.errors import EncoderUnavailable
from ml_backend.features.image_models.pixels import Pixels
from ml_backend.settings import Settings

EXPECTED = [  # every fortieth value of two pictures
    [0.008, -0.039, -0.04, -0.036, 0.08, -0.088, -0.031, -0.024, 0.061, -0.038, 0.057, -0.038, -0.037],
    [0.001, 0.043, -0.03, -0.014, 0.035, -0.029, -0.045, -0.017, 0.007, 0.05, 0.016, 0.057, -0.045],
]


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return Pixels()


def features(pixels: Pixels, *images: Image.Image) -> np.ndarray:
    return pixels.vectors(pixels.prepare(images))


def test_vectors_have_length_1(pixels: Pixels) -> None:
    vectors = features(pixels, *map(picture, range(4)))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (32, 32), (2048, 16)])
def test_any_size_has_features_of_the_same_length(pixels: Pixels, size: tuple[int, int]) -> None:
    vectors = features(pixels, picture(0, size), picture(1))
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("colour", ["black", "white", "red"])
def test_one_colour_has_no_gradients_and_is_no_error(pixels: Pixels, colour: str) -> None:
    vectors = features(pixels, Image.new("RGB", (40, 40), colour))
    np.testing.assert_allclose(np.linalg.norm(vectors), 1, rtol=1e-5)


def test_near_duplicates_are_told_from_others_by_the_default_similarity(pixels: Pixels) -> None:
    images = [picture(seed, (128, 96)) for seed in range(12)]
    brighter = [ImageEnhance.Brightness(image).enhance(1.1) for image in images]
    smaller = [image.resize((64, 48)) for image in images]
    cropped = [image.crop((3, 2, 125, 94)) for image in images]
    drawn = features(pixels, *images)
    for changed in (brighter, smaller, cropped):
        assert (drawn * features(pixels, *changed)).sum(1).min() > Settings().duplicate_similarity
    similarities = drawn @ drawn.T - np.eye(len(images))
    assert similarities.max() < Settings().duplicate_similarity


def test_colour_counts_where_shapes_are_the_same(pixels: Pixels) -> None:
    colours = [(200, 0, 0), (190, 10, 10), (0, 0, 200)]
    red, almost, blue = features(pixels, *(Image.new("RGB", (40, 40), colour) for colour in colours))
    assert red @ almost > 0.9
    assert red @ blue < 0.8


def test_features_are_what_they_were(pixels: Pixels) -> None:
    """Stored features were computed by this definition: another one needs another version, hence a fingerprint."""
    vectors = features(pixels, picture(0), picture(1, (100, 30)))
    assert pixels.fingerprint == "1da807f0c3c927deff6c59238b42186d"
    np.testing.assert_allclose(vectors[:, 12::40], EXPECTED, atol=2e-3)


def test_without_scikit_image_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(EncoderUnavailable, match=r"pip install 'label-studio-activelab\[images\]'"):
        Pixels()

"""Colours and gradients."""

import sys

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from support.drawn_pictures import picture

from ml_backend.errors import EncoderUnavailable
from ml_backend.features.image_models.pixels import Pixels

EXPECTED = [  # every fortieth value of two pictures
    [0.076, 0.008, 0.038, 0.041, 0.102, 0.0, 0.01, 0.016, 0.079, 0.005, 0.075, 0.005, 0.006],
    [0.07, 0.076, 0.044, 0.057, 0.068, 0.045, 0.0, 0.021, 0.038, 0.071, 0.045, 0.076, 0.0],
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
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors), np.sqrt(0.5), rtol=1e-5)


def test_a_slightly_changed_picture_is_nearer_than_another(pixels: Pixels) -> None:
    image = picture(0, (128, 96))
    brighter = ImageEnhance.Brightness(image).enhance(1.1)
    vectors = features(pixels, image, image.resize((64, 48)), brighter, *(picture(seed) for seed in range(1, 6)))
    similarities = vectors @ vectors[0]
    assert similarities[1:3].min() > similarities[3:].max()


def test_colour_counts_where_shapes_are_the_same(pixels: Pixels) -> None:
    colours = [(200, 0, 0), (190, 10, 10), (0, 0, 200)]
    red, almost, blue = features(pixels, *(Image.new("RGB", (40, 40), colour) for colour in colours))
    assert red @ almost > 0.4  # of 0.5, because there are no gradients
    assert red @ blue < 0.3


def test_features_are_what_they_were(pixels: Pixels) -> None:
    """Stored features were computed by this definition: another one needs another version, hence a fingerprint."""
    vectors = features(pixels, picture(0), picture(1, (100, 30)))
    assert pixels.fingerprint == "0e4f1721a176a260f18a0f45640d1cda"
    np.testing.assert_allclose(vectors[:, 12::40], EXPECTED, atol=2e-3)


def test_without_scikit_image_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(EncoderUnavailable, match=r"pip install 'label-studio-activelab\[images\]'"):
        Pixels()

"""The middle of a picture as numbers."""

import numpy as np
import pytest
from PIL import Image
from support.drawn_pictures import picture

from ml_backend.features.image_models.centre_crop import CentreCrop

PLAIN = {"mean": (0.0, 0.0, 0.0), "deviation": (1.0, 1.0, 1.0)}


def test_a_square_of_its_size_stays_as_it_is() -> None:
    image = picture(size=(32, 32))
    (pixels,) = CentreCrop(side=32, share=1.0, mean=(127.0, 0.0, 0.0), deviation=(128.0, 1.0, 1.0))([image])
    colours = np.asarray(image, np.float32).transpose(2, 0, 1)
    np.testing.assert_allclose(pixels[0], (colours[0] - 127) / 128, rtol=1e-6)
    np.testing.assert_allclose(pixels[1:], colours[1:])
    assert pixels.dtype == np.float32


@pytest.mark.parametrize("size", [(96, 64), (64, 96)])
def test_the_square_is_in_the_middle(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "white")
    middle = Image.new("RGB", (32, 32), "black")
    image.paste(middle, ((size[0] - 32) // 2, (size[1] - 32) // 2))
    assert CentreCrop(side=16, share=0.5, **PLAIN)([image]).max() == 0
    assert CentreCrop(side=16, share=0.75, **PLAIN)([image])[:, :, 0].min() > 200  # the first row is white


def test_a_picture_of_one_pixel_is_enlarged() -> None:
    pixels = CentreCrop(side=8, share=0.875, **PLAIN)([Image.new("RGB", (1, 3), (1, 2, 3))])
    assert pixels.shape == (1, 3, 8, 8)
    assert pixels.mean((0, 2, 3)).tolist() == [1, 2, 3]

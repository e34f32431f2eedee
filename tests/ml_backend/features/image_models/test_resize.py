"""A picture as the numbers that a network takes."""

import numpy as np
import pytest
from PIL import Image
from support.drawn_pictures import picture

from ml_backend.features.image_models.resize import Resize

PLAIN = Resize(16, 8, mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0))


def test_a_picture_of_that_size_stays_as_it_is() -> None:
    image = picture(size=(32, 24))
    (pixels,) = Resize(32, 24, mean=(127.0, 0.0, 0.0), deviation=(128.0, 1.0, 1.0))([image])
    colours = np.asarray(image, np.float32).transpose(2, 0, 1)
    np.testing.assert_allclose(pixels[0], (colours[0] - 127) / 128, rtol=1e-6)
    np.testing.assert_allclose(pixels[1:], colours[1:])
    assert pixels.dtype == np.float32


@pytest.mark.parametrize("size", [(96, 32), (32, 96)])
def test_all_edges_are_seen(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "white")
    image.paste("black", (size[0] // 4, size[1] // 4, 3 * size[0] // 4, 3 * size[1] // 4))
    (pixels,) = PLAIN([image])
    assert min(pixels[:, 0].min(), pixels[:, -1].min(), pixels[:, :, 0].min(), pixels[:, :, -1].min()) > 250
    assert pixels[:, 4, 8].max() < 5


def test_a_picture_of_one_pixel_is_enlarged() -> None:
    pixels = PLAIN([Image.new("RGB", (1, 3), (1, 2, 3))] * 2)
    assert pixels.shape == (2, 3, 8, 16)
    assert pixels.mean((0, 2, 3)).tolist() == [1, 2, 3]

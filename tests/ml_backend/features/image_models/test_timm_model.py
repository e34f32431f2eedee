"""Models of timm. It needs torchvision, which this project never installs, so a stand-in has timm's names."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.drawn_pictures import picture

from ml_backend.errors import EncoderUnavailable
from ml_backend.features.image_models import timm_model

CONFIG = {
    "input_size": (3, 16, 16),
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "crop_pct": 0.9,
    "crop_mode": "center",
}


def test_without_timm_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EncoderUnavailable, match="pip install timm"):
        timm_model.load("vit_small_patch14_dinov2.lvd142m")


@pytest.mark.usefixtures("single_precision")
def test_a_model_without_its_classes_sees_the_pixels_that_its_config_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def create_model(name: str, **options: Any) -> torch.nn.Module:
        asked.append((name, options))
        convolution = torch.nn.Conv2d(3, 3, 1)
        torch.nn.init.dirac_(convolution.weight)
        torch.nn.init.zeros_(convolution.bias)
        return torch.nn.Sequential(convolution, torch.nn.AvgPool2d(8), torch.nn.Flatten())

    timm = ModuleType("timm")
    timm.create_model = create_model  # type: ignore[attr-defined]
    timm.data = SimpleNamespace(resolve_model_data_config=lambda network: CONFIG)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    model = timm_model.load("resnet18.a1_in1k")
    assert asked == [("resnet18.a1_in1k", {"pretrained": True, "num_classes": 0})]
    image = picture(0, (16, 16))
    pixels = (np.asarray(image, np.float32) / 255 - 0.5) / 0.25
    means = pixels.reshape(2, 8, 2, 8, 3).mean((1, 3)).transpose(2, 0, 1).reshape(-1)
    (vector,) = model.vectors(model.prepare([image]))
    np.testing.assert_allclose(vector, means / np.linalg.norm(means), atol=1e-5)

"""Image models of transformers with a few layers of random weights, in folders as the hub has them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

SIDE = 32  # pixels of the pictures that they take
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_TOWER = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}
_TEXTS = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 40,
    "max_position_embeddings": 8,
}
_STAGES = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}
_SQUARE = {"size": {"height": SIDE, "width": SIDE}, "do_resize": True, "resample": 3}
_CROPPED = {
    "size": {"shortest_edge": SIDE},
    "do_resize": True,
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": SIDE, "width": SIDE},
}


def _clip() -> Any:
    config = transformers.CLIPConfig(text_config=_TEXTS, vision_config=_TOWER, projection_dim=16)
    return transformers.CLIPModel(config)


def _siglip() -> Any:
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=_TEXTS, vision_config=_TOWER))


def _vit_classifier() -> Any:
    return transformers.ViTForImageClassification(transformers.ViTConfig(**_TOWER, num_labels=3))


# For each kind, its model and its image processor's settings. The names of the settings are those of the hub's files.
KINDS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "clip": (_clip, {"image_processor_type": "CLIPImageProcessor", **_CROPPED}),
    "convnextv2": (
        lambda: transformers.ConvNextV2Model(transformers.ConvNextV2Config(**_STAGES, image_size=SIDE)),
        {"image_processor_type": "ConvNextImageProcessor", **_SQUARE, "size": {"shortest_edge": SIDE}, "crop_pct": 1.0},
    ),
    "dinov2": (
        lambda: transformers.Dinov2Model(transformers.Dinov2Config(**_TOWER, mlp_ratio=2)),
        {"image_processor_type": "BitImageProcessor", **_CROPPED},
    ),
    "dinov3": (
        lambda: transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**_TOWER, num_register_tokens=2)),
        {"image_processor_type": "DINOv3ViTImageProcessorFast", **_SQUARE},
    ),
    "resnet": (
        lambda: transformers.ResNetModel(
            transformers.ResNetConfig(**_STAGES, embedding_size=8, layer_type="basic", hidden_act="relu")
        ),
        {"image_processor_type": "ConvNextImageProcessor", **_SQUARE, "size": {"shortest_edge": SIDE}, "crop_pct": 1.0},
    ),
    "siglip": (_siglip, {"image_processor_type": "SiglipImageProcessor", **_SQUARE}),
    "vit": (_vit_classifier, {"image_processor_type": "ViTImageProcessor", **_SQUARE}),
}


def build(folder: Path, kind: str = "dinov2", seed: int = 0, **preprocessing: Any) -> Path:
    """Writes a model of a kind, whose processor has other settings if they are given."""
    make, settings = KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
        with torch.no_grad():
            for parameter in model.parameters():  # small weights make all pictures alike
                parameter.add_(torch.randn_like(parameter) / 10)
    model.save_pretrained(folder)
    file = {"do_rescale": True, "do_normalize": True, **HALF, **settings, **preprocessing}
    (folder / "preprocessor_config.json").write_text(json.dumps(file))
    return folder

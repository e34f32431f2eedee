"""Any image model of transformers, by its name on the hub or from a folder."""

import importlib.util
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_backend.features.image_models.torch_model import Inputs, TorchModel

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

# Types of models whose first token represents the image, as their own classifiers read it. What else these models
# offer is a further layer, which many checkpoints lack.
FIRST_TOKEN = frozenset({"deit", "vit", "vit_mae", "vit_msn"})
# Their own image processors need torchvision. They resize and normalise, as that of ViT does.
_PROCESSED_LIKE_VIT = frozenset({"dinov3_convnext", "dinov3_vit"})
# What decides about the pixels, under names that stay the same between versions of transformers.
_PREPROCESSING = (
    "crop_pct",
    "crop_size",
    "do_center_crop",
    "do_normalize",
    "do_pad",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_std",
    "max_num_patches",
    "pad_size",
    "patch_size",
    "resample",
    "rescale_factor",
    "size",
)


def load(name: str) -> TorchModel:
    """Load a model and its image processor. A folder needs no hub, and code of a model never runs.

    Raises errors of transformers, of the hub and of the file system.
    """
    from transformers import AutoModel

    options = {"trust_remote_code": False, "local_files_only": Path(name).is_dir()}
    model, loading = AutoModel.from_pretrained(name, output_loading_info=True, **options)
    kind = model.config.model_type
    # Of a model of images and texts, the part for images. Its vectors are those before the projection to a space
    # that texts share, which linear classifiers do better with (Radford et al., "Learning Transferable Visual Models
    # From Natural Language Supervision", 2021, appendix A.3).
    prefix = "vision_model." if hasattr(model, "vision_model") else ""
    network = model.vision_model if prefix else model
    first_token = kind in FIRST_TOKEN
    if first_token and hasattr(network, "pooler"):
        network.pooler = None
    if new := {prefix + key for key in network.state_dict()} & set(loading["missing_keys"]):
        raise ValueError(f"These weights are missing: {', '.join(sorted(new))}.")
    processor = _processor(name, kind, options)

    def forward(network: Any, **inputs: "torch.Tensor") -> "torch.Tensor":
        return image_vectors(network(**inputs), first_token)

    details = [kind, first_token, preprocessing(processor)]
    return TorchModel(network, partial(_preprocess, processor), forward, details)


def image_vectors(outputs: Any, first_token: bool) -> "torch.Tensor":
    """One vector per image (n, d): the first token, or what the model pools, or the mean of all places."""
    states: torch.Tensor = outputs.last_hidden_state
    if first_token:
        return states[:, 0]
    pooled: torch.Tensor | None = getattr(outputs, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1)
    return states.mean((2, 3) if states.ndim == 4 else 1)


def preprocessing(processor: Any) -> str:
    """What an image processor does, as text that is the same in all processes."""
    known = {key: getattr(processor, key, None) for key in _PREPROCESSING}
    return json.dumps({key: value for key, value in known.items() if value is not None}, sort_keys=True, default=dict)


def _processor(name: str, kind: str, options: dict[str, bool]) -> Any:
    """The image processor on Pillow and NumPy, because there may be no torchvision."""
    import transformers

    # The argument has another name since transformers 5.
    has_backends = importlib.util.find_spec("transformers.image_processing_backends") is not None
    if kind in _PROCESSED_LIKE_VIT:
        like_vit = getattr(transformers, "ViTImageProcessorPil" if has_backends else "ViTImageProcessor")
        return like_vit.from_pretrained(name, local_files_only=options["local_files_only"])
    backend = {"backend": "pil"} if has_backends else {"use_fast": False}
    return transformers.AutoImageProcessor.from_pretrained(name, **backend, **options)  # type: ignore[no-untyped-call]


def _preprocess(processor: Any, images: "Sequence[Image]") -> Inputs:
    inputs = processor(images=list(images), return_tensors="np")
    return {
        name: array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array
        for name, array in inputs.items()
    }

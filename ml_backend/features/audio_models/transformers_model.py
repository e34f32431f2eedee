"""Any audio model of transformers, by its name on the hub or from a folder."""

import json
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_backend.features.audio_models.torch_model import AudioTorchModel
from ml_backend.features.image_models.torch_model import Inputs
from ml_backend.features.recordings import SAMPLE_RATE, WINDOW_SECONDS, Samples, resample

if TYPE_CHECKING:
    import torch

# Weights of the training only, which some checkpoints lack.
_OF_TRAINING = frozenset({"masked_spec_embed"})
# What decides about the inputs, under names that stay the same between versions of transformers.
_PREPROCESSING = (
    "do_normalize",
    "feature_size",
    "fft_window_size",
    "frequency_max",
    "frequency_min",
    "hop_length",
    "max_length",
    "max_length_s",
    "mean",
    "num_mel_bins",
    "padding",
    "padding_value",
    "return_attention_mask",
    "sampling_rate",
    "std",
    "top_db",
    "truncation",
)


def load(name: str) -> AudioTorchModel:
    """Load a model and its feature extractor. A folder needs no hub, and code of a model never runs.

    Raises errors of transformers, of the hub and of the file system.
    """
    from transformers import AutoFeatureExtractor, AutoModel

    options = {"trust_remote_code": False, "local_files_only": Path(name).is_dir()}
    model, loading = AutoModel.from_pretrained(name, output_loading_info=True, **options)
    # Of a model of sounds and texts, the part for sounds. Its vectors are those before the projection to a space that
    # texts share, as of images.
    prefix = "audio_model." if hasattr(model, "audio_model") else ""
    network = model.audio_model if prefix else model
    needed = {prefix + key for key in network.state_dict() if key not in _OF_TRAINING}
    if new := needed & set(loading["missing_keys"]):
        raise ValueError(f"These weights are missing: {', '.join(sorted(new))}.")
    with warnings.catch_warnings():  # of bands without a frequency, which AST was trained with
        warnings.simplefilter("ignore", UserWarning)
        extractor = AutoFeatureExtractor.from_pretrained(name, **options)  # type: ignore[no-untyped-call]

    def forward(network: Any, **inputs: "torch.Tensor") -> "torch.Tensor":
        return recording_vectors(network(**inputs))

    details = [model.config.model_type, WINDOW_SECONDS, preprocessing(extractor)]
    return AudioTorchModel(network, partial(_preprocess, extractor), forward, details)


def recording_vectors(outputs: Any) -> "torch.Tensor":
    """One vector per window (n, d): what the model pools, or the mean over time."""
    pooled: torch.Tensor | None = getattr(outputs, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1)
    states: torch.Tensor = outputs.last_hidden_state
    return states.mean(1)


def preprocessing(extractor: Any) -> str:
    """What a feature extractor does, as text that is the same in all processes."""
    known = {key: getattr(extractor, key, None) for key in _PREPROCESSING}
    return json.dumps({key: value for key, value in known.items() if value is not None}, sort_keys=True)


def _preprocess(extractor: Any, samples: Samples) -> Inputs:
    rate = extractor.sampling_rate
    inputs = extractor(resample(samples, SAMPLE_RATE, rate), sampling_rate=rate, return_tensors="np")
    return {
        name: array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array
        for name, array in ((name, np.asarray(value)) for name, value in inputs.items())
    }

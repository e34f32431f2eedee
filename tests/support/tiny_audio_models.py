"""Audio models of transformers with a few layers of random weights, in folders as the hub has them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

_LAYERS = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
_CONVOLUTIONS = {
    "conv_dim": [8, 8, 8],
    "conv_stride": [5, 4, 4],
    "conv_kernel": [10, 8, 8],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
_WAVES = {"feature_size": 1, "sampling_rate": 16_000, "padding_value": 0.0, "do_normalize": True}
_TEXTS = {**_LAYERS, "vocab_size": 40, "max_position_embeddings": 8}
_SPECTROGRAM = {
    "spec_size": 64,
    "num_mel_bins": 16,
    "patch_size": 4,
    "patch_stride": [4, 4],
    "patch_embeds_hidden_size": 8,
    "depths": [1, 1],
    "num_attention_heads": [2, 2],
    "window_size": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
}


def _clap() -> Any:
    config = transformers.ClapConfig(text_config=_TEXTS, audio_config=_SPECTROGRAM, projection_dim=16)
    return transformers.ClapModel(config)


def _hubert_classifier() -> Any:
    return transformers.HubertForSequenceClassification(transformers.HubertConfig(**_LAYERS, **_CONVOLUTIONS))


# For each kind, its model and its feature extractor's settings. The names of the settings are those of the hub's files.
KINDS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "ast": (
        lambda: transformers.ASTModel(transformers.ASTConfig(**_LAYERS, max_length=64, num_mel_bins=32)),
        {
            "feature_extractor_type": "ASTFeatureExtractor",
            "sampling_rate": 16_000,
            "num_mel_bins": 32,
            "max_length": 64,
            "mean": -4.27,
            "std": 4.57,
            "do_normalize": True,
        },
    ),
    "clap": (
        _clap,
        {
            "feature_extractor_type": "ClapFeatureExtractor",
            "feature_size": 16,
            "sampling_rate": 48_000,
            "hop_length": 2_400,
            "fft_window_size": 2_400,
            "max_length_s": 10,
            "nb_max_samples": 480_000,
            "truncation": "rand_trunc",
            "padding": "repeatpad",
        },
    ),
    "hubert": (_hubert_classifier, {"feature_extractor_type": "Wav2Vec2FeatureExtractor", **_WAVES}),
    "wav2vec2": (
        lambda: transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**_LAYERS, **_CONVOLUTIONS)),
        {"feature_extractor_type": "Wav2Vec2FeatureExtractor", **_WAVES},
    ),
}


def build(folder: Path, kind: str = "ast", seed: int = 0, **preprocessing: Any) -> Path:
    """Writes a model of a kind, whose feature extractor has other settings if they are given."""
    make, settings = KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
        with torch.no_grad():
            for parameter in model.parameters():  # small weights make all recordings alike
                parameter.add_(torch.randn_like(parameter) / 10)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, **preprocessing}))
    return folder

"""A sentence encoder of two layers with random weights: quick to load, to run and to fine-tune.

Its other files are those of the packaged weights. The folder serves for ML_BACKEND_ENCODER and ML_BACKEND_TRANSFORMER.
"""

import json
import shutil
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from ml_backend.features.encoder import packaged_weights

SIZE = 64  # dimensions of an embedding


def build(folder: Path, layers: int = 2, seed: int = 0) -> Path:
    """Writes an encoder to `folder`."""
    weights = packaged_weights()
    assert weights is not None
    shutil.copytree(weights, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    vocabulary = json.loads((weights / "tokenizer.json").read_text())["model"]["vocab"]
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=SIZE,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * SIZE,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps(json.loads(pooling.read_text()) | {"word_embedding_dimension": SIZE}))
    return folder

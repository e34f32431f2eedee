"""A sentence encoder of two layers with random weights: quick to load, to run and to fine-tune.

Its other files are those of the packaged weights, with the beginning of their vocabulary. The folder serves for
ML_BACKEND_ENCODER and ML_BACKEND_TRANSFORMER.
"""

import json
import shutil
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from ml_backend.features.encoder import packaged_weights

SIZE = 64  # dimensions of an embedding
WORDS = 12000  # characters and the most frequent words: each step of a fine-tuning writes the embeddings of all


def build(folder: Path, layers: int = 2, seed: int = 0) -> Path:
    """Writes an encoder to `folder`."""
    weights = packaged_weights()
    assert weights is not None
    shutil.copytree(weights, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    tokenizer = json.loads((weights / "tokenizer.json").read_text())
    vocabulary = {word: number for word, number in tokenizer["model"]["vocab"].items() if number < WORDS}
    tokenizer["model"]["vocab"] = vocabulary
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))
    config = BertConfig(
        vocab_size=WORDS,
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

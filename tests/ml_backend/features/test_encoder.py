"""The sentence encoder and the packaged weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from ml_backend.errors import EncoderUnavailable
from ml_backend.features.diversity import first_distinct
from ml_backend.features.encoder import Encoder, _fingerprint, packaged_weights
from ml_backend.settings import Settings

TEXTS = ["Would you please look at this?", "Stop it.", "", "long " * 400, "Stop it."]


@pytest.mark.service
def test_it_is_all_minilm_l6_v2_mean_pooled_and_normalised(encoder: Encoder) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = packaged_weights()
    assert folder is not None
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][:, :, None]
    pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
    embeddings = encoder.encode(TEXTS)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, pooled.numpy(), atol=1e-5)


@pytest.mark.service
def test_texts_that_differ_in_a_number_are_near_duplicates_and_others_are_not(encoder: Encoder) -> None:
    texts = [f"Export to PDF stops at page {number}" for number in (71, 22, 70, 31)]
    texts += [
        "Please add a dark theme",
        "please add a dark theme!",
        "Export to Excel loses my formulas",
        "I cannot log in",
    ]
    distinct = first_distinct(encoder.encode(texts), np.zeros((0, 0), np.float32), 9, Settings().duplicate_similarity)
    assert distinct == [0, 4, 6, 7]


@pytest.mark.service
def test_weights_in_bfloat16_have_a_fingerprint_of_their_own() -> None:
    first = SentenceTransformer(str(packaged_weights()))
    half = SentenceTransformer(str(packaged_weights())).bfloat16()
    assert _fingerprint(first) == _fingerprint(SentenceTransformer(str(packaged_weights())))
    assert _fingerprint(first) != _fingerprint(half)


def test_other_weights_under_the_packages_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "false_weights"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EncoderUnavailable, match="Reinstall it"):
        packaged_weights("false_weights")


def test_without_the_package_there_are_no_packaged_weights() -> None:
    assert packaged_weights("no_such_package_of_weights") is None


def test_a_folder_without_a_model_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailable, match="ML_BACKEND_ENCODER") as refused:
        Encoder(str(tmp_path)).encode(["text"])
    assert str(tmp_path.parent) not in str(refused.value), "callers are not told where it is"


@pytest.mark.service
def test_packaged_weights_load_without_a_network(encoder: Encoder) -> None:
    script = """
import socket
def refuse(*arguments, **options):
    raise SystemExit("reached for the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from ml_backend.features.encoder import Encoder
from ml_backend.settings import DEFAULT_ENCODER
print(Encoder(DEFAULT_ENCODER, threads=1).fingerprint)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == encoder.fingerprint

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ml_backend.errors import Conflict
from ml_backend.features.encoder import packaged_weights
from ml_backend.pool import digest
from ml_backend.schemas import TrainRequest
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.spread import farthest_first


def train(service: Service, texts: list[str], labels: list[int]) -> None:
    hashes = np.frombuffer(b"".join(map(digest, texts)), dtype=np.uint8).reshape(-1, 16)
    service.set_items("p", np.arange(len(texts)), hashes)
    service.add_texts("p", texts)
    classes = ["Polite", "Impolite"]
    job, started = service.train("p", TrainRequest(classes=classes, ids=list(range(len(texts))), labels=labels))
    assert started
    while job.active:
        time.sleep(0.05)
        job = service.job("p", job.job)
    assert job.state == "done", job


def test_a_model_of_another_encoder_says_nothing_until_it_is_trained_again(
    tmp_path: Path, label_config: str, make_sentences: Callable[..., tuple[list[str], list[int]]]
) -> None:
    texts, labels = make_sentences(10)
    tasks = [{"data": {"text": texts[0]}}]
    folder = packaged_weights()
    assert folder is not None
    shutil.copytree(folder, tmp_path / "encoder")
    (tmp_path / "encoder" / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64}))

    train(Service(Settings(model_dir=tmp_path / "models", folds=2)), texts, labels)
    other = Service(Settings(model_dir=tmp_path / "models", encoder=str(tmp_path / "encoder"), lexical_dims=0))
    with pytest.raises(Conflict, match="train again"):
        other.probabilities("p")
    assert other.predict("p", label_config, tasks).results[0].result == []
    assert len(np.unique(Service(Settings(model_dir=tmp_path / "models")).probabilities("p")["fold"])) == 2

    train(other, texts, labels)
    assert other.predict("p", label_config, tasks).results[0].result
    assert len(other.probabilities("p")["ids"]) == 10


def test_every_prefix_of_a_spread_covers_the_space() -> None:
    corners = np.array([[0, 0], [0, 9], [9, 0], [9, 9]], dtype=np.float32)
    points = np.concatenate([corners + shift for shift in np.random.default_rng(0).random((25, 1, 2))]).astype(
        np.float32
    )
    order = farthest_first(points, 100)
    assert sorted(order) == list(range(100))
    assert {tuple(points[position] // 5) for position in order[:4]} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert farthest_first(points, 7) == order[:7]
    assert farthest_first(np.ones((3, 2), dtype=np.float32), 3) == [0, 1, 2]
    assert farthest_first(points[:0], 3) == []

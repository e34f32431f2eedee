import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ml_backend.errors import Conflict, NotFound
from ml_backend.features.diversity import cluster_centres, farthest_first
from ml_backend.features.encoder import packaged_weights
from ml_backend.schemas import TrainRequest
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.storage.dataset import digest


def train(service: Service, texts: list[str], labels: list[int]) -> None:
    hashes = np.frombuffer(b"".join(map(digest, texts)), dtype=np.uint8).reshape(-1, 16)
    service.set_items("p", np.arange(len(texts)), hashes)
    service.add_texts("p", texts)
    classes = ["Polite", "Impolite"]
    job = service.train("p", TrainRequest(classes=classes, ids=list(range(len(texts))), labels=labels))
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
    with pytest.raises(Conflict, match="Train again"):
        other.probabilities("p")
    assert other.predict("p", label_config, tasks).results[0].result == []
    assert len(np.unique(Service(Settings(model_dir=tmp_path / "models")).probabilities("p")["fold"])) == 2

    train(other, texts, labels)
    assert other.predict("p", label_config, tasks).results[0].result
    assert len(other.probabilities("p")["ids"]) == 10


def test_a_forgotten_model_is_as_none_and_the_next_is_as_the_first(
    tmp_path: Path, label_config: str, make_sentences: Callable[..., tuple[list[str], list[int]]]
) -> None:
    texts, labels = make_sentences(10)
    settings = Settings(model_dir=tmp_path)
    service = Service(settings)
    train(service, texts, labels)
    first = service.probabilities("p")["pred_probs"]
    service.forget_model("p")
    for served in (service, Service(settings)):  # after a restart, too
        assert served.model("p").model_version is None
        assert served.predict("p", label_config, [{"data": {"text": texts[0]}}]).results[0].result == []
        with pytest.raises(NotFound, match="Train one first"):
            served.probabilities("p")
    train(service, texts, labels)
    assert np.array_equal(service.probabilities("p")["pred_probs"], first)
    with pytest.raises(NotFound, match="PUT its items"):
        service.forget_model("q")


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


def test_the_centres_of_clusters_are_chosen_and_no_outlier() -> None:
    random = np.random.default_rng(0)
    middles = 10 * np.eye(4, 8)
    points = np.concatenate([middles[number % 4] + random.normal(size=8) for number in range(200)]).reshape(200, 8)
    points = np.vstack([points, middles[0] + 6 * np.ones(8)]).astype(np.float32)
    chosen = cluster_centres(points, 4, seed=0)
    assert {position % 4 for position in chosen} == {0, 1, 2, 3}
    assert 200 not in chosen
    assert 200 in farthest_first(points, 2)
    for position in chosen:
        assert np.linalg.norm(points[position] - middles[position % 4]) < 2.5
    assert cluster_centres(points, 4, seed=0) == chosen


def test_centres_come_spread_and_without_repetition() -> None:
    points = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    twice = np.vstack([points, points])
    chosen = cluster_centres(twice, 20, seed=3)
    assert len(set(chosen)) == 20
    assert max(chosen) < 60
    assert [chosen[position] for position in farthest_first(twice[chosen], 20)] == sorted(chosen, key=chosen.index)
    assert sorted(cluster_centres(twice, 60, seed=3)[:60]) == list(range(60))
    assert sorted(cluster_centres(twice, 200, seed=3)) == list(range(120))
    assert cluster_centres(points, 0, seed=3) == []
    assert cluster_centres(points[:0], 3, seed=3) == []

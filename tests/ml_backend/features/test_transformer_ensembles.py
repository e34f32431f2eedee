"""Transformers trained whole: one a fold that never saw it, and one on all labels."""

import gc
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.training_harness import TrainingHarness
from support.training_jobs import trained
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

from ml_backend.errors import CorruptModel, EncoderUnavailable, InvalidRequest
from ml_backend.features.encoder import Encoder
from ml_backend.features.feature_spec import FeatureSpec, read_block
from ml_backend.features.finetune import Schedule
from ml_backend.features.sequence_classifier import SequenceClassifier, fit
from ml_backend.features.transformer_ensembles import TransformerEnsembles
from ml_backend.parallel import ParallelRunner
from ml_backend.progress import Progress, ProgressUpdate
from ml_backend.schemas import TrainRequest
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.storage.dataset import digest

# Not by their weights, which are tiny, but by their time.
pytestmark = pytest.mark.service
STEPS = 100  # enough for the tiny encoder to learn the sentences
Sentences = Callable[..., tuple[list[str], list[int]]]
FEW = {"transformer_steps": 2, "transformer_learning_rate": 3e-3, "transformer_batch_size": 8}


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


@pytest.fixture(scope="module", autouse=True)
def tiny_transformer(tiny_folder: Path) -> Iterator[None]:
    """Makes the tiny encoder the transformer of all settings."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ML_BACKEND_TRANSFORMER", str(tiny_folder))
        yield


@pytest.fixture(scope="module")
def first(
    tiny_transformer: None, tmp_path_factory: pytest.TempPathFactory, words: list[str], by_chance: list[int]
) -> Path:
    """A project of 60 words trained on 40 labels by chance, until they are remembered, for copies."""
    bench = OfTransformers(tmp_path_factory.mktemp("first") / "project", transformer_steps=100)
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
    assert (told["transformer"], told["steps"], told["folds"]) == (bench.settings.transformer, 100, 2)


def test_it_learns_and_says_nothing_on_standard_output(
    tmp_path: Path, make_sentences: Sentences, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts, truth = make_sentences(60)
    bench = OfTransformers(tmp_path / "project", transformer_steps=STEPS)
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
    assert [(one.fold, one.step, one.steps) for one in of_last] == [(None, step, STEPS) for step in range(STEPS)]
    assert {one.fold for one in seen if one.stage == "scoring texts with transformer 2 of 3"} == {1}
    assert max(alive) == 1


@pytest.mark.nightly
def test_the_same_seed_gives_the_same_model(tmp_path: Path, words: list[str], by_chance: list[int]) -> None:
    one, same, other = (
        fit_some(tmp_path / name, words[:20], np.array(by_chance[:20]), seed=seed).model.state_dict()
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


@pytest.mark.nightly
def test_of_two_labels_of_a_text_the_one_of_more_weight_is_learned(tmp_path: Path, make_sentences: Sentences) -> None:
    texts, truth = make_sentences(40)
    both, labels = [*texts, *texts], np.array([*truth, *(1 - label for label in truth)])
    for heavy in (0, 1):
        weights = np.where(np.arange(80) // 40 == heavy, 1.0, 1e-6)
        made = fit_some(tmp_path / str(heavy), both, labels, weights=weights, steps=STEPS, learning_rate=3e-3)
        right = (made.logits(texts).argmax(axis=1) == truth).mean()
        assert abs(right - (1 - heavy)) < 0.2


@pytest.mark.nightly
def test_several_classes_a_text(tmp_path: Path, make_sentences: Sentences) -> None:
    texts, truth = make_sentences(40)
    bench = OfTransformers(tmp_path / "project", transformer_steps=STEPS)
    bench.hold(texts)
    sets = [(0, 1) if label else (0,) if number % 2 else () for number, label in enumerate(truth)]
    model = bench.train(texts, sets, multilabel=True)  # type: ignore[arg-type]
    probabilities, _ = bench.out_of_sample(texts)
    assert ((probabilities[:, 1] >= 0.5) == np.array(truth)).mean() > 0.7
    assert not np.allclose(probabilities.sum(axis=1), 1)
    name = model.feature_spec.transformers[-1].partition(":")[0]
    told = json.loads((bench.directory / "transformers" / name / "model-02" / "config.json").read_text())
    assert told["problem_type"] == "multi_label_classification"


def test_texts_that_come_later_are_scored_by_the_model_of_all_labels(bench: OfTransformers, words: list[str]) -> None:
    bench.hold([*words[:60], "a text that came later"])
    features, spec = bench.project.features, bench.model.feature_spec
    gc.collect()  # what other tests have left
    features.fill(spec)
    bench.right(["another text"], [0])
    assert models_alive() == 1
    features.release(spec)
    assert models_alive() == 1
    dataset = bench.project.dataset
    held = [block for shard in dataset.shards(25) if (block := read_block(dataset, spec, *shard)) is not None]
    assert [len(block.ids) for block in held] == [25, 25, 11]
    new, key = "a text that came later", digest("a text that came later")
    probabilities, folds = bench.model.out_of_sample(held[-1].features[-1:], [key])
    assert folds.tolist() == [-1]
    assert not dataset.features(spec.transformers[0], [key]), "the models of the folds score labelled texts only"
    # Each model's folder is what anybody's transformers can read.
    name = spec.transformers[-1].partition(":")[0]
    folder = bench.directory / "transformers" / name / f"model-{len(spec.transformers) - 1:02}"
    tokens = AutoTokenizer.from_pretrained(folder)(new, return_tensors="pt")
    with torch.inference_mode():
        logits = AutoModelForSequenceClassification.from_pretrained(folder)(**tokens).logits.numpy()
    expected = bench.model.final.predict_proba(logits)[0]
    assert probabilities[0] == pytest.approx(expected, abs=0.02)  # bfloat16 beside float32
    features.release(FeatureSpec())
    gc.collect()
    assert models_alive() == 0


@pytest.mark.nightly
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


@pytest.mark.nightly
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


@pytest.mark.nightly
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
    tmp_path: Path, tiny_encoder: Encoder, make_sentences: Sentences
) -> None:
    texts, truth = make_sentences(20)
    bench = TrainingHarness(
        tmp_path / "project", tiny_encoder, "transformers", classifier="logistic", **{**FEW, "transformer_steps": 1}
    )
    bench.hold(texts)
    spec = bench.train(texts, truth).feature_spec
    bench.train(texts, truth, classifier="transformer")
    assert len(bench.model.feature_spec.transformers) == 3
    assert len(bench.project.dataset.features(tiny_encoder.fingerprint, [digest(text) for text in texts])) == 20
    assert bench.train(texts, truth).feature_spec.encoder == spec.encoder
    assert set(bench.project.dataset.feature_keys()) == set(bench.model.feature_spec.all_feature_keys)


@pytest.mark.parametrize("in_a_process", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_over_the_service_the_model_is_read_that_a_worker_has_made(
    tmp_path: Path,
    words: list[str],
    by_chance: list[int],
    label_config: str,
    make_service: Callable[[Settings], Service],
    in_a_process: bool,
) -> None:
    texts, labels = words[:30], by_chance[:20]
    settings = Settings(model_dir=tmp_path, classifier="transformer", folds=2, **FEW)  # type: ignore[arg-type]
    service = Service(settings) if in_a_process else make_service(settings)
    service.set_items("p", np.arange(30), np.frombuffer(b"".join(map(digest, texts)), np.uint8).reshape(30, -1))
    service.add_texts("p", texts)
    job = service.train("p", TrainRequest(classes=["Polite", "Impolite"], ids=list(range(20)), labels=labels))
    trained(service, "p", job)
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
    return fit(
        Settings().transformer, texts, labels, 2, weights, schedule, seed, directory, 0, lambda step, steps: None
    )


def models_alive() -> int:
    """How many transformers with a head are in memory, whether they are still needed or not."""
    return sum(type(found) is BertForSequenceClassification for found in gc.get_objects())

"""Several classes a text: the classifier, the folds, training, and what the service answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from support.training_jobs import trained

from ml_backend.errors import InvalidRequest
from ml_backend.schemas import TrainRequest
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.storage.dataset import digest

MakeService = Callable[[Settings], Service]
CLASSES = ["rain", "price", "noise"]
WORDS = {
    "rain": ["it rained all day", "a wet afternoon", "clouds and showers"],
    "price": ["far too expensive", "it cost a fortune", "not worth the money"],
    "noise": ["loud neighbours", "trucks at night", "music through the wall"],
}
CONFIG = """<View><Text name="text" value="$text"/><Choices name="topics" toName="text" choice="{kind}">
<Choice value="rain"/><Choice value="price"/><Choice value="noise"/></Choices></View>"""
MULTIPLE, SINGLE = CONFIG.format(kind="multiple"), CONFIG.format(kind="single")


def written(count: int, seed: int = 0) -> tuple[list[str], list[list[int]]]:
    """Distinct texts on none, one or several of the topics, and the positions of the topics."""
    texts, labels = [], []
    for number in range(count):
        random = np.random.default_rng([seed, number])
        label = np.flatnonzero(random.random(3) < 0.4).tolist()
        said = [random.choice(WORDS[CLASSES[position]]) for position in label] or ["a fine place"]
        texts.append(f"Visit {seed}-{number}: {', '.join(said)}.")
        labels.append(label)
    return texts, labels


# -- the service -------------------------------------------------------------------------------------------------------


class Bench:
    """A service with one project, `p`."""

    def __init__(self, directory: Path, make_service: MakeService) -> None:
        self.directory = directory
        self.service = make_service(Settings(model_dir=directory))

    def hold(self, texts: list[str]) -> None:
        hashes = np.frombuffer(b"".join(map(digest, texts)), dtype=np.uint8).reshape(-1, 16)
        self.service.set_items("p", np.arange(len(texts)), hashes)
        self.service.add_texts("p", texts)

    def train(self, labels: list[Any], multilabel: bool = True) -> Any:
        request = TrainRequest(classes=CLASSES, ids=list(range(len(labels))), labels=labels, multilabel=multilabel)
        trained(self.service, "p", self.service.train("p", request))
        return self.service.model("p")

    def predict(self, texts: list[str], config: str = MULTIPLE) -> list[Any]:
        return self.service.predict("p.1", config, [{"data": {"text": text}} for text in texts]).results


@pytest.fixture
def bench(tmp_path: Path, make_service: MakeService) -> Bench:
    return Bench(tmp_path / "models", make_service)


def chosen(entry: Any) -> list[str]:
    return entry.result[0]["value"]["choices"] if entry.result else []


def test_it_learns_sets_and_answers_with_them(bench: Bench) -> None:
    texts, labels = written(120)
    new, truth = written(40, seed=9)
    bench.hold(texts)
    model = bench.train(labels)
    assert (model.multilabel, model.classes, model.labels) == (True, CLASSES, 120)
    assert model.accuracy > 0.8
    entries = bench.predict(new)
    expected = [[CLASSES[position] for position in label] for label in truth]
    assert sum(chosen(entry) == names for entry, names in zip(entries, expected, strict=True)) > 32
    assert [] in map(chosen, entries)
    assert max(map(len, map(chosen, entries))) > 1


def test_the_score_is_the_confidence_in_the_least_certain_class(bench: Bench) -> None:
    texts, labels = written(60)
    bench.hold(texts)
    bench.train(labels)
    project = bench.service._project("p")
    assert project.model is not None
    (row,) = project.model.final.predict_proba(
        project.features.of_texts(project.model.feature_spec, ["trucks at night"])
    )
    (entry,) = bench.predict(["trucks at night"])
    assert entry.score == pytest.approx(np.maximum(row, 1 - row).min())
    assert chosen(entry) == [name for name, p in zip(CLASSES, row, strict=True) if p >= 0.5]


def test_probabilities_are_of_each_class_and_out_of_sample(bench: Bench) -> None:
    texts, _ = written(100)
    labels = [np.flatnonzero(row).tolist() for row in np.random.default_rng(1).random((100, 3)) < 0.5]
    bench.hold([*texts, "a text without labels"])
    model = bench.train(labels)
    told = bench.service.probabilities("p")
    assert bool(told["multilabel"])
    assert told["pred_probs"].shape == (101, 3)
    assert ((told["pred_probs"] > 0) & (told["pred_probs"] < 1)).all()
    assert np.abs(told["pred_probs"].sum(axis=1) - 1).max() > 0.1
    assert (told["fold"][:-1] >= 0).all()
    assert told["fold"][-1] == -1
    truth = np.array([[position in label for position in range(3)] for label in labels])
    right = (told["pred_probs"][:-1] >= 0.5) == truth
    assert abs(right.mean() - 0.5) < 0.15, "random labels cannot be learned, only remembered"
    assert model.accuracy == pytest.approx(right.all(axis=1).mean())


@pytest.mark.parametrize(
    "labels",
    [[[], [0]], [[0], [0, 1]], [[0, 1, 2], []], [[0]] * 8 + [[]], [[]] * 8 + [[1]], [[0], [1], [2]]],
    ids=["one of two", "a class that all have", "all or none", "one without", "one with", "one each"],
)
def test_few_labels_are_enough(bench: Bench, labels: list[list[int]]) -> None:
    bench.hold([f"text number {number}" for number in range(len(labels) + 1)])
    bench.train(labels)
    told = bench.service.probabilities("p")
    assert told["pred_probs"].shape == (len(labels) + 1, 3)
    assert ((told["pred_probs"] > 0) & (told["pred_probs"] < 1)).all()


@pytest.mark.parametrize(
    ("labels", "multilabel", "words"),
    [
        ([[0], [0]], True, "at least two classes"),
        ([[0, 1], [1, 0, 0]], True, "at least two classes"),
        ([[], []], True, "at least two classes"),
        ([[0], [3]], True, "no position"),
        ([[0], [-1]], True, "no position"),
        ([0, 1], True, "a list of positions"),
        ([[0], [1]], False, "one position without"),
    ],
)
def test_a_training_that_cannot_be_is_refused(bench: Bench, labels: list[Any], multilabel: bool, words: str) -> None:
    bench.hold(["one", "two"])
    with pytest.raises((InvalidRequest, ValidationError), match=words):
        bench.train(labels, multilabel)


def test_a_mixture_of_labels_is_no_request() -> None:
    with pytest.raises(ValidationError):
        TrainRequest(classes=CLASSES, ids=[0, 1], labels=[[0], 1], multilabel=True)


def test_another_kind_of_config_gets_no_answer_until_the_next_training(bench: Bench) -> None:
    texts, labels = written(30)
    bench.hold(texts)
    first = bench.train(labels)
    assert bench.predict(texts[:1], SINGLE)[0].result == []
    assert bench.predict(texts[:1], SINGLE)[0].model_version == first.model_version
    second = bench.train([(label or [0])[0] for label in labels], multilabel=False)
    assert not second.multilabel
    assert len(chosen(bench.predict(texts[:1], SINGLE)[0])) == 1
    assert bench.predict(texts[:1], MULTIPLE)[0].result == []
    np.testing.assert_allclose(bench.service.probabilities("p")["pred_probs"].sum(axis=1), 1, atol=1e-6)
    assert bench.train(labels).multilabel


def test_a_restart_serves_the_same_model(bench: Bench, make_service: MakeService) -> None:
    texts, labels = written(30)
    bench.hold(texts)
    bench.train(labels)
    again = Bench(bench.directory, make_service)
    assert again.service.model("p").multilabel
    assert np.array_equal(
        again.service.probabilities("p")["pred_probs"], bench.service.probabilities("p")["pred_probs"]
    )
    assert [chosen(one) for one in again.predict(texts)] == [chosen(one) for one in bench.predict(texts)]

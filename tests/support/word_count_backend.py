"""An ML backend within the test's process: naive Bayes on words, in place of encoders and a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from connector.annotations.label_config import find_control
from connector.backend import Backend, Probabilities

FOLDS = 5


class WordCountBackend(Backend):
    """Answers as `ml-backend serve` does, for one class per text: trainings, out-of-sample probabilities, a spread."""

    def __init__(self) -> None:
        super().__init__("http://in-process")
        self._texts: dict[str, dict[int, str]] = {}
        self._models: dict[str, tuple[tuple[str, ...], dict[int, int], dict[int, float]]] = {}

    def check(self) -> None:
        pass

    def put_items(
        self,
        project: str,
        ids: Sequence[int],
        digests: Sequence[str],
        texts: Callable[[Iterable[int]], Mapping[int, str]],
        *progress: Any,
    ) -> None:
        self._texts[project] = dict(texts(ids))

    def forget_model(self, project: str) -> None:
        self._models.pop(project, None)

    def train(self, project: str, classes: Sequence[str], labels: Mapping[int, Any], **options: Any) -> str:
        weights = options.get("weights") or dict.fromkeys(labels, 1.0)
        self._models[project] = tuple(classes), dict(labels), weights
        return "v"

    def probabilities(self, project: str) -> Probabilities | None:
        if project not in self._models:
            return None
        classes, labels, _ = self._models[project]
        ids = sorted(self._texts[project])
        fold = np.array([item % FOLDS if item in labels else -1 for item in ids], np.int8)
        probs = np.zeros((len(ids), len(classes)))
        for left_out in range(-1, FOLDS):
            rows = np.flatnonzero(fold == left_out)
            texts = [self._texts[project][ids[row]] for row in rows]
            probs[rows] = self._predict(project, texts, left_out)
        return Probabilities("v", classes, np.array(ids, np.int64), probs, fold)

    def predict(self, project: str, data: Sequence[Mapping[str, Any]], label_config: str) -> list[dict[str, Any]]:
        if project not in self._models:
            return [{"result": []} for _ in data]
        classes, control = self._models[project][0], find_control(label_config)
        assert set(classes) == set(control.classes)
        texts = [control.shown(row).text or "" for row in data]
        best = self._predict(project, texts, -1).argmax(axis=1)
        return [{"result": control.result(classes[index])} for index in best]

    def spread(self, project: str, ids: Sequence[int], count: int, *, seed: int = 0) -> list[int]:
        chosen: list[int] = np.random.default_rng(seed).permutation(np.array(ids, np.int64))[:count].tolist()
        return chosen

    def distinct(self, project: str, ids: Sequence[int], count: int) -> list[int]:
        """Only equal texts are near-duplicates here."""
        first = {self._texts[project][item]: item for item in reversed(ids)}
        return [item for item in ids if first[self._texts[project][item]] == item][:count]

    def _predict(self, project: str, texts: Sequence[str], left_out: int) -> Any:
        classes, labels, weights = self._models[project]
        kept = {item: label for item, label in labels.items() if item % FOLDS != left_out}
        scores = np.zeros((len(texts), len(classes)))
        for index in range(len(classes)):
            of_class = [item for item, label in kept.items() if label == index]
            total = sum(weights[item] for item in of_class)
            words: dict[str, float] = {}
            for item in of_class:
                for word in set(self._texts[project][item].split()):
                    words[word] = words.get(word, 0.0) + weights[item]
            for row, text in enumerate(texts):
                scores[row, index] = np.log(total + 1) + sum(
                    np.log((words.get(word, 0.0) + 1) / (total + 2)) for word in set(text.split())
                )
        scores = np.exp(scores - scores.max(axis=1, keepdims=True)) if len(texts) else scores
        return scores / scores.sum(axis=1, keepdims=True)

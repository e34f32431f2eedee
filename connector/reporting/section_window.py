"""The section of a report on the window: what annotators are asked next, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.active_learning import activelab
from connector.active_learning.strategies import STRATEGIES, Strategy, at_random
from connector.active_learning.window import Slot, open_places
from connector.reporting.content import WindowPlace, WindowSection
from connector.reporting.numbers import share
from connector.reporting.report_data import ReportData

PLACES = 50
NAMED = 4  # different labels of a task in a sentence
SURE = 0.65  # below this probability the model is called unsure
CLOSE = 0.2  # or if the second class is nearer than this


def window_section(data: ReportData, slots: Sequence[Slot], answers: Mapping[int, int]) -> WindowSection:
    """The published window `slots`. `answers`: {task: number of answers at publishing}."""
    places = open_places(slots, answers, data.pulled.tasks)
    shown = sorted(places, key=lambda task: places[task][0])[:PLACES]
    texts = data.texts(shown)
    chosen = _Choice.of(data)
    scores = data.reviewed.scored.scores if chosen.by_activelab else {}
    return WindowSection(
        size=len(slots),
        gone=sum(slot.task not in data.pulled.tasks for slot in slots),
        left=len(places),
        second_opinions=sum(relabel for _, relabel in places.values()),
        places=[
            WindowPlace(
                rank=places[task][0],
                task=task,
                text=texts[task],
                second_opinion=places[task][1],
                label_count=len(data.labels_of.get(task, ())),
                score=scores.get(task),
                why=_why(data, chosen, task, *places[task]),
            )
            for task in shown
        ],
    )


@dataclass(frozen=True)
class _Choice:
    """How the window was chosen, as far as that is known.

    `size`: without the tail. `by_model`: by scores. `min_annotations`: how many the team wants on every task.
    """

    strategy: Strategy | None
    size: int | None
    by_model: bool
    min_annotations: int

    @classmethod
    def of(cls, data: ReportData) -> _Choice:
        options: Mapping[str, Any] = data.record.window_options or {}
        return cls(
            strategy=STRATEGIES.get(options.get("strategy", "")),
            size=options.get("window"),
            by_model=data.last_round.get("model_version") is not None,
            min_annotations=data.record.min_annotations_per_task,
        )

    @property
    def at_random(self) -> bool:
        return self.strategy is not None and self.strategy.scores is at_random

    @property
    def by_activelab(self) -> bool:
        return self.by_model and self.strategy is not None and self.strategy.scores is activelab.scores


def _why(data: ReportData, chosen: _Choice, task: int, rank: int, relabel: bool) -> str:
    if relabel:
        return _second_opinion(data, chosen, task)
    if chosen.size is not None and rank > chosen.size:
        return "New: kept at the end so that annotators do not run out of tasks."
    if chosen.at_random:
        return "New: chosen at random."
    if not chosen.by_model:
        spread = chosen.strategy is not None and chosen.strategy.spread_start
        return (
            "New: one of the first tasks, which are spread over the texts."
            if spread
            else "New: one of the first tasks."
        )
    predicted = data.reviewed.scored.predicted.get(task)
    if predicted is None:
        return "New: chosen by the model's prediction at the last sync."
    return f"New: {_model(data, task, predicted)}."


def _model(data: ReportData, task: int, predicted: str) -> str:
    """What the model predicts for a task, and whether it is sure."""
    probs = data.reviewed.pred_probs[task]
    classes = [data.class_name(name) for name in data.control.classes]
    if data.control.multiple:
        least = min(range(len(classes)), key=lambda index: abs(float(probs[index]) - 0.5))
        if max(probs[least], 1 - probs[least]) < SURE:
            return f"the model is unsure whether {classes[least]} applies ({share(float(probs[least]))})"
        return f"the model predicts {data.shown(predicted)}"
    first, second = sorted(range(len(classes)), key=lambda index: -float(probs[index]))[:2]
    if probs[first] < SURE or probs[first] - probs[second] < CLOSE:
        both = f"{classes[first]} {share(float(probs[first]))}, {classes[second]} {share(float(probs[second]))}"
        return f"the model is unsure ({both})"
    return f"the model predicts {classes[first]} with {share(float(probs[first]))}"


def _second_opinion(data: ReportData, chosen: _Choice, task: int) -> str:
    labels, scored = Counter(data.labels_of.get(task, ())), data.reviewed.scored
    count = labels.total()
    if not count:
        return "A second opinion. Its text or its label is gone."
    consensus, predicted = scored.consensus[task], scored.predicted.get(task)
    quality = data.reviewed.quality.get(task)
    if len(labels) > 1:
        named = labels.most_common(NAMED)
        parts = [data.shown(label) + (f" {times} times" if times > 1 else "") for label, times in named]
        parts += ["…"] * (len(labels) > NAMED)
        verdict = f"The consensus is {data.shown(consensus)}"
        if quality is not None:
            verdict = f"The consensus {data.shown(consensus)} is right with a probability of {share(quality)}"
        sentence = f"{count} labels disagree ({', '.join(parts)}). {verdict}"
    else:
        label = data.shown(consensus)
        sentence = f"One label, {label}" if count == 1 else f"{count} labels, all {label}"
        if predicted is not None and predicted != consensus:
            sentence += (
                f", but the model predicts {data.shown(predicted)} with {share(data.probability(task, predicted))}"
            )
        elif quality is not None:
            sentence += f", which is right with a probability of {share(quality)}"
    if count < chosen.min_annotations:
        sentence += f". Every task should have {chosen.min_annotations}"
    elif chosen.at_random:
        sentence += ". Chosen at random"
    return f"{sentence}."

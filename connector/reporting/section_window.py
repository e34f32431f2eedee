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
from connector.reporting.report_data import ReportData, quoted

PLACES = 50
AUDITED = "Drawn at random, to tell how many labels are right."
GOLD = "Its class is known, to tell how often annotators are right."
NAMED = 4  # different labels of a task in a sentence
SURE = 0.65  # below this probability the model is called unsure
CLOSE = 0.2  # or if the second class is nearer than this


def window_section(data: ReportData, slots: Sequence[Slot], answers: Mapping[int, int]) -> WindowSection:
    """The published window `slots`. `answers`: {task: number of answers at publishing}."""
    places = open_places(slots, answers, data.pulled.tasks)
    shown = sorted(places, key=lambda task: places[task][0])[:PLACES]
    texts = data.texts(shown)
    chosen = _Choice.of(data)
    tests = {slot.task: AUDITED if slot.audit else GOLD for slot in slots if slot.audit or slot.gold}
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
                why=tests.get(task) or _why_of_all(data, chosen, task, *places[task]),
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


def _why_of_all(data: ReportData, chosen: _Choice, task: int, rank: int, relabel: bool) -> str:
    """Why a task is in the window. Of several questions, what is known of each that the form would show."""
    if not data.parts:
        return _why(data, chosen, task, rank, relabel)
    questions, scored = data.pulled.questions, data.reviewed.scored
    labels: dict[str, str] = {}
    for found in (scored.predicted.get(task), scored.consensus.get(task)):
        labels |= questions.labels_of(found) if found is not None else {}
    hidden = labels.keys() - questions.shown_labels(labels)
    why = {
        part.control.name: _why(part, chosen, task, rank, relabel and task in part.labels_of)
        for part in data.parts
        if part.pulled.tasks[task].digest is not None and part.control.name not in hidden
    }
    if len(set(why.values())) == 1:
        return next(iter(why.values()))
    return " ".join(f"{data.class_name(name)}: {sentence}" for name, sentence in why.items())


def _why(data: ReportData, chosen: _Choice, task: int, rank: int, relabel: bool) -> str:
    if relabel:
        return _second_opinion(data, chosen, task)
    if chosen.size is not None and rank > chosen.size:
        return "Kept at the end so that annotators do not run out of tasks."
    if chosen.at_random:
        return "Chosen at random."
    if not chosen.by_model:
        spread = chosen.strategy is not None and chosen.strategy.spread_start
        return "One of the first tasks, which are spread over the texts." if spread else "One of the first tasks."
    predicted = data.reviewed.scored.predicted.get(task)
    if predicted is None:
        return "Chosen by the model's prediction at the last sync."
    return f"The model {_model(data, task, predicted)}."


def _model(data: ReportData, task: int, predicted: str) -> str:
    """What the model does with a task: whether it is sure, and what it predicts."""
    probs = data.reviewed.pred_probs[task]
    classes = [data.class_name(name) for name in data.control.classes]
    if data.control.multiple:
        least = min(range(len(classes)), key=lambda index: abs(float(probs[index]) - 0.5))
        if max(probs[least], 1 - probs[least]) < SURE:
            return f"is unsure whether {quoted(classes[least])} applies ({share(float(probs[least]))})"
        return f"predicts {quoted(data.shown(predicted))}"
    first, second = sorted(range(len(classes)), key=lambda index: -float(probs[index]))[:2]
    both = [f"{quoted(classes[index])} {share(float(probs[index]))}" for index in (first, second)]
    if probs[first] < SURE or probs[first] - probs[second] < CLOSE:
        return f"is unsure: {', '.join(both)}"
    return f"predicts {quoted(classes[first])} with {share(float(probs[first]))}"


def _second_opinion(data: ReportData, chosen: _Choice, task: int) -> str:
    labels, scored = Counter(data.labels_of.get(task, ())), data.reviewed.scored
    count = labels.total()
    if not count:
        return "Its text or its label is gone."
    consensus, predicted = scored.consensus[task], scored.predicted.get(task)
    quality = data.reviewed.quality.get(task)
    label = quoted(data.shown(consensus))
    if len(labels) > 1:
        named = labels.most_common(NAMED)
        parts = [quoted(data.shown(name)) + (f" {times} times" if times > 1 else "") for name, times in named]
        parts += ["…"] * (len(labels) > NAMED)
        verdict = f"The consensus is {label}"
        if quality is not None:
            verdict = f"The consensus {label} is right with a probability of {share(quality)}"
        sentence = f"{count} labels disagree: {', '.join(parts)}. {verdict}"
    else:
        sentence = f"One label, {label}" if count == 1 else f"{count} labels, all {label}"
        if predicted is not None and predicted != consensus:
            probability = share(data.probability(task, predicted))
            sentence += f", but the model predicts {quoted(data.shown(predicted))} with {probability}"
        elif quality is not None:
            sentence += f", which is right with a probability of {share(quality)}"
    if count < chosen.min_annotations:
        sentence += f". Every task should have {chosen.min_annotations}"
    elif chosen.at_random:
        sentence += ". Chosen at random"
    return f"{sentence}."

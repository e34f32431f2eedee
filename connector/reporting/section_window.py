"""The part of a report on the window: what annotators are asked next, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.active_learning.window import DEFAULT_STRATEGY, STRATEGIES, Slot, Strategy, at_random, open_places
from connector.reporting.content import Place, Window
from connector.reporting.numbers import share
from connector.reporting.report_data import Facts

PLACES = 50
NAMED = 4  # so many different labels of a task are named in a sentence
SURE = 0.65  # the model is called unsure where its class is less probable
CLOSE = 0.2  # or leads the second by less


def window(facts: Facts, slots: Sequence[Slot], answers: Mapping[int, int]) -> Window:
    """What the report tells of the published window `slots`; `answers` as selection.open_places takes them."""
    places = open_places(slots, answers, facts.pulled.tasks)
    shown = sorted(places, key=lambda task: places[task][0])[:PLACES]
    texts = facts.texts(shown)
    chosen = _Choice.of(facts)
    scores = facts.reviewed.scored.scores if chosen.by_activelab else {}
    return Window(
        size=len(slots),
        gone=sum(slot.task not in facts.pulled.tasks for slot in slots),
        left=len(places),
        second_opinions=sum(relabel for _, relabel in places.values()),
        places=[
            Place(
                rank=places[task][0],
                task=task,
                text=texts[task],
                second_opinion=places[task][1],
                label_count=len(facts.said.get(task, ())),
                score=scores.get(task),
                why=_why(facts, chosen, task, *places[task]),
            )
            for task in shown
        ],
    )


@dataclass(frozen=True)
class _Choice:
    """How the window was chosen, as far as that is known: `size` without its tail, or None; `by_model`: by scores."""

    strategy: Strategy | None
    size: int | None
    by_model: bool
    wanted: int

    @classmethod
    def of(cls, facts: Facts) -> _Choice:
        options: Mapping[str, Any] = facts.record.window_options or {}
        # A window of an older connector was chosen without a name.
        name = options.get("strategy", DEFAULT_STRATEGY) if "window" in options else None
        return cls(
            strategy=STRATEGIES.get(name) if name is not None else None,
            size=options.get("window"),
            by_model=facts.last_round.get("model_version") is not None,
            wanted=facts.record.min_annotations_per_task,
        )

    @property
    def at_random(self) -> bool:
        return self.strategy is not None and self.strategy.scores is at_random

    @property
    def by_activelab(self) -> bool:
        return self.by_model and self.strategy is not None and self.strategy.scores is None


def _why(facts: Facts, chosen: _Choice, task: int, rank: int, relabel: bool) -> str:
    if relabel:
        return _second_opinion(facts, chosen, task)
    if chosen.size is not None and rank > chosen.size:
        return "New, kept at the end so that nobody runs out of tasks."
    if chosen.at_random:
        return "New: chosen at random."
    if not chosen.by_model:
        spread = chosen.strategy is not None and chosen.strategy.spread_start
        return "New: among the first, spread over the texts." if spread else "New: among the first."
    said = facts.reviewed.scored.predicted.get(task)
    if said is None:
        return "New: chosen by what the model said at the last sync."
    return f"New: {_model(facts, task, said)}."


def _model(facts: Facts, task: int, predicted: str) -> str:
    """What the model says of a task, and whether it is sure."""
    probs, classes = facts.reviewed.pred_probs[task], facts.control.classes
    if facts.control.multiple:
        least = min(range(len(classes)), key=lambda index: abs(float(probs[index]) - 0.5))
        if max(probs[least], 1 - probs[least]) < SURE:
            return f"the model is unsure whether {classes[least]} applies ({share(float(probs[least]))})"
        return f"the model says {facts.shown(predicted)}"
    first, second = sorted(range(len(classes)), key=lambda index: -float(probs[index]))[:2]
    if probs[first] < SURE or probs[first] - probs[second] < CLOSE:
        both = f"{classes[first]} {share(float(probs[first]))}, {classes[second]} {share(float(probs[second]))}"
        return f"the model is unsure ({both})"
    return f"the model says {classes[first]} with {share(float(probs[first]))}"


def _second_opinion(facts: Facts, chosen: _Choice, task: int) -> str:
    labels, scored = Counter(facts.said.get(task, ())), facts.reviewed.scored
    count = labels.total()
    if not count:
        return "A second opinion; the text or the label that it had is gone."
    consensus, predicted, quality = scored.consensus[task], scored.predicted.get(task), facts.reviewed.quality.get(task)
    if len(labels) > 1:
        named = labels.most_common(NAMED)
        parts = [facts.shown(label) + (f" {times} times" if times > 1 else "") for label, times in named]
        parts += ["…"] * (len(labels) > NAMED)
        verdict = f"the consensus is {facts.shown(consensus)}"
        if quality is not None:
            verdict = f"the consensus {facts.shown(consensus)} is right with a probability of {share(quality)}"
        said = f"{count} labels disagree ({', '.join(parts)}); {verdict}"
    else:
        label = facts.shown(consensus)
        said = f"One label, {label}" if count == 1 else f"{count} labels, all {label}"
        if predicted is not None and predicted != consensus:
            said += f", where the model says {facts.shown(predicted)} with {share(facts.probability(task, predicted))}"
        elif quality is not None:
            said += f", which is right with a probability of {share(quality)}"
    if count < chosen.wanted:
        said += f"; every task is to have {chosen.wanted}"
    elif chosen.at_random:
        said += "; chosen at random"
    return f"{said}."

"""What a report tells, as plain values: computed by the other report modules, drawn by `report_page`.

Labels are as a person reads them: a class, or of multiple choice "A + B" ("none of them" for an empty set). Times are
ISO 8601 with an offset. Shares, qualities and probabilities lie in [0, 1]. All lists are bounded, and texts are cut, so
that the page stays small whatever the project's size; where something was left out, a count says so.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Text:
    """The text of a task, or its beginning: `left_out` characters follow. None: the task has no text."""

    shown: str | None
    left_out: int = 0


@dataclass(frozen=True)
class Head:
    """Whose report it is, and the figures at its top.

    `labels`: by people, each annotator's latest on a task; `ground_truth`: annotations marked so; `asked_model`: the ML
    backend was not left alone, and without `model_version` it has no model; else `agreement` and the two that are the
    last round's anyway, `ground_truth_accuracy` (of `ground_truth_tasks`) and `advice`, are those of the last sync.
    `advice`: whether more labels are likely to pay, a sentence; `last_sync`: when, or None; `notes`: what a reader
    should know first (the last sync failed, the window is not served, …), a sentence each.
    """

    project: int
    title: str
    label_studio: str
    made_at: str
    version: str
    classes: list[str]
    multiple: bool
    tasks: int
    labelled: int
    labels: int
    annotators: int
    skipped: int
    ground_truth: int
    without_text: int
    last_sync: str | None
    asked_model: bool
    model_version: str | None
    agreement: float | None
    ground_truth_tasks: int
    ground_truth_accuracy: float | None
    advice: str
    notes: list[str]


@dataclass(frozen=True)
class CurvePoint:
    """A round: labels then, how often the model agreed with the consensus, and was right on ground truth."""

    round: int
    at: str
    labels: int
    agreement: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Replayed:
    """A replayed strategy: by labels, the mean accuracy over its seeds and one standard deviation around it."""

    strategy: str
    seeds: int
    labels: list[float]
    mean: list[float]
    deviation: list[float]


@dataclass(frozen=True)
class Curve:
    """The learning curve: at most a few hundred of the `rounds`, and the replay where there is one.

    `saved`: what random order would have needed, a sentence; None without a replay. `note`: how to get one, or what
    the replay's figures stand on.
    """

    points: list[CurvePoint]
    rounds: int
    replayed: list[Replayed]
    saved: str | None
    note: str


@dataclass(frozen=True)
class Place:
    """A task that the window still holds: `rank` 1 is next, `why` a sentence, `score` the strategy's, lowest first."""

    rank: int
    task: int
    text: Text
    second_opinion: bool
    label_count: int
    score: float | None
    why: str


@dataclass(frozen=True)
class Window:
    """What annotators are asked next. `places`: the first of the `left` ones that nobody has answered.

    `gone`: tasks of the window that were deleted since.
    """

    size: int
    gone: int
    left: int
    second_opinions: int
    places: list[Place]


@dataclass(frozen=True)
class Bin:
    """How many consensus labels have a quality in [low, high); the last bin holds 1, too."""

    low: float
    high: float
    tasks: int


@dataclass(frozen=True)
class Said:
    """What an annotator said of a task; `label` None: skipped."""

    annotator: str
    label: str | None


@dataclass(frozen=True)
class Suspect:
    """A labelled task whose consensus label is likely to be wrong; `said`: the first of them all."""

    task: int
    text: Text
    said: list[Said]
    said_left_out: int
    consensus: str
    quality: float
    predicted: str
    probability: float


@dataclass(frozen=True)
class Consensus:
    """How far consensus labels can be trusted. `bins` and `suspects` are empty where no model serves."""

    bins: list[Bin]
    suspects: list[Suspect]
    suspects_left_out: int


@dataclass(frozen=True)
class Annotator:
    """One annotator. `agreement`: share of labels that are the consensus, on tasks that others labelled, too.

    `quality`: as CROWDLAB estimates it, None without a model; `confused`: the class they confuse most, None where all
    their labels are the consensus, or nothing is known; `taken_for`: what the consensus says most often where they say
    it, None where they leave it out (multiple choice); `seconds`: median of a label.
    """

    name: str
    labels: int
    skips: int
    agreement: Interval | None
    quality: Interval | None
    confused: str | None
    taken_for: str | None
    seconds: float | None


@dataclass(frozen=True)
class Pair:
    """How often two annotators gave the same label; `tasks`: those that both labelled."""

    first: str
    second: str
    tasks: int
    agreement: float


@dataclass(frozen=True)
class People:
    """The annotators, most labels first, at most a hundred; `pairs`: of the first twenty, `unpaired` others.

    `alpha`: Krippendorff's, nominal, over all labels; None where no two people labelled the same task, or all labels
    are the same; `alpha_words`: what it says, or why there is none.
    """

    annotators: list[Annotator]
    left_out: int
    pairs: list[Pair]
    unpaired: int
    alpha: float | None
    alpha_words: str


@dataclass(frozen=True)
class ClassCount:
    """A class: labels that people gave, consensus labels, and what the model says of tasks without a label."""

    name: str
    labels: int
    consensus: int
    predicted: int


@dataclass(frozen=True)
class Day:
    """Labels of one day, in the time zone of who asks."""

    day: str
    labels: int


@dataclass(frozen=True)
class Pace:
    """Labels a day (the last of the days, those without any among them) and seconds a label: quartiles.

    `earlier`: labels of the days before.
    """

    days: list[Day]
    earlier: int
    seconds: tuple[float, float, float] | None


@dataclass(frozen=True)
class Content:
    """All of a report."""

    head: Head
    curve: Curve
    window: Window
    consensus: Consensus
    people: People
    classes: list[ClassCount]
    classes_left_out: int
    pace: Pace

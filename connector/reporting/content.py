"""What a report shows, as plain values. The sections compute it, `connector.reporting.html` writes it.

Labels are as a person reads them: a class, or for multiple choice "A + B" ("none of them" for an empty set). Times are
ISO 8601 with an offset. Shares, qualities and probabilities are in [0, 1]. All lists have a largest length, and texts
and names a largest number of characters (`connector.reporting.report_data`), so that the page stays small. Counts say
how much was left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from connector.active_learning.interval import Interval


@dataclass(frozen=True)
class Text:
    """The beginning of a task's text, `left_out` characters before its end. None: the task has no text.

    `image`: a small PNG or JPEG of the task, or the waveform of its recording as SVG. Empty: it has neither, or none
    that could be fetched. The text of these is the address.
    """

    shown: str | None
    left_out: int = 0
    image: bytes = b""


@dataclass(frozen=True)
class Head:
    """The project, and the figures at the top of the page.

    `labels`: by people, each annotator's latest on a task. `ground_truth`: annotations with that mark. `asked_model`:
    whether the ML backend was asked. If not, or if it has no model, `model_version` is None. `agreement` (of the model
    with the consensus), `ground_truth_accuracy`, `ground_truth_tasks` and `advice` are those of the last `round`, as in
    `status` and at the end of the learning curve, and so is `model_embedding`, what the model's features come from (may
    be empty). `holds_out`: whether the tasks with a ground truth are the test set of the last window. `accuracy`: a
    sentence on how many labels are right, empty without an audit. `accepted`: sentences on the model's labels that
    `connector finish` accepted, empty if there are none, and for one of several questions. `advice`: a sentence on
    whether more labels are likely to pay. `last_sync`: its time. `notes`: sentences that a reader should know first,
    for example that the last sync failed. `questions`: the names of several, and `classes` is empty then.
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
    model_embedding: str
    round: int | None
    agreement: float | None
    ground_truth_tasks: int
    ground_truth_accuracy: float | None
    holds_out: bool
    accuracy: str
    advice: str
    notes: list[str]
    questions: list[str] = field(default_factory=list)
    accepted: str = ""


@dataclass(frozen=True)
class CurvePoint:
    """A round: the number of labels then, the model's agreement with the consensus, its accuracy on ground truth."""

    round: int
    at: str
    labels: int
    agreement: float | None
    accuracy: float | None


@dataclass(frozen=True)
class ReplayedStrategy:
    """The mean accuracy of a replayed strategy over its seeds, and its standard deviation, by number of labels."""

    strategy: str
    seeds: int
    labels: list[float]
    mean: list[float]
    deviation: list[float]


@dataclass(frozen=True)
class CurveSection:
    """The learning curve: some of the `rounds`, evenly spread, and the replay if there is one.

    `saved`: a sentence on what random order would have needed, None without a replay. `note`: how to get a replay, or
    how this one was made.
    """

    points: list[CurvePoint]
    rounds: int
    replayed: list[ReplayedStrategy]
    saved: str | None
    note: str


@dataclass(frozen=True)
class WindowPlace:
    """A task in the window. `rank`: 1 is next. `score`: the strategy's, the lowest first. `why`: a sentence."""

    rank: int
    task: int
    text: Text
    second_opinion: bool
    label_count: int
    score: float | None
    why: str


@dataclass(frozen=True)
class WindowSection:
    """What annotators are asked next.

    `left`: the places without an answer, the first of which are `places`. `gone`: tasks that were deleted since.
    """

    size: int
    gone: int
    left: int
    second_opinions: int
    places: list[WindowPlace]


@dataclass(frozen=True)
class Bin:
    """The number of consensus labels with a quality in [low, high). The last bin includes 1."""

    low: float
    high: float
    tasks: int


@dataclass(frozen=True)
class AnnotatorAnswer:
    """An annotator's answer on a task. `label` None: skipped."""

    annotator: str
    label: str | None


@dataclass(frozen=True)
class Suspect:
    """A labelled task whose consensus label is likely to be wrong. `answers`: the first of all answers on it."""

    task: int
    text: Text
    answers: list[AnnotatorAnswer]
    answers_left_out: int
    consensus: str
    quality: float
    predicted: str
    probability: float


@dataclass(frozen=True)
class Disputed:
    """A task that people honestly differ on. `soft`: its likeliest classes with their probabilities, highest first.

    `answers`: the first of all answers on it.
    """

    task: int
    text: Text
    answers: list[AnnotatorAnswer]
    answers_left_out: int
    probability: float
    soft: list[SoftLabel]


@dataclass(frozen=True)
class SoftLabel:
    """A class, and how probably a careful person reads a task as it."""

    label: str
    probability: float


@dataclass(frozen=True)
class ConfusedLabels:
    """Two classes that the best annotators confuse: on `tasks`, of `of` tasks that they gave one of both."""

    first: str
    second: str
    tasks: int
    of: int


@dataclass(frozen=True)
class ConsensusSection:
    """How reliable the consensus labels are. All lists are empty without a model.

    `suspects`: somebody is probably wrong. `disputed`: people honestly differ, None if that is not looked for (multiple
    choice). `confused`: classes whose definitions may overlap.
    """

    bins: list[Bin]
    suspects: list[Suspect]
    suspects_left_out: int
    disputed: list[Disputed] | None = None
    disputed_left_out: int = 0
    confused: list[ConfusedLabels] = field(default_factory=list)


@dataclass(frozen=True)
class Annotator:
    """One annotator.

    `agreement`: the share of their labels that are the consensus, on tasks that other annotators labelled, too.
    `quality`: CROWDLAB's estimate, None without a model. `confused`: the class that they confuse most, None if all
    their labels are the consensus or nothing is known. `taken_for`: the consensus label that they most often give that
    class for, None if they leave it out instead (multiple choice). `seconds`: the median per label.
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
class ClassAccuracy:
    """How often one annotator recognises a class."""

    label: str
    accuracy: Interval


@dataclass(frozen=True)
class CheckedAnnotator:
    """How often one annotator is right, by what the others and the model say, and their pace.

    `halves`: the accuracy in the first half of their labels and in the second. `on_truth`: how many tasks with a ground
    truth they labelled, and how many of these correctly. `pace`: the median ratio of their times to those of the
    others.
    """

    name: str
    accuracy: Interval | None
    halves: tuple[Interval, Interval] | None
    on_truth: tuple[int, int]
    pace: float | None
    by_class: list[ClassAccuracy]


@dataclass(frozen=True)
class CheckedMachine:
    """How often a machine is right, by what people say. `on_truth`: as of an annotator. `words`: what follows."""

    name: str
    labels: int
    shared: int
    accuracy: Interval | None
    on_truth: tuple[int, int]
    by_class: list[ClassAccuracy]
    words: str


@dataclass(frozen=True)
class AnnotatorWarning:
    """What is wrong with an annotator's labels. `remedy`: what a lead can do, None if it is no reproach."""

    name: str
    words: str
    remedy: str | None


@dataclass(frozen=True)
class Pair:
    """How often two annotators gave the same label. `tasks`: those that both labelled."""

    first: str
    second: str
    tasks: int
    agreement: float


@dataclass(frozen=True)
class AnnotatorsSection:
    """The annotators, those with most labels first, and how far they agree.

    `pairs`: of the first few annotators, without the `unpaired` others. `alpha`: Krippendorff's nominal alpha over all
    labels, None if no two people labelled the same task or all labels are the same. `alpha_words`: what it means, or
    why there is none. `checked`: the first of those who are compared with the others. `warnings`: what is wrong.
    `machines`: those whose labels count.
    """

    annotators: list[Annotator]
    left_out: int
    pairs: list[Pair]
    unpaired: int
    alpha: float | None
    alpha_words: str
    checked: list[CheckedAnnotator] = field(default_factory=list)
    warnings: list[AnnotatorWarning] = field(default_factory=list)
    machines: list[CheckedMachine] = field(default_factory=list)


@dataclass(frozen=True)
class ClassCount:
    """A class: labels by people, consensus labels, and the model's predictions for tasks without a label."""

    name: str
    labels: int
    consensus: int
    predicted: int


@dataclass(frozen=True)
class Day:
    """Labels of one day, in the reader's time zone."""

    day: str
    labels: int


@dataclass(frozen=True)
class PaceSection:
    """Labels per day, and the quartiles of the seconds per label.

    `days`: the last days up to the latest label, those without labels included. `earlier`: labels of the days before.
    """

    days: list[Day]
    earlier: int
    seconds: tuple[float, float, float] | None


@dataclass(frozen=True)
class Content:
    """Everything that a report shows. With several `questions`, each has its curve, consensus, people and classes."""

    head: Head
    curve: CurveSection
    window: WindowSection
    consensus: ConsensusSection
    people: AnnotatorsSection
    classes: list[ClassCount]
    classes_left_out: int
    pace: PaceSection
    questions: list[Question] = field(default_factory=list)

    @property
    def of_questions(self) -> list[Content]:
        """The contents of all questions. Of one question, this one."""
        return [question.content for question in self.questions] or [self]


@dataclass(frozen=True)
class Question:
    """One of several questions. The page shows its own sections, and those that are about all once."""

    name: str
    content: Content

"""The summary of a sync: what `connector sync` prints, and what a round remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from connector.formatting import count
from connector.sync.prelabelled import Following

if TYPE_CHECKING:
    from connector.sync.machine_summary import MachineSummary  # which need NumPy
    from connector.sync.people import PersonSummary


@dataclass(frozen=True)
class WindowSummary:
    """How many tasks are in the window: all, new ones, and second opinions (`relabel`)."""

    size: int
    new: int
    relabel: int


@dataclass(frozen=True)
class ModelSummary:
    """How well the model does.

    Attributes:
        model_agreement: share of the labelled tasks whose consensus label is the model's out-of-sample label.
        ground_truth_tasks: how many tasks the test set has. None without a round.
        ground_truth_accuracy: share of the test set that the model labels correctly.
        forecast: what more labels would bring (`connector.active_learning.stopping.forecast`).
        model_embedding: what its features come from: "frozen", "fine-tuned" or "transformer".
        model_embedding_since: when the first model with this embedding was trained.
        model_in_training: whether the ML backend goes on training in the background.
        audit: how many labels are right (`connector.active_learning.accuracy.Accuracy`). None without an audit.
    """

    model_agreement: float | None = None
    ground_truth_tasks: int | None = None
    ground_truth_accuracy: float | None = None
    forecast: dict[str, Any] | None = None
    model_embedding: str | None = None
    model_embedding_since: str | None = None
    model_in_training: bool = False
    audit: dict[str, Any] | None = None

    @classmethod
    def of_round(cls, stored: dict[str, Any] | None) -> ModelSummary:
        """That of a round as the state database has it, if there was one."""
        known = stored or {}
        return cls(**{name: known[name] for name in cls.__dataclass_fields__ if name in known})


@dataclass(frozen=True)
class QuestionSummary:
    """What a sync found of one of several questions, and its model. The fields are those of a sync.

    `labels`: how many labels people gave, each annotator's latest on a task. `labelled`: on how many tasks.
    """

    control: str
    labels: int
    labelled: int
    labels_changed: int
    trained: bool
    model_version: str | None
    model_agreement: float | None
    ground_truth_tasks: int
    ground_truth_accuracy: float | None
    model_embedding: str | None
    model_embedding_since: str | None
    audit: dict[str, Any] | None = None


@dataclass(frozen=True)
class CodebookSummary:
    """Two classes that the best annotators confuse: on `tasks`, of `of` tasks that they gave one of both.

    `control`: the question.
    """

    control: str
    classes: tuple[str, str]
    tasks: int
    of: int


@dataclass(frozen=True)
class CostSummary:
    """What `--cost time` made of the order.

    Attributes:
        ignored: why the order does not weigh time: "strategy" (its scores are no worth), "scores" (there are none yet),
            "kind" (the content is no text), "times" (too few answers have one) or "length" (times do not depend on it).
            "": it does.
        answers: how many answers have a time.
        low, high: the expected seconds of an answer, the 5 % and the 95 % quantile of the tasks. None: unknown.
    """

    ignored: str
    answers: int = 0
    low: float | None = None
    high: float | None = None

    @property
    def words(self) -> str:
        """How the order weighs time, or why it does not: what follows "the order"."""
        if not self.ignored and self.low is not None and self.high is not None:
            return f"weighs time: an answer takes {_seconds(self.low, self.high)}, by the length of the text"
        reasons = {
            "strategy": "the scores of this strategy do not say what an answer is worth",
            "scores": "there are no scores yet",
            "kind": "the content is not text alone, so no length says how long an answer takes",
            "times": f"only {count(self.answers, 'answer has', 'answers have')} a time",
            "length": "the times of answers do not depend on the length of the text",
        }
        return f"does not weigh time: {reasons[self.ignored]}"


def _seconds(low: float, high: float) -> str:
    """ "8 to 40 s" """
    least, most = (f"{value:.0f}" if value >= 10 else f"{value:.2g}" for value in (low, high))
    return f"{least} to {most} s" if least != most else f"about {most} s"


@dataclass(frozen=True)
class SyncSummary:
    """What one sync of a project found and did. `to_json` gives the object that `--json` prints.

    Attributes:
        project: the project's id.
        round: how many windows have been published.
        tasks: how many tasks the project has.
        annotations: how many annotations, without skips.
        annotators: how many people made them.
        labels_changed: how many consensus labels differ from those that the model was trained on.
        trained: whether the model was trained.
        model_version: the model's version.
        model: how well the model does.
        queue_version: the published window's version.
        window: how many tasks are in the window.
        without_text: how many tasks have no text.
        unknown_choices: how many annotations have a choice that the config no longer has.
        unreadable_annotations: how many annotations have an answer that cannot be read.
        left_out: what of the project is left out, in sentences with ids and causes.
        restored: the settings that were put in order.
        seconds: how long each stage took.
        ambiguous: how many tasks people honestly differ on.
        codebook: the classes that even the best annotators confuse.
        people: what is known of each annotator, by `sync.people`. Empty if nothing was scored.
        machines: what is known of each machine. Empty without any, or if nothing was scored.
        prelabelled: how far people follow labels that they see preselected. None: nobody answered with one.
        dry_run: whether nothing was written.
        cost: how the order weighs time. None without `--cost time`, and it is not part of the object then.
        spare: how many new tasks follow the window that was asked for. It is not part of the object.
        questions: of several, each. Of one, none, and it is not part of the object.
    """

    project: int
    round: int
    tasks: int
    annotations: int
    annotators: int
    labels_changed: int
    trained: bool
    model_version: str | None
    model: ModelSummary
    queue_version: str | None
    window: WindowSummary
    without_text: int
    unknown_choices: int
    unreadable_annotations: int
    left_out: list[str]
    restored: list[str]
    seconds: dict[str, float]
    ambiguous: int = 0
    codebook: list[CodebookSummary] = field(default_factory=list)
    people: list[PersonSummary] = field(default_factory=list)
    machines: list[MachineSummary] = field(default_factory=list)
    prelabelled: Following | None = None
    dry_run: bool = False
    spare: int = 0
    questions: list[QuestionSummary] = field(default_factory=list)
    cost: CostSummary | None = None

    @property
    def published(self) -> bool:
        """Whether annotators are served a new window."""
        return "publish" in self.seconds

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        result: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if name == "model":
                result.update(value)
            elif name != "spare" and (name not in ("dry_run", "questions", "machines", "prelabelled", "cost") or value):
                result[name] = value
        return result


def codebook_of_round(stored: Mapping[str, Any] | None) -> list[CodebookSummary]:
    """That of a round as the state database has it, if there was one."""
    rows = (stored or {}).get("codebook", ())
    return [CodebookSummary(**{**row, "classes": tuple(row["classes"])}) for row in rows]


def cost_of_round(stored: Mapping[str, Any] | None) -> CostSummary | None:
    """That of a round as the state database has it, if there was one."""
    found = (stored or {}).get("cost")
    return None if found is None else CostSummary(**found)


def format_summary(summary: SyncSummary) -> str:
    """A sync's summary as sentences."""
    version = summary.model_version
    model = f"{'Trained model' if summary.trained else 'Model'} {version}" if version else "No model yet"
    trained = [question.control for question in summary.questions if question.trained]
    if trained and len(trained) < len(summary.questions):
        model += f" of {' and '.join(map(repr, trained))}"
    elif trained:
        model = f"Trained a model for each of {len(trained)} questions"
    found = f"{count(summary.tasks, 'task')}, {_annotations(summary)}. {model}."
    cost = f" The order {summary.cost.words}." if summary.cost is not None else ""
    notes = cost + "".join(f" Left out: {note}." for note in summary.left_out) + _warnings(summary)
    if summary.published or summary.dry_run:
        return f"Project {summary.project}, round {summary.round}: {found} {_window(summary)}{notes}"
    return f"Project {summary.project}: nothing new since round {summary.round}. {_unchanged(summary)} {found}{notes}"


def _warnings(summary: SyncSummary) -> str:
    number = len({person.annotator for person in summary.people if person.is_to_be_looked_at})
    if not number:
        return ""
    needs = count(number, "annotator needs", "annotators need")
    return f" {needs} a look: connector status --project {summary.project} says why."


def _annotations(summary: SyncSummary) -> str:
    if not summary.annotations:
        return "no annotations yet"
    return f"{count(summary.annotations, 'annotation')} by {count(summary.annotators, 'annotator')}"


def _window(summary: SyncSummary) -> str:
    """What was published, or would be."""
    window, spare = summary.window, summary.spare
    if not window.size:
        return "No task is left to ask for."
    sentence = (
        f"{'Published' if summary.published else 'Would publish'} {count(window.size, 'task')}: {window.new:,} new, "
        f"{window.relabel:,} for a second opinion."
    )
    if spare:
        last, are = (f"last {spare:,}", "are") if spare > 1 else ("last one", "is")
        sentence += (
            f" The {last} {are} spare, beyond --window {window.size - spare:,}, so that annotators do not run out."
        )
    return sentence


def _unchanged(summary: SyncSummary) -> str:
    """What a sync left as it was, and the settings that it restored."""
    restored = f"It restored {', '.join(summary.restored)}. " if summary.restored else ""
    if not summary.window.size:
        return f"{restored}No task is left to ask for."
    return f"{restored}Annotators keep the window of {count(summary.window.size, 'task')}."

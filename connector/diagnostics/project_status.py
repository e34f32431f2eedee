"""What the status of a project consists of. Free of NumPy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from connector.active_learning.target import Target
from connector.annotations.statistics import LabelCounts, TaskCounts
from connector.sync.prelabelled import Following
from connector.sync.summary import CodebookSummary, CostSummary

if TYPE_CHECKING:
    from connector.sync.machine_summary import MachineSummary
    from connector.sync.people import PersonSummary


@dataclass(frozen=True)
class StatusError:
    """Label Studio did not answer or refused, so that the rest is the state of the last sync."""

    message: str
    exit_code: int


@dataclass(frozen=True)
class LastSync:
    """How the last sync ended. `result`: "published", "nothing new" or "failed", then with an `error`."""

    at: str
    result: str
    error: str | None
    seconds_ago: int


@dataclass(frozen=True)
class LastRound:
    """The last round, which published a window."""

    number: int
    at: str
    seconds_ago: int


@dataclass(frozen=True)
class QueueStatus:
    """The published window.

    `spare`: new tasks that follow the window that was asked for, so that annotators do not run out. `served`: places
    with an answer or a skip since it was published. `in_charge`: whether Label Studio serves this window in order, None
    if it did not answer.
    """

    version: str
    size: int
    spare: int
    served: int
    left: int
    second_opinions_open: int
    in_charge: bool | None


@dataclass(frozen=True)
class RuleStatus:
    """How many labels every labelled task is to have (`init --min-annotations-per-task`), and how many have fewer."""

    min_annotations_per_task: int
    tasks_below: int


@dataclass(frozen=True)
class ModelStatus:
    """The model and what the last round measured. `agreement`: with the consensus labels, out of sample.

    `embedding`: what its features come from, `embedding_since` when. If it was still `in_training`, the ML backend may
    have a newer model.
    """

    version: str
    agreement: float | None
    ground_truth_tasks: int
    ground_truth_accuracy: float | None
    embedding: str | None
    embedding_since: str | None
    in_training: bool


@dataclass(frozen=True)
class AuditStatus:
    """How many labels are right, by the tasks drawn at random of which `audited` have a label.

    Each is a share with its 95 % interval (`value`, `low`, `high`): of the `consensus` labels, of the `model`'s labels
    of all tasks, and of the `project`'s, which are the consensus labels, and elsewhere the model's. `labelled` of
    `tasks` have a consensus label. `target`: what a target takes, None if none was asked for.
    """

    audited: int
    labelled: int
    tasks: int
    model: dict[str, float]
    consensus: dict[str, float]
    project: dict[str, float]
    target: Target | None
    words: str


@dataclass(frozen=True)
class QuestionStatus:
    """One of several questions. `labels`: annotations by people that answer it. `labelled`: tasks that have one."""

    control: str
    labels: int
    labelled: int
    model: ModelStatus | None
    audit: AuditStatus | None


@dataclass(frozen=True)
class AnnotatorStatus:
    """An annotator, as the last round found them. `email` None: Label Studio did not say it."""

    email: str | None
    found: PersonSummary

    @property
    def name(self) -> str:
        """The e-mail address, or else the number."""
        return self.email or f"user {self.found.annotator}"


@dataclass(frozen=True)
class ExcludedStatus:
    """An annotator whose labels do not count (`init --exclude`). `annotations`: how many that concerns."""

    annotator: int
    email: str | None
    annotations: int

    @property
    def name(self) -> str:
        """The e-mail address, or else the number."""
        return self.email or f"user {self.annotator}"


@dataclass(frozen=True)
class AcceptedStatus:
    """The model's labels that `connector finish` accepted, of tasks that have no label since.

    At most a share `bound` of them is wrong, with 95 % confidence, as it found then. `max_error`: the limit. `left`:
    how many tasks with content have neither a label nor an accepted one.
    """

    labels: int
    left: int
    max_error: float
    bound: float
    at: str


@dataclass(frozen=True)
class ForecastStatus:
    """What the next `labels` would bring, as `active_learning.stopping.forecast` says, and that as a sentence."""

    labels: int
    gain: float | None
    likely_to_pay: bool | None
    words: str


@dataclass(frozen=True)
class NextTask:
    """A place of the window that nobody has answered yet. `text`: its beginning.

    `labels`: how many the task has. If it is a `second_opinion`, the next one is asked for.
    """

    rank: int
    task: int
    text: str
    second_opinion: bool
    labels: int


@dataclass(frozen=True)
class ProjectStatus:
    """The status of a project. Its fields are the keys of `--json`, which docs/commands.md describes."""

    project: int
    title: str | None
    label_studio: str
    at: str
    error: StatusError | None
    last_sync: LastSync | None
    last_round: LastRound | None
    sync_running: bool
    queue: QueueStatus | None
    labels: LabelCounts
    tasks: TaskCounts
    rule: RuleStatus
    model: ModelStatus | None
    audit: AuditStatus | None
    forecast: ForecastStatus
    new_annotations: int
    next_tasks: list[NextTask]
    next_step: str
    questions: list[QuestionStatus] = field(default_factory=list)
    ambiguous: int = 0
    codebook: list[CodebookSummary] = field(default_factory=list)
    annotators: list[AnnotatorStatus] = field(default_factory=list)
    machines: list[MachineSummary] = field(default_factory=list)
    prelabelled: Following | None = None
    excluded: list[ExcludedStatus] = field(default_factory=list)
    no_audit: str = ""  # why `audit` is None, not part of the object
    accepted: AcceptedStatus | None = None
    cost: CostSummary | None = None

    @property
    def exit_code(self) -> int:
        """0 if Label Studio answered everything, else the code of its error."""
        return self.error.exit_code if self.error else 0

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints. It has `questions` if there are several."""
        whole = {name: value for name, value in asdict(self).items() if name != "questions" or value}
        del whole["no_audit"]
        return whole | {"annotators": [{"email": one["email"], **one["found"]} for one in whole["annotators"]]}

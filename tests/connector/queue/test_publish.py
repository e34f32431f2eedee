"""From a window to writes, on a server played in memory: their order, how few they are, and the races."""

import copy
import itertools
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.flaky_server import Time

from connector.active_learning.window import Slot
from connector.annotations.controls.choices import Choices
from connector.annotations.questions import Questions
from connector.annotations.records import Annotation, Task, read_task
from connector.errors import ConnectorError, StaleTasks, TryAgainLater
from connector.queue.publish import ATTEMPTS, Published, is_open, publish, stale_open_tasks
from connector.queue.settings import wrong_settings
from connector.queue.versions import VERSION_PREFIX, expired, our_versions, unknown_newer
from connector.retry import Retries, TransientError, UnknownOutcome
from connector.state.project_state import ProjectState
from connector.state.snapshot import ProjectSnapshot

CONTROL = Choices("politeness", "text", "text", ("Polite", "Impolite"), {"Polite": "Polite", "Impolite": "Impolite"})
AT = "2026-03-01T10:00:00.000000Z"
OLD = f"{VERSION_PREFIX}20260101-000000-000000"
OTHERS = "REQUEUE_FOR_OTHERS"


class Server:
    """Tasks, predictions and the project's model version, with every write in `writes`."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.predictions: dict[str, list[dict[str, Any]]] = {OLD: [{"task": 1}], "somebody-elses": [{"task": 1}]}
        self.model_version = OLD
        self.writes: list[Any] = []
        self.keeps: list[int] = []  # how many rows of the next imports are kept; then all
        self.before_task: Callable[[int], object] = lambda task: None  # what happens just before a task is changed
        self.before_deletion: Callable[[], object] = lambda: None
        self.guard: Callable[[], object] = lambda: None  # the check of the lock that the gateway does before each write
        self.retries = Time().retries()
        self.lost: list[int] = []  # the answers of the next imports are lost: how many rows stand all the same

    def add(self, number: int, *annotators: int, open_for: int = 0, skips: Sequence[int] = ()) -> None:
        """A task with a label by each of `annotators`; `open_for`: the overlap that it is open with."""
        rows = [self.annotation(number, annotator, skipped=False) for annotator in annotators]
        rows += [self.annotation(number, annotator, skipped=True) for annotator in skips]
        self.rows[number] = {
            "id": number,
            "data": {"text": f"Text {number}"},
            "is_labeled": bool(annotators) and not open_for,
            "overlap": open_for or 1,
            "updated_at": AT,
            "annotations": rows,
        }

    @staticmethod
    def annotation(task: int, annotator: int, *, skipped: bool) -> dict[str, Any]:
        region = {"from_name": "politeness", "to_name": "text", "type": "choices", "value": {"choices": ["Polite"]}}
        return {
            "id": task * 100 + annotator,
            "completed_by": annotator,
            "was_cancelled": skipped,
            "ground_truth": False,
            "result": [] if skipped else [region],
            "created_at": AT,
            "updated_at": AT,
        }

    def label(self, task: int, annotator: int) -> None:
        """An annotation arrives, and Label Studio counts again."""
        row = self.rows[task]
        row["annotations"].append(self.annotation(task, annotator, skipped=False))
        row["is_labeled"] = len({one["completed_by"] for one in row["annotations"]}) >= row["overlap"]

    def mirror(self) -> dict[int, Task]:
        return {number: read_task(copy.deepcopy(row), CONTROL) for number, row in self.rows.items()}

    # -- what the gateway asks ---------------------------------------------------------------------------------------

    def import_predictions(self, project: int, rows: Sequence[dict[str, Any]], *, singly: bool = False) -> int:
        self.guard()
        version = rows[0]["model_version"]
        self.writes.append(("import", version))
        if self.lost:
            self.predictions[version] = list(rows)[: self.lost.pop(0)]
            raise UnknownOutcome(
                TransientError(TryAgainLater("Label Studio failed with 502."), "Label Studio answered 502")
            )
        if any(row["task"] not in self.rows for row in rows):
            raise StaleTasks("A task is gone.")
        self.predictions[version] = list(rows)[: self.keeps.pop(0) if self.keeps else None]
        return len(self.predictions[version])

    def model_versions(self, project: int) -> dict[str, int]:
        return {version: len(rows) for version, rows in self.predictions.items() if rows}

    def update_project(self, project: int, *, model_version: str) -> dict[str, Any]:
        self.guard()
        assert model_version == "" or model_version in self.predictions
        self.writes.append(("flip", model_version))
        self.model_version = model_version
        return self.get_project(project)

    def get_project(self, project: int) -> dict[str, Any]:
        return {"id": 7, "model_version": self.model_version, "skip_queue": OTHERS}

    def update_task(self, task: int, *, overlap: int, is_labeled: bool) -> dict[str, Any]:
        self.guard()
        self.before_task(task)
        if task not in self.rows:
            raise StaleTasks("The task is gone.")
        self.writes.append(("close" if is_labeled else "open", task, overlap))
        self.rows[task].update(overlap=overlap, is_labeled=is_labeled)
        return copy.deepcopy(self.rows[task])

    def delete_version(self, project: int, version: str) -> None:
        self.guard()
        self.before_deletion()
        self.writes.append(("delete", version))
        del self.predictions[version]
        if self.model_version == version:
            self.model_version = ""

    def kinds(self) -> list[str]:
        return [write[0] for write in self.writes]


@pytest.fixture
def server() -> Server:
    return Server()


def put(server: Server, state: ProjectState, *window: Slot, mode: str = OTHERS, **more: Any) -> Published:
    """Publishes the window over the mirror as the server has it (or as `tasks` says)."""
    tasks = more.pop("tasks", None) or server.mirror()
    project = {**server.get_project(7), "skip_queue": mode}
    server.writes.clear()
    server.guard = state.renew_lock
    versions = {version: len(rows) for version, rows in server.predictions.items()}
    pulled = ProjectSnapshot(project, Questions((CONTROL,)), tasks, versions, changed=True, texts=state.texts)
    return publish(server, state, pulled, window, options={"window": 100}, **more)  # type: ignore[arg-type]


def new(task: int) -> Slot:
    return Slot(task, relabel=False)


def again(task: int) -> Slot:
    return Slot(task, relabel=True)


# -- the window ------------------------------------------------------------------------------------------------------


def test_the_score_is_the_rank_between_0_and_1_and_forms_stay_blank(server: Server, state: ProjectState) -> None:
    for number in (1, 2, 3):
        server.add(number, *([1] if number == 3 else []))
    published = put(server, state, new(2), again(3), new(1))
    rows = server.predictions[published.version]
    assert [row["task"] for row in rows] == [2, 3, 1]
    assert [row["score"] for row in rows] == [0.25, 0.5, 0.75]
    assert all(row["result"] == [] and row["model_version"] == published.version for row in rows)


def test_a_long_window_has_strictly_increasing_scores(server: Server, state: ProjectState) -> None:
    for number in range(1, 5001):
        server.add(number)
    published = put(server, state, *(new(number) for number in range(1, 5001)))
    scores = [row["score"] for row in server.predictions[published.version]]
    assert all(0 < before < after < 1 for before, after in itertools.pairwise(scores))


def test_prelabels_are_shown_on_new_tasks_and_never_on_second_opinions(server: Server, state: ProjectState) -> None:
    server.add(1)
    server.add(2, 1)
    published = put(server, state, new(1), again(2), prelabels={1: "Impolite", 2: "Impolite"})
    shown = [row["result"] for row in server.predictions[published.version]]
    assert shown[0][0]["value"] == {"choices": ["Impolite"]}
    assert shown[1] == []


def test_the_new_window_stands_before_the_old_one_goes(server: Server, state: ProjectState) -> None:
    server.add(1)
    server.add(2, 1)
    server.add(3, 1, open_for=2)
    state.reopen(3, 1)
    published = put(server, state, new(1), again(2))
    assert server.writes == [
        ("import", published.version),
        ("open", 2, 2),
        ("flip", published.version),
        ("close", 3, 1),
        ("delete", OLD),
    ]
    assert set(server.predictions) == {published.version, "somebody-elses"}


def test_what_was_published_is_remembered(server: Server, state: ProjectState) -> None:
    server.add(1)
    server.add(2, 1)
    published = put(server, state, new(1), again(2))
    known = state.record()
    assert (known.queue_version, known.queue_size) == (published.version, 2)
    assert known.window_options == {"window": 100}
    assert state.window() == published.window == [new(1), again(2)]
    assert state.reopened() == {2: 1}


def test_a_publishing_that_ended_after_the_flip_is_due_again(server: Server, state: ProjectState) -> None:
    server.add(1)

    def fail() -> None:
        raise TryAgainLater("Label Studio failed with 502.")

    server.before_deletion = fail
    with pytest.raises(TryAgainLater):
        put(server, state, new(1))
    known = state.record()
    assert known.queue_version == server.model_version != OLD
    assert known.window_options == {"skip_queue": OTHERS}


def test_a_window_that_was_kept_in_part_is_sent_again_under_another_version(
    server: Server, state: ProjectState
) -> None:
    server.add(1)
    server.add(2)
    server.keeps = [1]
    published = put(server, state, new(1), new(2))
    first = server.writes[0][1]
    assert server.writes[:3] == [("import", first), ("delete", first), ("import", published.version)]
    assert first != published.version
    assert len(server.predictions[published.version]) == 2


def test_a_server_that_always_keeps_too_few_leaves_the_old_window(server: Server, state: ProjectState) -> None:
    server.add(1)
    server.add(2, 1)
    server.keeps = [0] * ATTEMPTS
    with pytest.raises(ConnectorError, match=r"kept 0 of 2 predictions .*\. Annotators are still served the old"):
        put(server, state, new(1), again(2))
    assert server.model_version == OLD
    assert server.kinds() == ["import", "delete"] * ATTEMPTS
    assert set(server.predictions) == {OLD, "somebody-elses"}


def test_a_window_that_stands_is_served_though_the_answer_was_lost(server: Server, state: ProjectState) -> None:
    server.add(1)
    server.add(2)
    server.lost = [2]
    published = put(server, state, new(1), new(2))
    assert server.writes[:2] == [("import", published.version), ("flip", published.version)]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_window_whose_answer_was_lost_and_that_does_not_stand_is_sent_under_a_later_version(
    server: Server, state: ProjectState, rows: int
) -> None:
    server.add(1)
    server.add(2)
    server.lost = [rows]
    published = put(server, state, new(1), new(2))
    first = server.writes[0][1]
    assert server.writes[:3] == [("import", first), ("import", published.version), ("flip", published.version)]
    assert OLD < first < published.version
    assert ("delete", first) not in server.writes  # the server may be at it still
    assert unknown_newer(server.model_versions(7), published.version) == set()
    tomorrow = datetime.now(timezone.utc) + timedelta(hours=25)
    assert first in expired([first, published.version], published.version, tomorrow)


def test_a_window_that_arrives_late_is_served_and_none_sent_beside_it(server: Server, state: ProjectState) -> None:
    server.add(1)
    server.lost = [0]
    time = Time()

    def arrive(seconds: float) -> None:
        time.sleep(seconds)
        server.predictions[server.writes[0][1]] = [{"task": 1}]

    server.retries = Retries(60.0, sleep=arrive, clock=time.clock)
    published = put(server, state, new(1))
    assert server.kinds().count("import") == 1
    assert published.version == server.writes[0][1]


def test_a_server_whose_answers_are_always_lost_leaves_the_old_window(server: Server, state: ProjectState) -> None:
    server.add(1)
    server.lost = [0] * 1000
    with pytest.raises(TryAgainLater, match=r"Label Studio failed with 502\. Tried \d+ times in \d+ s\."):
        put(server, state, new(1))
    assert server.model_version == OLD
    assert set(server.kinds()) == {"import"}
    assert state.record().queue_version is None


def test_a_window_with_a_task_that_is_gone_flips_nothing(server: Server, state: ProjectState) -> None:
    server.add(1)
    tasks = server.mirror()
    server.rows.clear()
    with pytest.raises(StaleTasks):
        put(server, state, new(1), tasks=tasks)
    assert (server.model_version, server.kinds()) == (OLD, ["import"])


def test_an_empty_window_takes_the_old_one_down(server: Server, state: ProjectState) -> None:
    server.add(1, 1)
    assert put(server, state) == Published("", [], 0)
    assert server.writes == [("flip", ""), ("delete", OLD)]
    assert state.record().queue_size == 0


def test_a_model_version_that_was_lost_in_cleaning_up_is_set_again(server: Server, state: ProjectState) -> None:
    server.add(1)

    def save_an_old_settings_page() -> None:
        server.model_version = OLD

    server.before_deletion = save_an_old_settings_page
    published = put(server, state, new(1))
    assert server.model_version == published.version


def test_a_sync_that_lost_the_project_flips_nothing(server: Server, state: ProjectState) -> None:
    server.add(1)
    state.put(lock_holder="elsewhere:1:abc")
    with pytest.raises(TryAgainLater, match="took this project over"):
        put(server, state, new(1))
    assert server.model_version == OLD
    assert server.writes == []


# -- second opinions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "overlap"), [("REQUEUE_FOR_OTHERS", 3), ("REQUEUE_FOR_ME", 4), ("IGNORE_SKIPPED", 4)])
def test_the_overlap_is_one_more_than_the_rows_that_count(
    server: Server, state: ProjectState, mode: str, overlap: int
) -> None:
    server.add(1, 1, 2, skips=[3])
    put(server, state, again(1), mode=mode)
    assert ("open", 1, overlap) in server.writes


def test_only_tasks_that_enter_or_leave_are_changed(server: Server, state: ProjectState) -> None:
    for number in (1, 2, 3, 4):
        server.add(number, 1)
    put(server, state, again(1), again(2))
    put(server, state, again(2), again(3))
    assert [write for write in server.writes if write[0] in ("open", "close")] == [("open", 3, 2), ("close", 1, 1)]
    assert state.reopened() == {2: 1, 3: 1}
    put(server, state, again(2), again(3))
    assert not {"open", "close"} & set(server.kinds())


def test_a_second_opinion_that_was_given_is_not_asked_to_be_closed(server: Server, state: ProjectState) -> None:
    server.add(1, 1)
    server.add(2)
    put(server, state, again(1))
    server.label(1, 2)
    assert server.rows[1]["is_labeled"]
    put(server, state, new(2))
    assert "close" not in server.kinds()
    assert state.reopened() == {}


def test_a_third_opinion_restores_the_first_overlap(server: Server, state: ProjectState) -> None:
    server.add(1, 1)
    put(server, state, again(1))
    server.label(1, 2)
    put(server, state, again(1))
    assert ("open", 1, 3) in server.writes
    put(server, state)
    assert ("close", 1, 1) in server.writes


def test_an_annotation_that_arrives_before_the_task_is_opened_closes_it_again(
    server: Server, state: ProjectState
) -> None:
    server.add(1, 1)
    server.add(2, 1)

    def arrive(task: int) -> None:
        if task == 1 and len(server.rows[1]["annotations"]) == 1:
            server.label(1, 2)

    server.before_task = arrive
    published = put(server, state, again(1), again(2))
    assert [write for write in server.writes if write[0] != "import"][:3] == [
        ("open", 1, 2),
        ("close", 1, 1),
        ("open", 2, 2),
    ]
    assert (published.raced, published.window) == (1, [again(2)])
    assert state.window() == [again(2)]
    assert state.record().queue_size == 2  # its prediction stays, on a closed task
    assert state.reopened() == {2: 1}


def test_a_sync_killed_after_opening_a_task_is_made_good(server: Server, state: ProjectState) -> None:
    server.add(1, 1)
    server.add(2)
    stop: dict[str, bool] = {"now": True}

    def die(task: int) -> None:
        if stop.pop("now", False):
            raise TryAgainLater("away")

    server.before_task = die
    with pytest.raises(TryAgainLater):
        put(server, state, again(1))
    assert (server.model_version, state.reopened()) == (OLD, {1: 1})  # remembered before the server was asked
    put(server, state, new(2))
    assert state.reopened() == {}
    assert server.rows[1]["is_labeled"]


def test_a_reopened_task_that_is_gone_is_forgotten(server: Server, state: ProjectState) -> None:
    server.add(1, 1)
    server.add(2)
    put(server, state, again(1))
    del server.rows[1]
    put(server, state, new(2))
    assert state.reopened() == {}


def test_a_reopened_task_whose_answer_gives_no_label_is_closed(server: Server, state: ProjectState) -> None:
    server.add(1, 1)
    server.add(2)
    server.rows[1]["annotations"][0]["result"] = []
    put(server, state, again(1))
    assert not server.rows[1]["is_labeled"]
    put(server, state, new(2))
    assert server.rows[1]["is_labeled"]
    assert state.reopened() == {}


def test_a_reopened_task_that_lost_its_labels_stays_open(server: Server, state: ProjectState) -> None:
    server.add(1, 1)
    put(server, state, again(1))
    server.rows[1]["annotations"] = []
    put(server, state, new(1))
    assert not server.rows[1]["is_labeled"]
    assert state.reopened() == {}


def test_progress_counts_what_is_opened_and_closed(server: Server, state: ProjectState) -> None:
    for number in (1, 2, 3):
        server.add(number, 1)
    put(server, state, again(1))
    told: list[tuple[int, int]] = []
    put(server, state, again(2), again(3), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


# -- what has to be put right ----------------------------------------------------------------------------------------


def task(*annotators: int, overlap: int = 1, is_labeled: bool = False, skips: Sequence[int] = ()) -> Task:
    rows = tuple(Annotation(annotator, 5, annotator, "Polite", False, False, AT) for annotator in annotators)
    rows += tuple(Annotation(100 + annotator, 5, annotator, None, True, False, AT) for annotator in skips)
    return Task(5, "Text", is_labeled, overlap, AT, rows)


@pytest.mark.parametrize(
    ("one", "mode", "closed"),
    [
        (task(1, overlap=1), OTHERS, True),
        (task(1, 2, overlap=2), OTHERS, True),
        (task(1, overlap=2), OTHERS, False),
        (task(1, overlap=1, is_labeled=True), OTHERS, False),
        (task(1, overlap=2, skips=[2]), OTHERS, False),
        (task(1, overlap=2, skips=[2]), "REQUEUE_FOR_ME", True),
        (task(overlap=1, skips=[2]), "REQUEUE_FOR_ME", False),
        (task(overlap=1), OTHERS, False),
    ],
    ids=[
        "has its label",
        "has both",
        "still served",
        "closed",
        "a skip that does not count",
        "a skip that counts",
        "skipped alone",
        "new",
    ],
)
def test_open_tasks_that_nobody_is_served_are_found(one: Task, mode: str, closed: bool) -> None:
    assert stale_open_tasks({5: one}, set(), mode) == ({5: one.overlap} if closed else {})
    assert stale_open_tasks({5: one}, {5}, mode) == {}


def test_a_task_is_open_when_exactly_one_more_is_served() -> None:
    assert is_open(task(1, overlap=2), OTHERS)
    assert not is_open(task(1, overlap=1), OTHERS)
    assert not is_open(task(1, overlap=3), OTHERS)
    assert not is_open(task(1, overlap=2, is_labeled=True), OTHERS)


def test_only_settings_that_differ_are_wrong() -> None:
    right = {
        "sampling": "Uncertainty sampling",
        "maximum_annotations": 1,
        "show_collab_predictions": True,
        "show_overlap_first": False,
    }
    assert wrong_settings(right) == {}
    assert wrong_settings({**right, "sampling": "Sequential sampling"}) == {"sampling": "Uncertainty sampling"}


def test_windows_of_ours_are_known_by_their_name() -> None:
    assert our_versions([OLD, "BertClassifier", "activelab", "activelab-v1", "activelab-20260101"]) == {OLD}

"""What a sync remembers: the mirror, originals, reopened tasks, windows, rounds, and the lock."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from connector.active_learning.audit import Drawn
from connector.active_learning.window import Slot
from connector.annotations.records import Annotation, Task
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.state.lock import LOCK_SECONDS
from connector.state.project_state import Original, ProjectState, State

URL = "http://studio:8080"


def counts(project: ProjectState) -> tuple[int, int]:
    """How many tasks and annotation rows the mirror holds."""
    tasks = project.tasks().values()
    return len(tasks), sum(len(task.annotations) for task in tasks)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state.sqlite"


@pytest.fixture
def state(state_url: str) -> Iterator[State]:
    opened = State(state_url)
    yield opened
    opened.close()


@pytest.fixture
def project(state: State) -> ProjectState:
    return state.project(URL, 7)


def task(number: int, *rows: Annotation, text: str | None = "Well?", overlap: int = 1) -> Task:
    return Task(number, text, bool(rows), overlap, "2026-03-01T10:00:00.000000Z", rows)


def store(project: ProjectState, tasks: Sequence[Task], **how: Any) -> bool:
    """Stores tasks whose digests are their texts."""
    return project.store_tasks(tasks, {one.id: one.digest for one in tasks if one.digest is not None}, **how)


def row(annotation: int, of: int, annotator: int = 1, label: str | None = "Polite") -> Annotation:
    return Annotation(annotation, of, annotator, label, label is None, False, "2026-03-01T10:00:00.000000Z")


# -- opening ---------------------------------------------------------------------------------------------------------


def test_a_missing_directory_is_made_and_the_state_is_there_again_when_reopened(state_url: str) -> None:
    first = State(state_url)
    first.project(URL, 7).put(round=3)
    first.close()
    second = State(state_url)
    assert second.project(URL, 7).record().round == 3
    second.close()


def test_a_project_is_known_by_server_and_id(state: State) -> None:
    state.project(URL, 7).put(round=1)
    state.project(URL, 8).put(round=2)
    state.project("http://other", 7).put(round=3)
    rounds = [state.project(url, number).record().round for url, number in [(URL, 7), (URL, 8), ("http://other", 7)]]
    assert rounds == [1, 2, 3]


def test_a_new_project_starts_empty(project: ProjectState) -> None:
    known = project.record()
    assert (known.adopted_at, known.bookmark, known.queue_version, known.round) == (None, None, None, 0)
    assert known.min_annotations_per_task == 1
    assert (project.tasks(), project.window(), project.trained(), project.reopened()) == ({}, [], {}, {})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "nosuchdatabase://host/db",
        "postgresql://user:hunter2@host:port/db",
        "postgresql//user:hunter2@host/db",
        "sqlite:////proc/none/a.sqlite",
    ],
)
def test_a_database_that_cannot_be_opened_is_one_sentence(url: str) -> None:
    with pytest.raises(UsageError) as error:
        State(url)
    words = str(error.value)
    assert words.startswith("The state database in CONNECTOR_STATE cannot be opened: ")
    assert "\n" not in words
    assert "hunter2" not in words


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("These are notes, and there are enough of them to be no database.\n" * 20)
    with pytest.raises(UsageError, match=r"is not a state database .file is not a database.*move"):
        State(f"sqlite:///{other}")
    assert other.read_text().startswith("These are notes")


def test_processes_that_open_a_new_state_at_once_all_can(state_url: str) -> None:
    code = (
        "import sys, time\n"
        "from connector.state.project_state import State\n"
        "time.sleep(max(0, float(sys.argv[1]) - time.time()))\n"
        f"State({state_url!r}).project({URL!r}, 7).put(round=1)"
    )
    command = [sys.executable, "-c", code, str(time.time() + 2)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] for process in started] == [""] * 4


# -- the mirror ------------------------------------------------------------------------------------------------------


def test_tasks_come_back_as_they_were_stored(project: ProjectState) -> None:
    tasks = [
        task(1, row(11, 1), row(12, 1, 2, None)),
        task(2, text=None, overlap=3),
        task(
            3,
            Annotation(13, 3, 0, None, False, True, "2026-03-01T10:00:00Z", unknown=True),
            text="caf\u00e9 \U0001f600",
        ),
    ]
    store(project, tasks)
    assert project.tasks() == {one.id: one for one in tasks}
    assert counts(project) == (3, 3)


def test_storing_again_replaces_a_task_and_its_annotations_alone(project: ProjectState) -> None:
    store(project, [task(1, row(11, 1), row(12, 1, 2)), task(2, row(13, 2))])
    store(project, [task(1, row(14, 1, 3), text="New words")])
    assert project.tasks() == {1: task(1, row(14, 1, 3), text="New words"), 2: task(2, row(13, 2))}


def test_all_of_them_drops_what_is_gone(project: ProjectState) -> None:
    store(project, [task(1, row(11, 1)), task(2, row(12, 2))])
    store(project, [task(2)], span=(0, None))
    assert project.tasks() == {2: task(2)}
    store(project, [], span=(0, None))
    assert counts(project) == (0, 0)


def test_projects_do_not_touch_each_other(state: State) -> None:
    one, other = state.project(URL, 1), state.project(URL, 2)
    for project in (one, other):
        store(project, [task(1, row(11, 1))])
        project.store_originals([task(1)])
        project.store_trained({1: "Polite"})
        project.reopen(1, 2)
        project.store_window("v", 1, [Slot(1, True)], {})
        project.store_round(1, {"round": 1})
    store(one, [], span=(0, None))
    one.store_trained({})
    one.close_task(1)
    one.store_window("w", 0, [], {})
    assert other.tasks() == {1: task(1, row(11, 1))}
    assert (other.trained(), other.reopened(), other.window()) == ({1: "Polite"}, {1: 2}, [Slot(1, True)])
    assert other.record().queue_version == "v"


def test_more_tasks_than_a_statement_takes_are_stored_read_and_replaced(project: ProjectState) -> None:
    tasks = [task(number, row(10_000 + number, number)) for number in range(1, 1202)]
    store(project, tasks)
    changed = [task(number, text="Changed") for number in range(1, 1102)]
    store(project, changed)
    assert counts(project) == (1201, 100)
    read = project.tasks(range(1, 2000))
    assert len(read) == 1201
    assert (read[1101].digest, read[1102].digest) == ("Changed", "Well?")
    assert read[1201].annotations == (row(11_201, 1201),)


def test_tasks_can_be_read_by_id(project: ProjectState) -> None:
    store(project, [task(number, row(number, number)) for number in range(1, 6)])
    assert project.tasks([4, 2, 99]) == {2: task(2, row(2, 2)), 4: task(4, row(4, 4))}
    assert project.tasks([]) == {}


def test_a_failed_transaction_leaves_the_mirror_as_it_was(project: ProjectState) -> None:
    store(project, [task(1, row(11, 1))])
    with pytest.raises(Exception, match=r"UNIQUE|unique"):
        store(project, [task(2, row(12, 2)), task(2)], span=(0, None))
    assert project.tasks() == {1: task(1, row(11, 1))}


# -- what init found, the model and the window -----------------------------------------------------------------------


def test_originals_are_those_of_the_latest_init_that_looked(project: ProjectState) -> None:
    project.store_originals([Task(1, "a", True, 3, "x", (row(11, 1),)), Task(2, "b", False, 1, "x")])
    project.store_originals([Task(1, "a", False, 1, "x"), Task(3, "c", True, 2, "x", (row(12, 3), row(13, 3, 2)))])
    assert project.originals() == {1: Original(1, False, 0), 3: Original(2, True, 2)}


def test_trained_labels_replace_each_other(project: ProjectState) -> None:
    project.store_trained({1: "Polite", 2: "Impolite"})
    project.store_trained({2: "Polite"})
    assert project.trained() == {2: "Polite"}


def test_what_was_learned_from_another_text_is_not_known_any_more(project: ProjectState) -> None:
    store(project, [task(number, row(number, number)) for number in (1, 2, 3)], span=(0, None))
    learned = dict.fromkeys((1, 2, 3), "Polite")
    project.store_trained(learned)
    other_answer, no_text = task(2, row(2, 2, label="Impolite")), task(3, row(3, 3), text=None)
    assert store(project, [task(1, row(1, 1)), other_answer, no_text], span=(0, None))
    assert project.trained() == learned
    assert store(project, [task(1, row(1, 1), text="Really?")])
    assert project.trained() == {2: "Polite", 3: "Polite"}


def test_a_task_that_is_marked_as_complete_without_an_answer_is_another_task(project: ProjectState) -> None:
    store(project, [task(1), task(2, row(2, 2))])
    assert store(project, [task(1)._replace(is_labeled=True)])
    assert store(project, [task(1)])
    assert not store(project, [task(2, row(2, 2))._replace(is_labeled=False)])  # the queue does that


def test_a_reopened_task_keeps_its_first_overlap_until_it_is_closed(project: ProjectState) -> None:
    project.reopen(5, 1)
    project.reopen(5, 4)
    project.reopen(6, 2)
    assert project.reopened() == {5: 1, 6: 2}
    project.close_task(5)
    project.close_task(99)
    assert project.reopened() == {6: 2}
    project.reopen(5, 4)
    assert project.reopened()[5] == 4


def test_the_window_comes_back_in_rank_order_with_what_it_was_chosen_under(project: ProjectState) -> None:
    slots = [Slot(9, True), Slot(2, False), Slot(5, True, gold=True)]
    project.store_window("activelab-1", 4, slots, {"window": 3})
    known = project.record()
    assert project.window() == slots
    assert [slot.gold for slot in project.window()] == [False, False, True]
    assert (known.queue_version, known.queue_size, known.window_options) == ("activelab-1", 4, {"window": 3})
    project.store_window("activelab-2", 1, [Slot(7, False)], {"window": 1})
    assert project.window() == [Slot(7, False)]


def test_tasks_of_the_audit_are_kept_once_they_are_answered(project: ProjectState) -> None:
    project.put(min_annotations_per_task=2)
    store(project, [task(1), task(2), task(3, row(1, 3)), task(4)])
    slots = [Slot(4, False), Slot(1, False, audit=True), Slot(3, True, audit=True), Slot(2, False, audit=True)]
    project.store_window("activelab-1", 4, slots, {})
    assert [slot.audit for slot in project.window()] == [False, True, True, True]
    assert project.drawn() == {1: Drawn(0, 2), 2: Drawn(0, 2), 3: Drawn(1, 2)}
    store(project, [task(1, row(2, 1)), task(4, row(3, 4))])
    project.put(min_annotations_per_task=1)
    project.store_window("activelab-2", 2, [Slot(3, True, audit=True), Slot(1, True)], {})
    # The first was answered. The second may be drawn again, or be chosen by its score.
    assert project.drawn() == {1: Drawn(0, 2), 3: Drawn(1, 1)}
    project.forget_adoption()
    assert project.drawn() == {}


def test_rounds_are_kept_oldest_first(project: ProjectState) -> None:
    project.store_round(1, {"round": 1, "window": {"size": 3}})
    project.store_round(2, {"round": 2})
    first, second = project.rounds()
    assert (first["round"], first["window"], second["round"]) == (1, {"size": 3}, 2)
    assert first["at"] <= second["at"]
    assert project.last_round() == second
    assert project.record().round == 2


def test_a_project_that_is_forgotten_starts_anew_but_for_what_the_ml_backend_was_trained_on(
    project: ProjectState,
) -> None:
    fresh = project.record()
    project.store_trained({1: "Polite"})
    project.store_round(1, {"round": 1})
    project.store_window("activelab-1", 1, [Slot(1, relabel=True)], {"window": 1})
    project.reopen(1, 1)
    project.put(
        adopted_at="2026-03-01",
        model_version="v3",
        last_sync={"at": "2026-03-01T10:00:00+00:00", "result": "published", "error": None},
        min_annotations_per_task=2,
    )
    project.forget_adoption()
    assert project.record() == fresh
    assert (project.rounds(), project.last_round(), project.window(), project.reopened()) == ([], None, [], {})
    assert project.trained() == {1: "Polite"}


# -- the lock --------------------------------------------------------------------------------------------------------


def holder_of(pid: int, host: str | None = None) -> str:
    return f"{host or socket.gethostname()}:{pid}:abcdef01"


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def dead_holder() -> str:
    """A holder of this machine whose process has ended."""
    code = "from connector.state.lock import new_holder; print(new_holder())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_second_holder_is_told_to_try_again_later(project: ProjectState, state: State) -> None:
    with project.lock():
        with (
            pytest.raises(TryAgainLater, match="Another sync holds this project") as error,
            state.project(URL, 7).lock(),
        ):
            pass
        assert error.value.exit_code == 3
        project.renew_lock()
    with state.project(URL, 7).lock():
        assert state.project(URL, 7).record().lock_holder is not None


def test_other_projects_are_not_held(project: ProjectState, state: State) -> None:
    with project.lock(), state.project(URL, 8).lock():
        project.renew_lock()
        state.project(URL, 7).put(round=1)
    assert state.project(URL, 8).record().lock_holder is None


def test_the_lock_is_given_back_after_an_error(project: ProjectState) -> None:
    with pytest.raises(ConnectorError, match="stop"), project.lock():
        raise ConnectorError("stop")
    assert project.record().lock_holder is None


def test_the_lock_of_a_dead_process_is_taken_over_at_once(project: ProjectState) -> None:
    project.put(lock_holder=dead_holder(), lock_until=time.time() + LOCK_SECONDS)
    with project.lock():
        assert project.record().lock_holder.split(":")[1] == str(os.getpid())


@pytest.mark.parametrize("pid", [1, os.getppid()], ids=["a process of root", "a process of ours"])
def test_the_lock_of_a_living_process_is_respected(project: ProjectState, pid: int) -> None:
    project.put(lock_holder=holder_of(pid), lock_until=time.time() + LOCK_SECONDS)
    with pytest.raises(TryAgainLater), project.lock():
        pass


def test_the_lock_of_another_machine_is_respected_until_it_expires(project: ProjectState) -> None:
    elsewhere = holder_of(dead_pid(), "another-host:with-colon")
    project.put(lock_holder=elsewhere, lock_until=time.time() + 30)
    with pytest.raises(TryAgainLater), project.lock():
        pass
    project.put(lock_until=time.time() - 1)
    with project.lock():
        assert project.record().lock_holder != elsewhere


def test_keeping_the_lock_prolongs_it(project: ProjectState) -> None:
    with project.lock():
        project.put(lock_until=time.time() + 1)
        project.renew_lock()
        assert project.record().lock_until > time.time() + LOCK_SECONDS - 60


def test_who_lost_the_lock_is_told_and_does_not_free_it(project: ProjectState) -> None:
    other = holder_of(os.getppid())
    with project.lock():
        project.put(lock_holder=other)
        with pytest.raises(TryAgainLater, match=r"took this project over\. Nothing more was written"):
            project.renew_lock()
    assert project.record().lock_holder == other


def test_of_many_who_ask_at_once_one_gets_the_lock(state: State) -> None:
    state.project(URL, 7)
    start, end, got = threading.Barrier(8), threading.Barrier(8), []

    def ask(number: int) -> None:
        start.wait()
        try:
            with state.project(URL, 7).lock():
                got.append(number)
                end.wait(20)
        except TryAgainLater:
            end.wait(20)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1

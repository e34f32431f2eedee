"""What a sync must remember: a mirror of the project, what was published, and the settings before `init`.

SQLAlchemy Core over SQLite (the default) or another database that it supports. Every public method is one transaction,
so a process that is killed at any point leaves the state of a finished step.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from connector._compat import batched
from connector.active_learning.window import Slot
from connector.annotations.questions import Questions
from connector.annotations.records import Task
from connector.errors import UsageError
from connector.state import database, schema
from connector.state.audits import AuditRows
from connector.state.labels import LabelRows
from connector.state.linked import LinkedRows
from connector.state.lock import KEEP_SECONDS, ProjectLock
from connector.state.machine_answers import AnswerRows
from connector.state.machines import MachineRows
from connector.state.media import MediaRows
from connector.state.rows import IDS_A_STATEMENT

if TYPE_CHECKING:
    from connector.label_studio.client import LabelStudio

# In place of a label that a model was trained on: it is to be trained anew. No label is empty.
OUTDATED = ""


@dataclass(frozen=True)
class Original:
    """A task as init found it. `answers`: how many annotations and skips it had."""

    overlap: int
    is_labeled: bool
    answers: int


def now() -> str:
    """The present moment in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat()


class State:
    """The state database. `project(url, id)` gives what it has about one project."""

    def __init__(self, url: str) -> None:
        """Opens or creates the database. Raises as database.connect does."""
        self.engine = database.connect(url)

    def close(self) -> None:
        """Ends the connections."""
        self.engine.dispose()

    def project(self, url: str, project_id: int) -> ProjectState:
        """The state of project `project_id` of the Label Studio at `url`, which is created empty if there is none."""
        found = self.at(url, project_id)
        if found is not None:
            return found
        # If another process has made it since, its row is the one.
        with contextlib.suppress(database.DuplicateRow):
            return self.new_project(url, project_id)
        found = self.at(url, project_id)
        assert found is not None
        return found

    def at(self, url: str, project_id: int) -> ProjectState | None:
        """What is known of project `project_id` of the Label Studio at `url`."""
        with self.engine.connect() as db:
            key = db.execute(sa.select(schema.addresses.c.project).where(_address(url, project_id))).scalar()
        return None if key is None else ProjectState(self.engine, key)

    def new_project(self, url: str, project_id: int, *, replacing: ProjectState | None = None) -> ProjectState:
        """An empty state for the project, in place of that of another project which had this address and this id.

        Raises DuplicateRow if the address has a state that is not the one to replace.
        """
        with self.engine.begin() as db:
            made = db.execute(schema.projects.insert().values(url=url, project_id=project_id)).inserted_primary_key
            assert made is not None
            key = int(made[0])
            if replacing is not None:
                old = schema.addresses.c.project == replacing.key
                db.execute(schema.addresses.delete().where(_address(url, project_id) & old))
            db.execute(schema.addresses.insert().values(url=url, project_id=project_id, project=key))
        return ProjectState(self.engine, key)

    def adopted(self, url: str) -> list[int]:
        """The projects of the Label Studio at `url` that `init` has set up and `undo` has not given back."""
        here, rows = schema.addresses.c, schema.projects.c
        wanted = (here.url == url) & (here.project == rows.key) & rows.adopted_at.is_not(None)
        with self.engine.connect() as db:
            return sorted(db.execute(sa.select(here.project_id).where(wanted)).scalars())

    def elsewhere(self, url: str, project_id: int | None = None) -> list[ProjectState]:
        """The projects that `init` has set up at other addresses than `url`: all of them, or those with this id."""
        rows = schema.projects.c
        here = sa.select(schema.addresses.c.project).where(schema.addresses.c.url == url)
        wanted = rows.adopted_at.is_not(None) & rows.key.not_in(here)
        if project_id is not None:
            wanted = wanted & (rows.project_id == project_id)
        with self.engine.connect() as db:
            keys = db.execute(sa.select(rows.key).where(wanted).order_by(rows.project_id, rows.key)).scalars().all()
        return [ProjectState(self.engine, key) for key in keys]


@dataclass(frozen=True)
class QuestionMemory:
    """What is remembered about the model of one of several questions.

    The labels of all questions are in the same rows, as a JSON object each.
    """

    state: ProjectState
    name: str

    def trained(self) -> dict[int, str]:
        """The consensus labels that the question's model was trained on, {task: label}."""
        return {task: labels[self.name] for task, labels in self._all().items() if self.name in labels}

    def store_trained(self, labels: dict[int, str]) -> None:
        """Records them."""
        stored = self._all()
        for known in stored.values():
            known.pop(self.name, None)
        for task, label in labels.items():
            stored.setdefault(task, {})[self.name] = label
        self.state.store_trained({task: json.dumps(known) for task, known in sorted(stored.items()) if known})

    def trained_machines(self) -> dict[str, int]:
        """{machine: how many labels it had} when the question's model was trained."""
        return self.state.trained_machines(self.name)

    def store_trained_machines(self, counts: dict[str, int]) -> None:
        """Records them."""
        self.state.store_trained_machines(counts, self.name)

    def renew_lock(self, *, at_most_every: float = 0.0) -> None:
        """Checks and prolongs the lock of the project."""
        self.state.renew_lock(at_most_every=at_most_every)

    def _all(self) -> dict[int, dict[str, str]]:
        return {task: json.loads(labels) for task, labels in self.state.trained().items()}


def _address(url: str, project_id: int) -> sa.ColumnElement[bool]:
    return (schema.addresses.c.url == url) & (schema.addresses.c.project_id == project_id)


class ProjectState(AuditRows, MediaRows, LinkedRows, LabelRows, MachineRows, AnswerRows):
    """The state of one project: the mirror, what `init` found, what the model was trained on, what is published."""

    def __init__(self, engine: sa.Engine, key: int) -> None:
        super().__init__(engine, key)
        self._lock = ProjectLock(engine, key)

    def require_initialized(self) -> None:
        """Raises UsageError unless `connector init` has set the project up."""
        record = self.record()
        if record.adopted_at is None:  # the message names the address, because one server may have several
            raise UsageError(
                f"Project {record.project_id} of {record.url} is not set up yet: run connector init --project "
                f"{record.project_id} first."
            )

    def require_same(self, project: Mapping[str, Any]) -> None:
        """Raises UsageError if `project`, as Label Studio's API gives it, is another one than `init` set up."""
        record = self.record()
        if difference := record.difference(project):
            raise UsageError(f"{difference} {record.set_up_again}")

    def require_no_undo(self) -> None:
        """Raises UsageError if an undo was interrupted: what runs next is to be that undo again, or init."""
        if interrupted := self.record().interrupted_undo:
            raise UsageError(interrupted)

    def addresses(self) -> list[str]:
        """The addresses of Label Studio at which the project was recognised."""
        here = schema.addresses.c
        with self._engine.connect() as db:
            return sorted(db.execute(sa.select(here.url).where(here.project == self.key)).scalars())

    def add_address(self, url: str) -> None:
        """Records that the Label Studio at `url` has the project."""
        project_id = self.record().project_id
        with self._engine.begin() as db:
            db.execute(schema.addresses.delete().where(_address(url, project_id)))
            db.execute(schema.addresses.insert().values(url=url, project_id=project_id, project=self.key))

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Holds the project for one process, as ProjectLock.hold does."""
        return self._lock.hold()

    @contextlib.contextmanager
    def lock_for_writes(self, gateway: LabelStudio) -> Iterator[None]:
        """Holds the project for one process, and checks before each write of `gateway` that it still does."""
        with self.lock(), gateway.guard_writes(lambda: self.renew_lock(at_most_every=KEEP_SECONDS)):
            yield

    def renew_lock(self, *, at_most_every: float = 0.0) -> None:
        """Checks and prolongs the lock, as ProjectLock.renew does."""
        self._lock.renew(at_most_every=at_most_every)

    def store_originals(self, tasks: Iterable[Task]) -> None:
        """Replaces the recorded overlap, is_labeled and number of annotations of all tasks by those of `tasks`."""
        self._replace(
            schema.originals,
            (
                {
                    "task": task.id,
                    "overlap": task.overlap,
                    "is_labeled": task.is_labeled,
                    "answers": len(task.annotations),
                }
                for task in tasks
            ),
        )

    def originals(self) -> dict[int, Original]:
        """Each task as init found it."""
        return {
            row["task"]: Original(row["overlap"], row["is_labeled"], row["answers"])
            for row in self._all(schema.originals)
        }

    def store_trained(self, labels: dict[int, str]) -> None:
        """Records the consensus labels that the current model was trained on, {task: label}."""
        self._replace(schema.trained, ({"task": task, "label": label} for task, label in labels.items()))

    def trained(self) -> dict[int, str]:
        """The consensus labels that the current model was trained on, {task: label}, of texts that have not changed."""
        return {row["task"]: row["label"] for row in self._all(schema.trained)}

    def remember_annotations_of_excluded(self, tasks: Mapping[int, Task]) -> None:
        """Records which annotations are by annotators whose labels do not count. `tasks`: all of them."""
        found = self.record().found or {}
        excluded, before = found.get("excluded", ()), found.get("annotations_of_excluded", {})
        if not excluded and not before:
            return  # each sync comes here, and a project may have many annotations
        theirs: dict[int, set[int]] = {annotator: set() for annotator in excluded}
        orphans = set()
        for row in (row for task in tasks.values() for row in task.annotations):
            if row.annotator in theirs:
                theirs[row.annotator].add(row.id)
            elif not row.annotator:
                orphans.add(row.id)
        now = {
            str(number): sorted(ids | orphans.intersection(before.get(str(number), ())))
            for number, ids in theirs.items()
        }
        if now != before:
            self.put(found={**found, "annotations_of_excluded": now})

    def memory_of(self, questions: Questions, name: str) -> QuestionMemory | ProjectState:
        """What is remembered about the model of the question `name`."""
        return QuestionMemory(self, name) if len(questions.order) > 1 else self

    def reopen(self, task: int, overlap: int) -> None:
        """Records that `task` is being reopened and which overlap to restore. To be called before it is reopened."""
        with self._engine.begin() as db:
            recorded = self._rows(schema.reopened) & (schema.reopened.c.task == task)
            if db.execute(sa.select(schema.reopened.c.task).where(recorded)).first() is None:
                self._insert(db, schema.reopened, [{"task": task, "overlap": overlap}])

    def reopened(self) -> dict[int, int]:
        """Tasks that were reopened and not closed since, with the overlap to restore."""
        return {row["task"]: row["overlap"] for row in self._all(schema.reopened)}

    def close_task(self, task: int) -> None:
        """Forgets that `task` is reopened."""
        self.close_tasks([task])

    def close_tasks(self, tasks: Iterable[int]) -> None:
        """Forgets that these tasks are reopened."""
        with self._engine.begin() as db:
            for part in batched(tasks, IDS_A_STATEMENT):
                db.execute(
                    schema.reopened.delete().where(self._rows(schema.reopened) & schema.reopened.c.task.in_(part))
                )

    def store_window(self, version: str, size: int, window: Sequence[Slot], options: dict[str, Any]) -> None:
        """Records the window that annotators are now served, with the options it was chosen under.

        `size`: how many predictions Label Studio has of it. Tasks labelled meanwhile are no longer in `window`.
        """
        rows = {task.id: len(task.annotations) for task in self.tasks([slot.task for slot in window]).values()}
        drawn = self._drawn_with(window, rows)
        with self._engine.begin() as db:
            db.execute(schema.window.delete().where(self._rows(schema.window)))
            self._insert(
                db,
                schema.window,
                (
                    {
                        "rank": rank,
                        "task": slot.task,
                        "relabel": slot.relabel,
                        "answers": rows.get(slot.task, 0),
                        "audit": slot.audit,
                        "gold": slot.gold,
                    }
                    for rank, slot in enumerate(window)
                ),
            )
            self._store_drawn(db, drawn)
            db.execute(
                schema.projects.update()
                .where(schema.projects.c.key == self._key)
                .values(queue_version=version, queue_size=size, window_options=options)
            )

    def window(self) -> list[Slot]:
        """The published window in rank order."""
        return [
            Slot(row["task"], row["relabel"], row["audit"], row["gold"])
            for row in sorted(self._all(schema.window), key=lambda row: row["rank"])
        ]

    def answers_at_publishing(self) -> dict[int, int]:
        """How many annotations and skips each task of the window had at its publishing. One more: it was served."""
        return {row["task"]: row["answers"] for row in self._all(schema.window)}

    def store_round(self, number: int, summary: dict[str, Any]) -> None:
        """Records a finished sync that published a window."""
        with self._engine.begin() as db:
            db.execute(schema.projects.update().where(schema.projects.c.key == self._key).values(round=number))
            self._insert(db, schema.rounds, [{"round": number, "at": now(), "summary": summary}])

    def amend_last_round(self, **values: Any) -> None:
        """Changes what the summary of the latest round says, if there is one."""
        last = self.last_round()
        if last is None:
            return
        summary = {name: value for name, value in {**last, **values}.items() if name != "at"}
        latest = self._rows(schema.rounds) & (schema.rounds.c.round == self.record().round)
        with self._engine.begin() as db:
            db.execute(schema.rounds.update().where(latest).values(summary=summary))

    def rounds(self) -> list[dict[str, Any]]:
        """The summaries of all rounds, oldest first, each with `at`, when it ended."""
        rows = sorted(self._all(schema.rounds), key=lambda row: row["round"])
        return [{**row["summary"], "at": row["at"]} for row in rows]

    def last_round(self) -> dict[str, Any] | None:
        """The summary of the latest round with `at`, or None before the first."""
        newest = sa.select(schema.rounds).where(self._rows(schema.rounds)).order_by(schema.rounds.c.round.desc())
        with self._engine.connect() as db:
            row = db.execute(newest.limit(1)).mappings().first()
        return None if row is None else {**row["summary"], "at": row["at"]}

    def forget_adoption(self) -> None:
        """Forgets what init found, what is published and the rounds.

        What the ML backend was trained on stays, and so do answers of models that were paid for.
        """
        with self._engine.begin() as db:
            found_and_made = (schema.originals, schema.window, schema.reopened, schema.published_labels, schema.rounds)
            more = (
                *(schema.accepted, schema.audits, schema.media, schema.linked_texts),
                *(schema.machine_labels, schema.shown_labels),
            )
            for table in (*found_and_made, *more):
                db.execute(table.delete().where(self._rows(table)))
            blank = (
                *("adopted_at", "original_settings", "found", "bookmark", "full_read", "queue_version", "queue_size"),
                *("window_options", "model_version", "last_sync", "finish", "machines", "trained_machines"),
            )
            db.execute(
                schema.projects.update()
                .where(schema.projects.c.key == self._key)
                .values(**dict.fromkeys(blank), round=0, min_annotations_per_task=1)
            )

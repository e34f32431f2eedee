"""What a sync must remember: a mirror of the project, what was published, and the project's settings as `init` found
them.

SQLAlchemy Core over SQLite (default) or any other database it speaks. Every public method is one transaction, so a
process killed anywhere leaves the state of a finished step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

from connector import database, schema
from connector.annotations import Annotation, Task, answers
from connector.lock import ProjectLock
from connector.selection import Slot

_CHUNK = 500  # below SQLite's limit on bound parameters


@dataclass(frozen=True)
class Original:
    """A task as init found it; `answers`: how many annotations and skips it had, None in an old state database."""

    overlap: int
    is_labeled: bool
    answers: int | None


def now() -> str:
    """The present moment in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat()


class State:
    """The state database; `project(url, id)` gives what is kept about one project."""

    def __init__(self, url: str) -> None:
        """Opens or creates the database; raises as database.connect."""
        self.engine = database.connect(url)

    def close(self) -> None:
        """Ends the connections."""
        self.engine.dispose()

    def project(self, url: str, project_id: int) -> ProjectState:
        """What is kept about project `project_id` of the Label Studio at `url`; made empty where nothing is."""
        mine = (schema.projects.c.url == url) & (schema.projects.c.project_id == project_id)
        find = sa.select(schema.projects.c.key).where(mine)
        with self.engine.connect() as db:
            key = db.execute(find).scalar()
        if key is None:
            # Another process may have made it since: then its row is the one.
            with contextlib.suppress(sa.exc.IntegrityError), self.engine.begin() as db:
                db.execute(schema.projects.insert().values(url=url, project_id=project_id))
            with self.engine.connect() as db:
                key = db.execute(find).scalar_one()
        return ProjectState(self.engine, int(key))

    def adopted(self, url: str) -> list[int]:
        """The projects of the Label Studio at `url` that `init` has set up and `undo` has not given back."""
        wanted = (schema.projects.c.url == url) & schema.projects.c.adopted_at.is_not(None)
        with self.engine.connect() as db:
            found = db.execute(sa.select(schema.projects.c.project_id).where(wanted)).scalars()
            return sorted(found)


class ProjectState:
    """One project's rows of the state database."""

    def __init__(self, engine: sa.Engine, key: int) -> None:
        self._engine = engine
        self._key = key
        self._lock = ProjectLock(engine, key)

    # -- the project's own row ---------------------------------------------------------------------------------------

    def get(self) -> dict[str, Any]:
        """The project's row, by column name."""
        with self._engine.connect() as db:
            return dict(
                db.execute(sa.select(schema.projects).where(schema.projects.c.key == self._key)).mappings().one()
            )

    def put(self, **values: Any) -> None:
        """Sets columns of the project's row."""
        with self._engine.begin() as db:
            db.execute(schema.projects.update().where(schema.projects.c.key == self._key).values(**values))

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Holds the project for one process, as ProjectLock.hold says."""
        return self._lock.hold()

    def keep_lock(self, *, at_most_every: float = 0.0) -> None:
        """Says that the holder is alive, as ProjectLock.keep says."""
        self._lock.keep(at_most_every=at_most_every)

    # -- the mirror --------------------------------------------------------------------------------------------------

    def store_tasks(
        self,
        tasks: Sequence[Task],
        texts: Mapping[int, str],
        *,
        span: tuple[int, int | None] | None = None,
        **columns: Any,
    ) -> bool:
        """Replaces the mirror's copies of `tasks` and their annotations, with their `texts` {task: text}.

        `span` (after, upto): every other task whose id is above `after`, up to `upto` if that is not None, is dropped.
        `columns` of the project's row are set in the same transaction. Returns whether a text, or what people did,
        differs from before; then the published window's options are forgotten, too, but for the rule for skipped
        tasks: a new window is due, whatever becomes of this sync.
        """
        with self._engine.begin() as db:
            ids = [task.id for task in tasks]
            before = self._tasks_in(db, list(_chunks(ids)) if span is None else [span])
            renewed = [task for task in tasks if task != before.get(task.id)]
            gone = sorted(before.keys() - set(ids))
            for part in _chunks([*(task.id for task in renewed), *gone]):
                for table, column in ((schema.annotation_rows, "task"), (schema.tasks, "id")):
                    db.execute(table.delete().where(self._rows(table) & table.c[column].in_(part)))
            self._insert(
                db,
                schema.tasks,
                (
                    {
                        **{name: getattr(task, name) for name in Task._fields if name != "annotations"},
                        "text": texts.get(task.id),
                    }
                    for task in renewed
                ),
            )
            self._insert(db, schema.annotation_rows, (row._asdict() for task in renewed for row in task.annotations))
            known = ((task, before.get(task.id)) for task in renewed)
            differs = bool(gone) or any(old is None or answers(old) != answers(new) for new, old in known)
            mine = schema.projects.c.key == self._key
            if differs:
                columns["window_options"] = self._rule_alone(db)
            if columns:
                db.execute(schema.projects.update().where(mine).values(**columns))
        return differs

    def ask_for_a_window(self) -> None:
        """Forgets what the published window was chosen under: a new one is due."""
        with self._engine.begin() as db:
            mine = schema.projects.c.key == self._key
            db.execute(schema.projects.update().where(mine).values(window_options=self._rule_alone(db)))

    def _rule_alone(self, db: sa.Connection) -> dict[str, Any]:
        """The options of the published window without all but the rule for skipped tasks.

        That is the rule under which the flags of the mirrored tasks were read; it may change before a sync ends.
        """
        mine = schema.projects.c.key == self._key
        options = db.execute(sa.select(schema.projects.c.window_options).where(mine)).scalar_one() or {}
        return {name: options[name] for name in options if name == "skip_queue"}

    def tasks(self, ids: Iterable[int] | None = None) -> dict[int, Task]:
        """The mirrored tasks by id, with their annotations: all of them, or those of `ids` that are there."""
        with self._engine.connect() as db:
            return self._tasks_in(db, [(0, None)] if ids is None else list(_chunks(list(ids))))

    def texts(self, ids: Iterable[int]) -> dict[int, str]:
        """The texts of those of the tasks `ids` that have one."""
        tasks, found = schema.tasks.c, {}
        read = sa.select(tasks.id, tasks.text).where(self._rows(schema.tasks) & tasks.text.is_not(None))
        with self._engine.connect() as db:
            for part in _chunks(list(ids)):
                found.update({row.id: row.text for row in db.execute(read.where(tasks.id.in_(part)))})
        return found

    def counts(self, span: tuple[int, int | None] = (0, None)) -> tuple[int, int, int]:
        """How many tasks, annotations and skips the mirror has of the tasks whose ids lie in `span`."""
        tasks, rows = schema.tasks, schema.annotation_rows
        skips = sa.func.coalesce(sa.func.sum(sa.cast(rows.c.skipped, sa.Integer)), 0)
        with self._engine.connect() as db:
            count = sa.select(sa.func.count()).select_from(tasks).where(self._rows(tasks) & _within(tasks.c.id, span))
            n_tasks = db.execute(count).scalar_one()
            found = sa.select(sa.func.count(), skips).where(self._rows(rows) & _within(rows.c.task, span))
            n_rows, n_skips = db.execute(found).one()
        return n_tasks, n_rows - n_skips, n_skips

    def nth_task(self, span: tuple[int, int | None], place: int) -> int:
        """The id of the mirror's task at `place` (0 is the first) among those of `span`, by id."""
        ids = sa.select(schema.tasks.c.id).where(self._rows(schema.tasks) & _within(schema.tasks.c.id, span))
        with self._engine.connect() as db:
            return int(db.execute(ids.order_by(schema.tasks.c.id).offset(place).limit(1)).scalar_one())

    def _tasks_in(self, db: sa.Connection, parts: Sequence[list[int] | tuple[int, int | None]]) -> dict[int, Task]:
        """The mirrored tasks of the parts, each a list of ids or a span of them."""
        tasks, rows = schema.tasks.c, schema.annotation_rows.c
        read_tasks = sa.select(*(tasks[name] for name in Task._fields if name != "annotations"))
        read_tasks = read_tasks.where(self._rows(schema.tasks)).order_by(tasks.id)
        read_rows = sa.select(*(rows[name] for name in Annotation._fields))
        read_rows = read_rows.where(self._rows(schema.annotation_rows)).order_by(rows.id)
        by_task: dict[int, list[Annotation]] = {}
        found: list[Sequence[Any]] = []
        for part in parts:
            for row in db.execute(read_rows.where(_within(rows.task, part))).all():
                by_task.setdefault(row.task, []).append(Annotation._make(row))
            found += db.execute(read_tasks.where(_within(tasks.id, part))).all()
        return {row[0]: Task._make((*row, tuple(by_task.get(row[0], ())))) for row in found}

    # -- what init found, what the model knows, what is published ----------------------------------------------------

    def store_originals(self, tasks: Iterable[Task]) -> None:
        """Remembers overlap, is_labeled and the number of annotations of tasks, and forgets what it knew before."""
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
        """Remembers the consensus labels that the current model was trained on, {task: class}."""
        self._replace(schema.trained, ({"task": task, "label": label} for task, label in labels.items()))

    def trained(self) -> dict[int, str]:
        """The consensus labels that the current model was trained on, {task: class}."""
        return {row["task"]: row["label"] for row in self._all(schema.trained)}

    def store_consensus(self, labels: Mapping[int, tuple[str, float] | None]) -> None:
        """Remembers what of the consensus Label Studio has, {task: (label, quality), None where nothing any more}."""
        rows = [{"task": task, "label": of[0], "quality": of[1]} for task, of in labels.items() if of is not None]
        with self._engine.begin() as db:
            for part in _chunks(list(labels)):
                mine = self._rows(schema.consensus) & schema.consensus.c.task.in_(part)
                db.execute(schema.consensus.delete().where(mine))
            self._insert(db, schema.consensus, rows)

    def consensus(self) -> dict[int, tuple[str, float]]:
        """The consensus labels that Label Studio has as predictions, {task: (label, quality)}."""
        return {row["task"]: (row["label"], row["quality"]) for row in self._all(schema.consensus)}

    def forget_consensus(self) -> None:
        """Forgets what of the consensus Label Studio has."""
        self._replace(schema.consensus, [])

    def reopen(self, task: int, overlap: int) -> None:
        """Remembers, before Label Studio is asked, that `task` is being reopened and which overlap to restore."""
        with self._engine.begin() as db:
            known = self._rows(schema.reopened) & (schema.reopened.c.task == task)
            if db.execute(sa.select(schema.reopened.c.task).where(known)).first() is None:
                self._insert(db, schema.reopened, [{"task": task, "overlap": overlap}])

    def reopened(self) -> dict[int, int]:
        """Tasks that were reopened and not closed since, with the overlap to restore."""
        return {row["task"]: row["overlap"] for row in self._all(schema.reopened)}

    def close_task(self, task: int) -> None:
        """Forgets that `task` is reopened."""
        with self._engine.begin() as db:
            db.execute(schema.reopened.delete().where(self._rows(schema.reopened) & (schema.reopened.c.task == task)))

    def store_window(self, version: str, size: int, window: Sequence[Slot], options: dict[str, Any]) -> None:
        """Remembers the window that annotators are now served, with the options it was chosen under.

        `size`: how many predictions Label Studio holds of it; tasks labelled meanwhile are no longer in `window`.
        """
        rows = {task.id: len(task.annotations) for task in self.tasks([slot.task for slot in window]).values()}
        with self._engine.begin() as db:
            db.execute(schema.window.delete().where(self._rows(schema.window)))
            self._insert(
                db,
                schema.window,
                (
                    {"rank": rank, "task": slot.task, "relabel": slot.relabel, "answers": rows.get(slot.task, 0)}
                    for rank, slot in enumerate(window)
                ),
            )
            db.execute(
                schema.projects.update()
                .where(schema.projects.c.key == self._key)
                .values(queue_version=version, queue_size=size, window_options=options)
            )

    def window(self) -> list[Slot]:
        """The published window in rank order."""
        return [
            Slot(row["task"], row["relabel"]) for row in sorted(self._all(schema.window), key=lambda row: row["rank"])
        ]

    def answers_at_publishing(self) -> dict[int, int]:
        """How many annotations and skips each task of the published window had then: one more, and it was served."""
        return {row["task"]: row["answers"] for row in self._all(schema.window)}

    def store_round(self, number: int, summary: dict[str, Any]) -> None:
        """Records a finished sync that published a window."""
        with self._engine.begin() as db:
            db.execute(schema.projects.update().where(schema.projects.c.key == self._key).values(round=number))
            self._insert(db, schema.rounds, [{"round": number, "at": now(), "summary": summary}])

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
        """Forgets what init found and what is published, as before `init`; the rounds stay."""
        with self._engine.begin() as db:
            for table in (schema.originals, schema.window, schema.reopened, schema.consensus):
                db.execute(table.delete().where(self._rows(table)))
            blank = ("adopted_at", "original_settings", "found", "bookmark", "full_read", "queue_version", "queue_size")
            db.execute(
                schema.projects.update()
                .where(schema.projects.c.key == self._key)
                .values(**dict.fromkeys((*blank, "window_options")), min_annotations_per_task=1)
            )

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _rows(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return table.c.project == self._key

    def _all(self, table: sa.Table) -> Sequence[sa.RowMapping]:
        with self._engine.connect() as db:
            return db.execute(sa.select(table).where(self._rows(table))).mappings().all()

    def _insert(self, db: sa.Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
        values = [{**row, "project": self._key} for row in rows]
        if values:
            db.execute(table.insert(), values)

    def _replace(self, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
        with self._engine.begin() as db:
            db.execute(table.delete().where(self._rows(table)))
            self._insert(db, table, rows)


def _within(column: sa.ColumnElement[int], part: list[int] | tuple[int, int | None]) -> sa.ColumnElement[bool]:
    """Whether the column is one of a list of ids, or above the first and up to the second of a span."""
    if isinstance(part, list):
        return column.in_(part)
    after, upto = part
    return column > after if upto is None else (column > after) & (column <= upto)


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]

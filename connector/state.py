"""What a sync must remember: a mirror of the project, what was published, and the project's settings as `init` found
them.

SQLAlchemy Core over SQLite (default) or any other database it speaks. Every public method is one transaction, so a
process killed anywhere leaves the state of a finished step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

from connector import database, schema
from connector.annotations import Annotation, Task
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

    def store_tasks(self, tasks: Sequence[Task], *, all_of_them: bool = False) -> None:
        """Replaces the mirror's copies of `tasks` and their annotations; `all_of_them` drops every other task."""
        mine = self._rows
        with self._engine.begin() as db:
            if all_of_them:
                db.execute(schema.annotation_rows.delete().where(mine(schema.annotation_rows)))
                db.execute(schema.tasks.delete().where(mine(schema.tasks)))
            else:
                for ids in _chunks([task.id for task in tasks]):
                    db.execute(
                        schema.annotation_rows.delete().where(
                            mine(schema.annotation_rows) & schema.annotation_rows.c.task.in_(ids)
                        )
                    )
                    db.execute(schema.tasks.delete().where(mine(schema.tasks) & schema.tasks.c.id.in_(ids)))
            self._insert(
                db,
                schema.tasks,
                (
                    {
                        "id": task.id,
                        "text": task.text,
                        "is_labeled": task.is_labeled,
                        "overlap": task.overlap,
                        "updated_at": task.updated_at,
                    }
                    for task in tasks
                ),
            )
            self._insert(db, schema.annotation_rows, (row._asdict() for task in tasks for row in task.annotations))

    def tasks(self, ids: Iterable[int] | None = None) -> dict[int, Task]:
        """The mirrored tasks by id, with their annotations: all of them, or those of `ids` that are there."""
        tasks, rows = schema.tasks.c, schema.annotation_rows.c
        read_tasks = sa.select(*(tasks[name] for name in Task._fields if name != "annotations"))
        read_tasks = read_tasks.where(self._rows(schema.tasks)).order_by(tasks.id)
        read_rows = sa.select(*(rows[name] for name in Annotation._fields))
        read_rows = read_rows.where(self._rows(schema.annotation_rows)).order_by(rows.id)
        by_task: dict[int, list[Annotation]] = {}
        found: list[Sequence[Any]] = []
        with self._engine.connect() as db:
            for part in [None] if ids is None else _chunks(list(ids)):
                of_part = read_rows if part is None else read_rows.where(rows.task.in_(part))
                for row in db.execute(of_part).all():
                    by_task.setdefault(row.task, []).append(Annotation._make(row))
                found += db.execute(read_tasks if part is None else read_tasks.where(tasks.id.in_(part))).all()
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
        answers = {task.id: len(task.annotations) for task in self.tasks([slot.task for slot in window]).values()}
        with self._engine.begin() as db:
            db.execute(schema.window.delete().where(self._rows(schema.window)))
            self._insert(
                db,
                schema.window,
                (
                    {"rank": rank, "task": slot.task, "relabel": slot.relabel, "answers": answers.get(slot.task, 0)}
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
            for table in (schema.originals, schema.window, schema.reopened):
                db.execute(table.delete().where(self._rows(table)))
            blank = ("adopted_at", "original_settings", "found", "bookmark", "queue_version", "queue_size")
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


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]

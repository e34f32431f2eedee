"""What a sync must remember: a mirror of the project, what was published, and the project's settings as `init` found
them.

SQLAlchemy Core over SQLite (default) or any other database it speaks. Every public method is one transaction, so a
process killed anywhere leaves the state of a finished step.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from connector import schema
from connector.annotations import Annotation, Task
from connector.errors import UsageError
from connector.lock import ProjectLock
from connector.selection import Slot

_CHUNK = 500  # below SQLite's limit on bound parameters


def now() -> str:
    """The present moment in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat()


def _create_tables(engine: sa.Engine, attempts: int = 10) -> int:
    """Makes the tables that are not there; the schema's version."""
    try:
        with engine.begin() as db:
            schema.metadata.create_all(db)
            version = db.execute(sa.select(schema.meta.c.schema_version)).scalar()
            if version is None:
                db.execute(schema.meta.insert().values(schema_version=schema.VERSION))
        return int(version or schema.VERSION)
    except sa.exc.DBAPIError as error:
        # Another process may be making the same tables; SQLite tells that in words alone.
        if attempts == 1 or not (isinstance(error, sa.exc.IntegrityError) or "already exists" in str(error)):
            raise
        time.sleep(0.1)
        return _create_tables(engine, attempts - 1)


class State:
    """The state database; `project(url, id)` gives what is kept about one project."""

    def __init__(self, url: str) -> None:
        """Opens or creates the database. Raises UsageError when it cannot be."""
        try:
            parsed = sa.make_url(url)
            if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
                Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
            # Another process may be writing its mirror; SQLite's own patience of 5 s is short for that.
            patience = {"timeout": 60} if parsed.get_backend_name() == "sqlite" else {}
            self.engine = sa.create_engine(parsed, connect_args=patience)
            version = _create_tables(self.engine)
        except (sa.exc.SQLAlchemyError, OSError, ImportError, ValueError) as error:
            detail = getattr(error, "orig", None) or error
            raise UsageError(f"The state database in CONNECTOR_STATE cannot be opened: {detail}.") from error
        if version != schema.VERSION:
            self.engine.dispose()
            raise UsageError(
                f"The state database has schema {version} and this connector knows {schema.VERSION}: "
                "use the connector version that wrote it, or a newer one."
            )

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
            self._insert(db, schema.annotation_rows, (vars(row) for task in tasks for row in task.annotations))

    def tasks(self, ids: Iterable[int] | None = None) -> dict[int, Task]:
        """The mirrored tasks by id, with their annotations: all of them, or those of `ids` that are there."""
        where_task, where_row = self._rows(schema.tasks), self._rows(schema.annotation_rows)
        with self._engine.connect() as db:
            if ids is None:
                task_rows = (
                    db.execute(sa.select(schema.tasks).where(where_task).order_by(schema.tasks.c.id)).mappings().all()
                )
                rows = (
                    db.execute(sa.select(schema.annotation_rows).where(where_row).order_by(schema.annotation_rows.c.id))
                    .mappings()
                    .all()
                )
            else:
                task_rows, rows = [], []
                for part in _chunks(list(ids)):
                    task_rows += (
                        db.execute(sa.select(schema.tasks).where(where_task & schema.tasks.c.id.in_(part)))
                        .mappings()
                        .all()
                    )
                    rows += (
                        db.execute(
                            sa.select(schema.annotation_rows)
                            .where(where_row & schema.annotation_rows.c.task.in_(part))
                            .order_by(schema.annotation_rows.c.id)
                        )
                        .mappings()
                        .all()
                    )
        by_task: dict[int, list[Annotation]] = {}
        for row in rows:
            values = {name: value for name, value in row.items() if name != "project"}
            by_task.setdefault(row["task"], []).append(Annotation(**values))
        return {
            row["id"]: Task(
                row["id"],
                row["text"],
                row["is_labeled"],
                row["overlap"],
                row["updated_at"],
                tuple(by_task.get(row["id"], ())),
            )
            for row in task_rows
        }

    # -- what init found, what the model knows, what is published ----------------------------------------------------

    def store_originals(self, tasks: Iterable[Task]) -> None:
        """Remembers overlap and is_labeled of tasks that are not remembered yet."""
        known = {row["task"] for row in self._all(schema.originals)}
        with self._engine.begin() as db:
            self._insert(
                db,
                schema.originals,
                (
                    {"task": task.id, "overlap": task.overlap, "is_labeled": task.is_labeled}
                    for task in tasks
                    if task.id not in known
                ),
            )

    def originals(self) -> dict[int, tuple[int, bool]]:
        """Overlap and is_labeled of each task as init found them."""
        return {row["task"]: (row["overlap"], row["is_labeled"]) for row in self._all(schema.originals)}

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
        with self._engine.begin() as db:
            db.execute(schema.window.delete().where(self._rows(schema.window)))
            self._insert(
                db,
                schema.window,
                ({"rank": rank, "task": slot.task, "relabel": slot.relabel} for rank, slot in enumerate(window)),
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

    def store_round(self, number: int, summary: dict[str, Any]) -> None:
        """Records a finished sync that published a window."""
        with self._engine.begin() as db:
            db.execute(schema.projects.update().where(schema.projects.c.key == self._key).values(round=number))
            self._insert(db, schema.rounds, [{"round": number, "at": now(), "summary": summary}])

    def rounds(self) -> list[dict[str, Any]]:
        """The summaries of all rounds, oldest first."""
        return [row["summary"] for row in sorted(self._all(schema.rounds), key=lambda row: row["round"])]

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

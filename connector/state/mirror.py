"""The mirror: a project's tasks and annotations, as last read from Label Studio, in the state database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from connector._compat import batched
from connector.annotations.records import Annotation, Task, answers
from connector.state import schema
from connector.state.rows import IDS_A_STATEMENT, ProjectRows


class MirrorRows(ProjectRows):
    """The mirrored tasks of a project, with their annotations and texts."""

    def store_tasks(
        self,
        tasks: Sequence[Task],
        texts: Mapping[int, str],
        *,
        span: tuple[int, int | None] | None = None,
        **columns: Any,
    ) -> bool:
        """Replaces the mirror's copies of `tasks` and their annotations.

        If a text or an annotation differs, a new window is due, whatever becomes of this sync: the options of the
        published window are forgotten, except the rule for skipped tasks. The labels of tasks with another text no
        longer count among those that the model was trained on.

        Args:
            tasks: The tasks as Label Studio has them.
            texts: {task: text} of those that have one.
            span: (after, upto): other tasks with an id above `after`, and up to `upto` if it is not None, are dropped.
            columns: Columns of the project's row to set in the same transaction.

        Returns:
            Whether a text or an annotation differs from before.
        """
        with self._engine.begin() as db:
            ids = [task.id for task in tasks]
            before = self._tasks_in(db, _parts(ids) if span is None else [span])
            renewed = [task for task in tasks if task != before.get(task.id)]
            gone = sorted(before.keys() - set(ids))
            for part in batched([*(task.id for task in renewed), *gone], IDS_A_STATEMENT):
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
            pairs = [(task, before.get(task.id)) for task in renewed]
            differs = bool(gone) or any(old is None or answers(old) != answers(new) for new, old in pairs)
            # What the model learned from a task, it learned from the text before.
            other = [new.id for new, old in pairs if old is not None and new.digest not in (None, old.digest)]
            for part in batched(other, IDS_A_STATEMENT):
                db.execute(schema.trained.delete().where(self._rows(schema.trained) & schema.trained.c.task.in_(part)))
            mine = schema.projects.c.key == self._key
            if differs:
                columns["window_options"] = self._rule_alone(db)
            if columns:
                db.execute(schema.projects.update().where(mine).values(**columns))
        return differs

    def ask_for_a_window(self) -> None:
        """Forgets the options of the published window, so that a new one is due."""
        with self._engine.begin() as db:
            mine = schema.projects.c.key == self._key
            db.execute(schema.projects.update().where(mine).values(window_options=self._rule_alone(db)))

    def _rule_alone(self, db: sa.Connection) -> dict[str, Any]:
        """Of the options of the published window, the rule for skipped tasks.

        The flags of the mirrored tasks were read under that rule, which may change before a sync ends.
        """
        mine = schema.projects.c.key == self._key
        options = db.execute(sa.select(schema.projects.c.window_options).where(mine)).scalar_one() or {}
        return {name: options[name] for name in options if name == "skip_queue"}

    def tasks(self, ids: Iterable[int] | None = None) -> dict[int, Task]:
        """The mirrored tasks by id, with their annotations: all of them, or those of `ids` that are there."""
        with self._engine.connect() as db:
            return self._tasks_in(db, [(0, None)] if ids is None else _parts(ids))

    def texts(self, ids: Iterable[int]) -> dict[int, str]:
        """The texts of those of the tasks `ids` that have one."""
        tasks, found = schema.tasks.c, {}
        read = sa.select(tasks.id, tasks.text).where(self._rows(schema.tasks) & tasks.text.is_not(None))
        with self._engine.connect() as db:
            for part in batched(ids, IDS_A_STATEMENT):
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
        return {row[0]: Task._make((*row[:-1], tuple(by_task.get(row[0], ())), row[-1])) for row in found}


def _parts(ids: Iterable[int]) -> list[list[int]]:
    """The ids in lists that one statement takes."""
    return [list(part) for part in batched(ids, IDS_A_STATEMENT)]


def _within(column: sa.ColumnElement[int], part: list[int] | tuple[int, int | None]) -> sa.ColumnElement[bool]:
    """Whether the column is one of a list of ids, or above the first and up to the second of a span."""
    if isinstance(part, list):
        return column.in_(part)
    after, upto = part
    return column > after if upto is None else (column > after) & (column <= upto)

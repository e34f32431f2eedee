"""Labels that are published as predictions, and the model's labels that were accepted, in the state database."""

from __future__ import annotations

from collections.abc import Mapping

from connector._compat import batched
from connector.state import schema
from connector.state.rows import IDS_A_STATEMENT, Accepted, Finish, ProjectRows, Shown


class LabelRows(ProjectRows):
    """Which labels Label Studio has as predictions of versions of their own, and which of the model are accepted."""

    def store_published(self, version: str, labels: Mapping[int, tuple[str, float] | None]) -> None:
        """Records which labels Label Studio has, {task: (label, quality), None if none any more}."""
        rows = [
            {"version": version, "task": task, "label": found[0], "quality": found[1]}
            for task, found in labels.items()
            if found is not None
        ]
        table = schema.published_labels
        with self._engine.begin() as db:
            for part in batched(labels, IDS_A_STATEMENT):
                mine = self._rows(table) & (table.c.version == version) & table.c.task.in_(part)
                db.execute(table.delete().where(mine))
            self._insert(db, table, rows)

    def published_labels(self, version: str) -> dict[int, tuple[str, float]]:
        """The labels that Label Studio has as predictions of a version, {task: (label, quality)}."""
        rows = self._all(schema.published_labels)
        return {row["task"]: (row["label"], row["quality"]) for row in rows if row["version"] == version}

    def forget_published(self, version: str) -> None:
        """Forgets which labels of a version Label Studio has."""
        table = schema.published_labels
        with self._engine.begin() as db:
            db.execute(table.delete().where(self._rows(table) & (table.c.version == version)))

    def store_shown(self, labels: Mapping[int, str], at: str) -> None:
        """Records which labels the window shows preselected from now on, {task: label}, and no others.

        `at`: now, ISO 8601.
        """
        table = schema.shown_labels
        now_shown = {row["task"]: row["label"] for row in self._all(table) if row["until"] is None}
        ended = [task for task, label in now_shown.items() if labels.get(task) != label]
        new = [task for task, label in labels.items() if now_shown.get(task) != label]
        with self._engine.begin() as db:
            for part in batched(ended, IDS_A_STATEMENT):
                mine = self._rows(table) & table.c.until.is_(None) & table.c.task.in_(part)
                db.execute(table.update().where(mine).values(until=at))
            self._insert(db, table, ({"task": task, "since": at, "label": labels[task]} for task in new))

    def shown_labels(self) -> dict[int, list[Shown]]:
        """The labels that annotators saw preselected, {task: labels}."""
        found: dict[int, list[Shown]] = {}
        for row in self._all(schema.shown_labels):
            found.setdefault(row["task"], []).append(Shown(row["label"], row["since"], row["until"]))
        return found

    def store_accepted(self, labels: Mapping[int, Accepted], finish: Finish | None) -> None:
        """Replaces the accepted labels of the model. `finish`: what they were accepted by. None: there are none."""
        with self._engine.begin() as db:
            db.execute(schema.accepted.delete().where(self._rows(schema.accepted)))
            self._insert(db, schema.accepted, ({"task": task, **one._asdict()} for task, one in labels.items()))
            mine = schema.projects.c.key == self._key
            db.execute(schema.projects.update().where(mine).values(finish=finish))

    def accepted(self) -> dict[int, Accepted]:
        """The accepted labels of the model, also of tasks that have another text since, or a label."""
        return {
            row["task"]: Accepted(row["label"], row["probability"], row["digest"]) for row in self._all(schema.accepted)
        }

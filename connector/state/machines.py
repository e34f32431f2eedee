"""Labels by machines in the state database: predictions of a model version, and answers of models that were asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from connector._compat import batched
from connector.state import schema
from connector.state.rows import IDS_A_STATEMENT, Machine, MachineLabel, ProjectRows


class MachineRows(ProjectRows):
    """Which machines label the project beside people, and their labels."""

    def machines(self) -> dict[str, Machine]:
        """The machines by name: a model version of predictions, or the name of a model that was asked."""
        return dict(self.record().machines or {})

    def put_machine(self, name: str, machine: Machine) -> None:
        """Adds a machine, or records what is known of it."""
        self.put(machines={**self.machines(), name: machine})

    def drop_machine(self, name: str) -> None:
        """Forgets a machine and its labels."""
        table, mine = schema.machine_labels, schema.projects.c.key == self._key
        others = {other: machine for other, machine in self.machines().items() if other != name}
        with self._engine.begin() as db:
            db.execute(table.delete().where(self._rows(table) & (table.c.machine == name)))
            db.execute(schema.projects.update().where(mine).values(machines=others))

    def trained_machines(self, question: str = "") -> dict[str, int]:
        """{machine: how many labels it had} when the model of a question was trained. "": of the only one."""
        return dict((self.record().trained_machines or {}).get(question, {}))

    def store_trained_machines(self, counts: dict[str, int], question: str = "") -> None:
        """Records them."""
        known = self.record().trained_machines or {}
        if counts != known.get(question, {}):
            self.put(trained_machines={**known, question: counts})

    def store_machine_labels(
        self, name: str, labels: Mapping[int, MachineLabel], *, gone: Collection[int] = ()
    ) -> None:
        """Adds or replaces labels of a machine, {task: label}. `gone`: tasks that have none any more."""
        table = schema.machine_labels
        with self._engine.begin() as db:
            for part in batched([*labels, *gone], IDS_A_STATEMENT):
                db.execute(table.delete().where(self._rows(table) & (table.c.machine == name) & table.c.task.in_(part)))
            self._insert(db, table, ({"machine": name, "task": task, **one._asdict()} for task, one in labels.items()))

    def stored_machine_labels(self, name: str) -> dict[int, MachineLabel]:
        """All labels of a machine, {task: label}, also those that cannot be read or were of another text."""
        table = schema.machine_labels
        read = sa.select(*(table.c[column] for column in ("task", *MachineLabel._fields)))
        with self._engine.connect() as db:
            rows = db.execute(read.where(self._rows(table) & (table.c.machine == name)).order_by(table.c.task)).all()
        return {row[0]: MachineLabel._make(row[1:]) for row in rows}

    def machine_labels(self) -> dict[str, dict[int, MachineLabel]]:
        """The labels that count, {machine: {task: label}}: of tasks that still show what the machine was given."""
        table, tasks = schema.machine_labels, schema.tasks
        read = sa.select(*(table.c[column] for column in ("machine", "task", *MachineLabel._fields)))
        same = (tasks.c.project == table.c.project) & (tasks.c.id == table.c.task) & (tasks.c.digest == table.c.digest)
        found: dict[str, dict[int, MachineLabel]] = {name: {} for name in self.machines()}
        if not found:
            return found  # each sync comes here
        with self._engine.connect() as db:
            rows = db.execute(
                read.select_from(table.join(tasks, same))
                .where(self._rows(table) & table.c.label.is_not(None))
                .order_by(table.c.task)
            ).all()
        for row in rows:
            if row[0] in found:
                found[row[0]][row[1]] = MachineLabel._make(row[2:])
        return found

"""The tasks of the audit in the state database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from connector.active_learning.audit import Audit, Drawn
from connector.active_learning.window import Slot
from connector.state import schema
from connector.state.mirror import MirrorRows


class AuditRows(MirrorRows):
    """Which tasks were drawn at random."""

    def drawn(self) -> dict[int, Drawn]:
        """The tasks of the audit that were answered since, and those of the published window."""
        return {row["task"]: Drawn(row["answers"], row["wanted"]) for row in self._all(schema.audits)}

    def _drawn_with(self, window: Sequence[Slot], answers: Mapping[int, int]) -> dict[int, Drawn]:
        """The tasks that were drawn and answered, and those of a new window. The others may be drawn again.

        `answers`: {task: how many annotations and skips it has}.
        """
        drawn, wanted = self.drawn(), self.record().min_annotations_per_task
        answered = Audit(drawn=drawn).answered(self.tasks(list(drawn)))
        new = {slot.task: Drawn(answers.get(slot.task, 0), wanted) for slot in window if slot.audit}
        return new | {task: drawn[task] for task in sorted(answered)}

    def _store_drawn(self, db: sa.Connection, drawn: Mapping[int, Drawn]) -> None:
        db.execute(schema.audits.delete().where(self._rows(schema.audits)))
        self._insert(db, schema.audits, ({"task": task, **one._asdict()} for task, one in drawn.items()))

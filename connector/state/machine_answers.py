"""Answers of models that `connector label-with` asked, in the state database: each is asked and paid for once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from connector._compat import batched
from connector.state import schema
from connector.state.database import DuplicateRow
from connector.state.lock import LOCK_SECONDS, is_dead, new_holder
from connector.state.rows import IDS_A_STATEMENT, ProjectRows


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    Attributes:
        label: As annotations have it. None: the answer gives none.
        reason: Why it gives none. It never quotes the answer or the task.
        score: The probability of the answer by the model. None: the server does not say it.
        tokens_in: Of all that was sent for it, by the server.
        tokens_out: Of all that came back.
    """

    label: str | None
    reason: str = ""
    score: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0


class AnswerRows(ProjectRows):
    """The answers, each by the digest of all that was sent. Before a question is sent, its key is claimed."""

    def machine_answers(self, keys: Iterable[str]) -> dict[str, Answer]:
        """{key: answer} of those of the keys that have one."""
        table, found = schema.machine_answers, dict[str, Answer]()
        read = sa.select(table).where(self._rows(table) & table.c.holder.is_(None))
        with self._engine.connect() as db:
            for part in batched(dict.fromkeys(keys), IDS_A_STATEMENT):
                for row in db.execute(read.where(table.c.key.in_(part))).mappings():
                    found[row["key"]] = Answer(**{name: row[name] for name in Answer.__dataclass_fields__})
        return found

    def claim_answer(self, key: str, *, again: bool = False) -> str | None:
        """Claims a key for one question. Returns the claim, or None if it is answered, or another process is asking.

        The claim of a process that is known to be dead is taken over at once, any other after LOCK_SECONDS.

        Args:
            key: The digest of what is to be sent.
            again: Whether an answer that is there is to be replaced.
        """
        table, holder, now = schema.machine_answers, new_holder(), time.time()
        mine = self._rows(table) & (table.c.key == key)
        with self._engine.connect() as db:
            row = db.execute(sa.select(table.c.holder, table.c.at).where(mine)).first()
        if row is None:
            values = {"key": key, "holder": holder, "at": now, "reason": "", "tokens_in": 0, "tokens_out": 0}
            try:
                with self._engine.begin() as db:
                    self._insert(db, table, [values])
            except DuplicateRow:  # another process was quicker
                return None
            return holder
        given_up = row.holder is not None and (is_dead(row.holder) or row.at < now - LOCK_SECONDS)
        if not (given_up or (again and row.holder is None)):
            return None
        same = table.c.holder.is_(None) if row.holder is None else table.c.holder == row.holder
        with self._engine.begin() as db:
            changed = db.execute(table.update().where(mine & same).values(holder=holder, at=now))
        return holder if changed.rowcount == 1 else None

    def release_answer(self, key: str, claim: str) -> None:
        """Gives up a claim. There is no answer."""
        table = schema.machine_answers
        with self._engine.begin() as db:
            db.execute(table.delete().where(self._rows(table) & (table.c.key == key) & (table.c.holder == claim)))

    def store_answer(self, key: str, answer: Answer) -> None:
        """Records the answer to a question whose key was claimed, and ends the claim."""
        table = schema.machine_answers
        with self._engine.begin() as db:
            db.execute(table.delete().where(self._rows(table) & (table.c.key == key)))
            self._insert(db, table, [{"key": key, "holder": None, "at": time.time(), **vars(answer)}])

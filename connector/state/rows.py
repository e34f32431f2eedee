"""One project's rows of the state database: its own, and those of the tables that name it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from connector.state import schema

IDS_A_STATEMENT = 500  # below SQLite's limit on bound parameters


class ProjectRows:
    """The rows of the project `key`; every public method is one transaction."""

    def __init__(self, engine: sa.Engine, key: int) -> None:
        self._engine = engine
        self._key = key

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

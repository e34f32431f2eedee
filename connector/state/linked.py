"""Texts that were fetched from the addresses that tasks have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import sqlalchemy as sa

from connector._compat import batched
from connector.annotations.records import digest
from connector.state import schema
from connector.state.rows import IDS_A_STATEMENT, ProjectRows


class LinkedRows(ProjectRows):
    """The linked texts of a project, each by the digest of its link."""

    def linked(self) -> dict[str, str]:
        """{digest of a link: digest of the text}."""
        linked = schema.linked_texts
        with self._engine.connect() as db:
            rows = db.execute(sa.select(linked.c.digest, linked.c.text_digest).where(self._rows(linked)))
            return {row.digest: row.text_digest for row in rows}

    def linked_texts(self, keys: Iterable[str]) -> dict[str, str]:
        """{digest of a link: text} of those of the links `keys` that were fetched."""
        linked, found = schema.linked_texts, dict[str, str]()
        read = sa.select(linked.c.digest, linked.c.text).where(self._rows(linked))
        with self._engine.connect() as db:
            for part in batched(dict.fromkeys(keys), IDS_A_STATEMENT):
                found.update({row.digest: row.text for row in db.execute(read.where(linked.c.digest.in_(part)))})
        return found

    def store_linked(self, texts: Mapping[str, str]) -> None:
        """Adds texts, {digest of a link: text}."""
        rows = [{"digest": key, "text": text, "text_digest": digest(text)} for key, text in texts.items()]
        with self._engine.begin() as db:
            self._insert(db, schema.linked_texts, rows)

    def drop_linked(self, keys: Collection[str]) -> None:
        """Deletes texts, by the digests of their links."""
        linked = schema.linked_texts
        with self._engine.begin() as db:
            for part in batched(keys, IDS_A_STATEMENT):
                db.execute(linked.delete().where(self._rows(linked) & linked.c.digest.in_(part)))

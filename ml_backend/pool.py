"""What a project's items are: ids, text digests, texts and the cached features of the texts, in one SQLite file."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DIGEST_BYTES = 16
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, digest BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS items_digest ON items (digest);
CREATE TABLE IF NOT EXISTS texts (digest BLOB PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS features (kind TEXT, digest BLOB, vector BLOB NOT NULL, PRIMARY KEY (kind, digest));
"""
# Below SQLite's oldest limit on the parameters of one statement (999).
_SQL_PARAMETERS = 900


def digest(text: str) -> bytes:
    """The 16-byte BLAKE2b digest of a text's UTF-8."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


class Pool:
    """The items of one project; a file that several threads may use at once."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`, made with its folder where it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)

    def set_items(self, ids: Sequence[int], digests: Sequence[bytes]) -> list[int]:
        """State all items; the positions of those whose text is not held. Texts of no item are forgotten."""
        with self._connection() as connection, connection:
            connection.execute("DELETE FROM items")
            connection.executemany("INSERT INTO items VALUES (?, ?)", zip(ids, digests, strict=True))
            for table in ("texts", "features"):
                connection.execute(f"DELETE FROM {table} WHERE digest NOT IN (SELECT digest FROM items)")
            lacking = connection.execute("SELECT digest FROM items WHERE digest NOT IN (SELECT digest FROM texts)")
            missing = {row[0] for row in lacking}
        return [position for position, value in enumerate(digests) if value in missing]

    def add_texts(self, texts: Sequence[str]) -> None:
        """Store texts under their digests."""
        with self._connection() as connection, connection:
            connection.executemany(
                "INSERT OR IGNORE INTO texts VALUES (?, ?)", [(digest(text), text) for text in texts]
            )

    def digests_of_items(self) -> dict[int, bytes]:
        """Id to digest of every item whose text is held, by id."""
        with self._connection() as connection:
            return dict(connection.execute("SELECT id, digest FROM items JOIN texts USING (digest) ORDER BY id"))

    def count_texts(self) -> int:
        """How many distinct texts are held."""
        with self._connection() as connection:
            return int(connection.execute("SELECT count(*) FROM texts").fetchone()[0])

    def sample_texts(self, count: int) -> list[str]:
        """At most `count` texts; being those with the lowest digests they are a uniform sample, the same every time."""
        with self._connection() as connection:
            return [row[0] for row in connection.execute("SELECT text FROM texts ORDER BY digest LIMIT ?", (count,))]

    def texts(self, digests: Sequence[bytes]) -> dict[bytes, str]:
        """Digest to text, for those that are held."""
        with self._connection() as connection:
            return dict(_select(connection, "SELECT digest, text FROM texts WHERE digest IN", (), digests))

    def lacking(self, kind: str) -> list[bytes]:
        """Digests of the texts without features of `kind`, short texts first (batches of like lengths pad little)."""
        query = "SELECT digest FROM texts WHERE digest NOT IN (SELECT digest FROM features WHERE kind = ?)"
        with self._connection() as connection:
            return [row[0] for row in connection.execute(query + " ORDER BY length(text), digest", (kind,))]

    def add_features(self, kind: str, digests: Sequence[bytes], vectors: npt.NDArray[np.float32]) -> None:
        """Store one vector a digest, float32 (n, d); digests of no held text are left out."""
        rows = [(kind, key, vector.tobytes(), key) for key, vector in zip(digests, vectors, strict=True)]
        query = "INSERT OR REPLACE INTO features SELECT ?, ?, ? WHERE EXISTS (SELECT 1 FROM texts WHERE digest = ?)"
        with self._connection() as connection, connection:
            connection.executemany(query, rows)

    def features(self, kind: str, digests: Sequence[bytes]) -> dict[bytes, npt.NDArray[np.float32]]:
        """Digest to vector, for those that are held."""
        query = "SELECT digest, vector FROM features WHERE kind = ? AND digest IN"
        with self._connection() as connection:
            rows = _select(connection, query, (kind,), digests)
            return {key: np.frombuffer(vector, dtype=np.float32) for key, vector in rows}

    def scan(
        self, kinds: Sequence[str], rows: int
    ) -> Iterator[tuple[list[int], list[bytes], list[npt.NDArray[np.float32]]]]:
        """All items with features of all kinds, by id, `rows` at a time: ids, digests, every kind's float32 (n, d)."""
        places = range(len(kinds))
        columns = ", ".join(f"f{place}.vector" for place in places)
        joins = (f"JOIN features f{place} ON f{place}.kind = ? AND f{place}.digest = i.digest" for place in places)
        query = f"SELECT id, i.digest, {columns} FROM items i {' '.join(joins)} ORDER BY id"
        with self._connection() as connection:
            cursor = connection.execute(query, kinds)
            while batch := cursor.fetchmany(rows):
                ids, digests, *vectors = zip(*batch, strict=True)
                yield list(ids), list(digests), [_as_matrix(of_kind) for of_kind in vectors]

    def drop_features_except(self, kinds: Sequence[str]) -> None:
        """Forget the features of every other kind."""
        with self._connection() as connection, connection:
            connection.execute(f"DELETE FROM features WHERE kind NOT IN ({','.join('?' * len(kinds))})", kinds)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # One connection a call: cheap, and none is ever shared between threads.
        with closing(sqlite3.connect(self._path, timeout=30)) as connection:
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection


def _as_matrix(vectors: Sequence[bytes]) -> npt.NDArray[np.float32]:
    joined = np.frombuffer(b"".join(vectors), dtype=np.float32)
    return joined.reshape(len(vectors), len(joined) // len(vectors))


def _select(
    connection: sqlite3.Connection, query: str, first: tuple[str, ...], digests: Sequence[bytes]
) -> Iterator[tuple[bytes, Any]]:
    remaining = iter(digests)
    while part := list(islice(remaining, _SQL_PARAMETERS)):
        yield from connection.execute(f"{query} ({','.join('?' * len(part))})", (*first, *part))

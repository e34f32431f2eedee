"""What a project's items are: ids, text digests, texts, the cached features of the texts and labels, in an SQLite file.

The labels are of two sources: what the connector had trained on last, and the annotations that Label Studio's events
told of.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

DIGEST_BYTES = 16
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, digest BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS items_digest ON items (digest);
CREATE TABLE IF NOT EXISTS texts (digest BLOB PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS features (kind TEXT, digest BLOB, vector BLOB NOT NULL, PRIMARY KEY (kind, digest));
CREATE TABLE IF NOT EXISTS consensus (digest BLOB NOT NULL, label TEXT NOT NULL, weight REAL NOT NULL);
CREATE TABLE IF NOT EXISTS annotations (
    id INTEGER PRIMARY KEY, item INTEGER NOT NULL, digest BLOB, data_key TEXT, answers TEXT, ground_truth INTEGER,
    updated_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS annotations_item ON annotations (item);
"""
# PRAGMA user_version, which is 0 in a new file, tells a consensus of no label from none that was ever stated.
_CONSENSUS_STATED = 1
# Below SQLite's oldest limit on the parameters of one statement (999).
_SQL_PARAMETERS = 900


def digest(text: str) -> bytes:
    """The 16-byte BLAKE2b digest of a text's UTF-8."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


class ConsensusLabel(NamedTuple):
    """The label that the connector found for a text: a class, or a list of those that apply, and how much it counts."""

    digest: bytes
    label: str | list[str]
    weight: float = 1.0


class Annotation(NamedTuple):
    """What an event told of an annotation.

    `text` is what the task shows under `data_key`, empty where nobody can tell; `answers` are the choices by the name
    of their control, None of a skip; `updated_at` is in seconds since 1970.
    """

    id: int
    item: int
    text: str
    data_key: str
    answers: dict[str, list[str]] | None
    ground_truth: bool
    updated_at: float


class Answer(NamedTuple):
    """What an annotation of a text that is held says, as `Annotation` has it."""

    item: int
    digest: bytes
    answers: dict[str, list[str]]
    ground_truth: bool


class Dataset:
    """The items of one project; a file that several threads may use at once."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`, made with its folder where it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)

    def set_items(self, ids: Sequence[int], digests: Sequence[bytes]) -> list[int]:
        """State all items; the positions of those whose text is not held. What belongs to no item is forgotten."""
        with self._connection() as connection, connection:
            connection.execute("DELETE FROM items")
            connection.executemany("INSERT INTO items VALUES (?, ?)", zip(ids, digests, strict=True))
            connection.execute("DELETE FROM annotations WHERE item NOT IN (SELECT id FROM items)")
            _forget_texts_of_no_item(connection)
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

    def count_items(self) -> int:
        """How many items there are, with and without a text."""
        with self._connection() as connection:
            return int(connection.execute("SELECT count(*) FROM items").fetchone()[0])

    def shards(self, rows: int) -> list[tuple[int, int]]:
        """The first and last id of every `rows` items, in their order."""
        query = "SELECT min(id), max(id) FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM items)"
        with self._connection() as connection:
            return list(connection.execute(query + " GROUP BY (place - 1) / ?", (rows,)))

    def scan(
        self, kinds: Sequence[str], first: int, last: int
    ) -> tuple[list[int], list[bytes], list[npt.NDArray[np.float32]]]:
        """The items from id `first` to `last` with features of all kinds: ids, digests, every kind's float32 (n, d)."""
        places = range(len(kinds))
        columns = ", ".join(f"f{place}.vector" for place in places)
        # CROSS: else SQLite may go through all features of a kind for every few items.
        joins = (
            f"CROSS JOIN features f{place} ON f{place}.kind = ? AND f{place}.digest = i.digest" for place in places
        )
        query = f"SELECT id, i.digest, {columns} FROM items i {' '.join(joins)} WHERE id BETWEEN ? AND ? ORDER BY id"
        with self._connection() as connection:
            found = connection.execute(query, (*kinds, first, last)).fetchall()
        if not found:
            return [], [], []
        ids, digests, *vectors = zip(*found, strict=True)
        return list(ids), list(digests), [_as_matrix(of_kind) for of_kind in vectors]

    def feature_keys(self) -> list[str]:
        """The kinds of which there are features."""
        # The next kind after each, by the key: as a plain SELECT DISTINCT it would read every row.
        query = """
            WITH RECURSIVE found (kind) AS (
                SELECT min(kind) FROM features
                UNION ALL SELECT (SELECT min(kind) FROM features WHERE kind > found.kind) FROM found WHERE kind NOTNULL
            ) SELECT kind FROM found WHERE kind NOTNULL
        """
        with self._connection() as connection:
            return [row[0] for row in connection.execute(query)]

    def drop_features(self, kinds: Sequence[str]) -> None:
        """Forget the features of these kinds."""
        with self._connection() as connection, connection:
            connection.executemany("DELETE FROM features WHERE kind = ?", [(kind,) for kind in kinds])

    def set_consensus(self, labels: Iterable[ConsensusLabel]) -> None:
        """State what the connector found, instead of what it found before."""
        rows = [(key, json.dumps(label), weight) for key, label, weight in labels]
        with self._connection() as connection, connection:
            connection.execute("DELETE FROM consensus")
            connection.executemany("INSERT INTO consensus VALUES (?, ?, ?)", rows)
            connection.execute(f"PRAGMA user_version = {_CONSENSUS_STATED}")

    def consensus(self) -> list[ConsensusLabel] | None:
        """What the connector found for texts that are held, as it was stated; None where it never was."""
        query = "SELECT digest, label, weight FROM consensus JOIN texts USING (digest) ORDER BY consensus.rowid"
        with self._connection() as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] < _CONSENSUS_STATED:
                return None
            return [ConsensusLabel(key, json.loads(label), weight) for key, label, weight in connection.execute(query)]

    def add_annotations(self, told: Iterable[Annotation]) -> None:
        """Remember annotations unless a later state is known; items too, with their texts, where they are not."""
        rows, texts = [], {}
        for one in told:
            key = digest(one.text) if one.text else None
            answers = None if one.answers is None else json.dumps(one.answers)
            rows.append((one.id, one.item, key, one.data_key, answers, one.ground_truth, one.updated_at))
            if key is not None:
                texts[one.item] = key, one.text
        with self._connection() as connection, connection:
            connection.executemany(
                "INSERT INTO annotations VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " item = excluded.item, digest = excluded.digest, data_key = excluded.data_key,"
                " answers = excluded.answers, ground_truth = excluded.ground_truth, updated_at = excluded.updated_at"
                " WHERE excluded.updated_at >= annotations.updated_at",
                rows,
            )
            # Of an item that the connector stated, the text is its word.
            items = [(item, key) for item, (key, _) in texts.items()]
            connection.executemany("INSERT OR IGNORE INTO items VALUES (?, ?)", items)
            connection.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", texts.values())

    def forget_annotations(self, ids: Iterable[int]) -> None:
        """Forget annotations; those that nobody told of are none."""
        with self._connection() as connection, connection:
            connection.executemany("DELETE FROM annotations WHERE id = ?", [(one,) for one in ids])

    def forget_items(self, ids: Iterable[int]) -> None:
        """Forget items with their annotations, and texts that no other item has."""
        rows = [(one,) for one in ids]
        with self._connection() as connection, connection:
            connection.executemany("DELETE FROM annotations WHERE item = ?", rows)
            connection.executemany("DELETE FROM items WHERE id = ?", rows)
            _forget_texts_of_no_item(connection)

    def annotations(self, data_key: str) -> list[Answer]:
        """What was told of texts under `data_key` that are held, by item; no skips."""
        query = (
            "SELECT a.item, a.digest, a.answers, a.ground_truth FROM annotations a JOIN texts USING (digest)"
            " WHERE a.data_key = ? AND a.answers IS NOT NULL ORDER BY a.item, a.id"
        )
        with self._connection() as connection:
            rows = connection.execute(query, (data_key,))
            return [Answer(item, key, json.loads(answers), bool(truth)) for item, key, answers, truth in rows]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # One connection a call: cheap, and none is ever shared between threads.
        with closing(sqlite3.connect(self._path, timeout=30)) as connection:
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection


def _forget_texts_of_no_item(connection: sqlite3.Connection) -> None:
    for table in ("texts", "features", "consensus"):
        connection.execute(f"DELETE FROM {table} WHERE digest NOT IN (SELECT digest FROM items)")


def _as_matrix(vectors: Sequence[bytes]) -> npt.NDArray[np.float32]:
    joined = np.frombuffer(b"".join(vectors), dtype=np.float32)
    return joined.reshape(len(vectors), len(joined) // len(vectors))


def _select(
    connection: sqlite3.Connection, query: str, first: tuple[str, ...], digests: Sequence[bytes]
) -> Iterator[tuple[bytes, Any]]:
    remaining = iter(digests)
    while part := list(islice(remaining, _SQL_PARAMETERS)):
        yield from connection.execute(f"{query} ({','.join('?' * len(part))})", (*first, *part))

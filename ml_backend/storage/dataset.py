"""The items of a project in an SQLite file: ids, digests, contents, cached features and labels.

A content is a text, or a small copy of a medium: an image, or a recording. A text has the digest that its item came
with. A medium's item comes with the digest of its address, its source: `media` maps that to the digest of its content,
once it is here. For a text in a file, it maps the digest of what the task shows to that of the text. A content may be
dropped when its features are computed. Then its row has an empty blob, which no content is.

The labels have two sources: the consensus labels that the connector last sent for training, and the annotations that
Label Studio's events reported.
"""

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

DIGEST_BYTES = 16
Kind = Literal["text", "image", "audio"]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, digest BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS items_digest ON items (digest);
CREATE TABLE IF NOT EXISTS texts (digest BLOB PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS media (source BLOB PRIMARY KEY, digest BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS media_digest ON media (digest);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS features (kind TEXT, digest BLOB, vector BLOB NOT NULL, PRIMARY KEY (kind, digest));
CREATE TABLE IF NOT EXISTS consensus (digest BLOB NOT NULL, label TEXT NOT NULL, weight REAL NOT NULL);
CREATE TABLE IF NOT EXISTS annotations (
    id INTEGER PRIMARY KEY, item INTEGER NOT NULL, digest BLOB, data_key TEXT, answers TEXT, ground_truth INTEGER,
    updated_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS annotations_item ON annotations (item);
"""
# A content that was dropped. Neither function reads the whole of a content, as comparing it with an empty blob would.
_IS_DROPPED = "(typeof(text) = 'blob' AND length(text) = 0)"
# Below SQLite's oldest limit on the parameters of one statement (999).
_SQL_PARAMETERS = 900


def digest(content: str | bytes) -> bytes:
    """The 16-byte BLAKE2b digest of a content, of a text that of its UTF-8."""
    plain = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(plain, digest_size=DIGEST_BYTES).digest()


class ConsensusLabel(NamedTuple):
    """The label that the connector found for a text: a class, or a list of all that apply. `weight`: how it counts."""

    digest: bytes
    label: str | list[str]
    weight: float = 1.0


class Annotation(NamedTuple):
    """An annotation as an event reported it.

    `text` is what the task shows under `data_key`, the address of a medium, or empty if it is unknown. `answers` maps
    the name of a control to the choices, and is None for a skip. `updated_at` is in seconds since 1970.
    """

    id: int
    item: int
    text: str
    data_key: str
    answers: dict[str, list[str]] | None
    ground_truth: bool
    updated_at: float


class AnnotatedText(NamedTuple):
    """An annotation of a stored text. The fields are those of `Annotation`."""

    item: int
    digest: bytes
    answers: dict[str, list[str]]
    ground_truth: bool


class Dataset:
    """The items of one project. Several threads may use it at once."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`. It is created with its folder if it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)

    @property
    def kind(self) -> Kind:
        """What the contents are."""
        with self._connection() as connection:
            found = connection.execute("SELECT value FROM meta WHERE name = 'kind'").fetchone()
        return found[0] if found else "text"

    def set_items(
        self,
        ids: Sequence[int],
        digests: Sequence[bytes],
        kind: Kind = "text",
        sources: Sequence[bytes] | None = None,
    ) -> list[int]:
        """Replace all items, and remove what belongs to none. Returns the positions whose content is not stored.

        Args:
            ids: Of the items (n,).
            digests: Of their texts, or of their sources (n,).
            kind: What their contents are.
            sources: The digests of what tasks show in place of their texts (n,). None: they show the texts.
        """
        with self._connection() as connection, connection:
            before = connection.execute("SELECT value FROM meta WHERE name = 'kind'").fetchone()
            if before is not None and before[0] != kind:  # what was read as an image is not read as a recording
                connection.execute("DELETE FROM media")
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('kind', ?)", (kind,))
            connection.execute("DELETE FROM items")
            if kind != "text":
                known = dict(connection.execute("SELECT source, digest FROM media"))
                digests = [known.get(source, source) for source in digests]
            if sources is not None:
                shown = [pair for pair in zip(sources, digests, strict=True) if pair[0] != pair[1]]
                connection.executemany("INSERT OR REPLACE INTO media VALUES (?, ?)", shown)
            connection.executemany("INSERT INTO items VALUES (?, ?)", zip(ids, digests, strict=True))
            connection.execute("DELETE FROM annotations WHERE item NOT IN (SELECT id FROM items)")
            _remove_texts_of_no_item(connection)
            lacking = connection.execute("SELECT digest FROM items WHERE digest NOT IN (SELECT digest FROM texts)")
            missing = {row[0] for row in lacking}
        return [position for position, value in enumerate(digests) if value in missing]

    def add_media(self, sources: Sequence[bytes], contents: Sequence[bytes]) -> None:
        """Store the contents of sources, which items have as their digests until then."""
        digests = [digest(content) for content in contents]
        with self._connection() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?)", zip(digests, contents, strict=True))
            connection.executemany("INSERT OR REPLACE INTO media VALUES (?, ?)", zip(sources, digests, strict=True))
            connection.executemany("UPDATE items SET digest = ? WHERE digest = ?", zip(digests, sources, strict=True))

    def drop_contents(self, feature_key: str) -> None:
        """Remove the contents that have these features, and overwrite them on disk. Items and features stay."""
        having = f"NOT {_IS_DROPPED} AND digest IN (SELECT digest FROM features WHERE kind = ?)"
        with self._connection() as connection:
            connection.execute("PRAGMA secure_delete=ON")
            with connection:
                found = connection.execute(f"UPDATE texts SET text = x'' WHERE {having}", (feature_key,)).rowcount
            if found:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log has them, too

    def dropped(self, lacking: str | None = None) -> set[bytes]:
        """The digests of dropped contents, or only of those that are `lacking` features under a key."""
        query = f"SELECT digest FROM texts WHERE {_IS_DROPPED}"
        query += " AND digest NOT IN (SELECT digest FROM features WHERE kind = ?)" * (lacking is not None)
        with self._connection() as connection:
            return {row[0] for row in connection.execute(query, () if lacking is None else (lacking,))}

    def digests_of_sources(self, sources: Sequence[bytes]) -> list[bytes | None]:
        """The digest of each source's content. None: it is not here."""
        with self._connection() as connection:
            known = dict(_select(connection, "SELECT source, digest FROM media WHERE source IN", (), sources))
        return [known.get(source) for source in sources]

    def add_texts(self, texts: Sequence[str]) -> None:
        """Store texts under their digests."""
        with self._connection() as connection, connection:
            connection.executemany(
                "INSERT OR IGNORE INTO texts VALUES (?, ?)", [(digest(text), text) for text in texts]
            )

    def digests_of_items(self) -> dict[int, bytes]:
        """Id to digest of every item whose text is stored, in the order of the ids."""
        with self._connection() as connection:
            return dict(connection.execute("SELECT id, digest FROM items JOIN texts USING (digest) ORDER BY id"))

    def count_texts(self) -> int:
        """The number of distinct texts."""
        with self._connection() as connection:
            return int(connection.execute("SELECT count(*) FROM texts").fetchone()[0])

    def sample_texts(self, count: int) -> list[str]:
        """At most `count` texts: those with the lowest digests, a uniform sample that is the same every time."""
        with self._connection() as connection:
            return [row[0] for row in connection.execute("SELECT text FROM texts ORDER BY digest LIMIT ?", (count,))]

    def texts(self, digests: Sequence[bytes]) -> dict[bytes, Any]:
        """Digest to content, a text or bytes, for those that are stored."""
        query = f"SELECT digest, text FROM texts WHERE NOT {_IS_DROPPED} AND digest IN"
        with self._connection() as connection:
            return dict(_select(connection, query, (), digests))

    def lacking(self, feature_key: str, among: Collection[bytes] | None = None) -> list[bytes]:
        """Digests of the texts without these features, short texts first (batches of similar lengths pad little).

        `among`: only these digests are looked at. None: all texts.
        """
        if among is None:
            query = "SELECT digest FROM texts WHERE digest NOT IN (SELECT digest FROM features WHERE kind = ?)"
            query += f" AND NOT {_IS_DROPPED} ORDER BY length(text), digest"
            with self._connection() as connection:
                return [row[0] for row in connection.execute(query, (feature_key,))]
        found = self.features(feature_key, among)
        texts = self.texts([key for key in among if key not in found])
        return sorted(texts, key=lambda key: (len(texts[key]), key))

    def add_features(self, feature_key: str, digests: Sequence[bytes], vectors: npt.NDArray[np.float32]) -> None:
        """Store one vector per digest, float32 (n, d). Digests of no stored text are left out."""
        rows = [(feature_key, key, vector.tobytes(), key) for key, vector in zip(digests, vectors, strict=True)]
        query = "INSERT OR REPLACE INTO features SELECT ?, ?, ? WHERE EXISTS (SELECT 1 FROM texts WHERE digest = ?)"
        with self._connection() as connection, connection:
            connection.executemany(query, rows)

    def features(self, feature_key: str, digests: Collection[bytes]) -> dict[bytes, npt.NDArray[np.float32]]:
        """Digest to vector, for vectors that are stored."""
        query = "SELECT digest, vector FROM features WHERE kind = ? AND digest IN"
        with self._connection() as connection:
            rows = _select(connection, query, (feature_key,), digests)
            return {key: np.frombuffer(vector, dtype=np.float32) for key, vector in rows}

    def count_items(self) -> int:
        """The number of items, with and without a text."""
        with self._connection() as connection:
            return int(connection.execute("SELECT count(*) FROM items").fetchone()[0])

    def shards(self, rows: int) -> list[tuple[int, int]]:
        """The first and last id of every `rows` items, in the order of the ids."""
        query = "SELECT min(id), max(id) FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM items)"
        with self._connection() as connection:
            return list(connection.execute(query + " GROUP BY (place - 1) / ?", (rows,)))

    def scan(
        self, feature_keys: Sequence[str], first: int, last: int
    ) -> tuple[list[int], list[bytes], list[npt.NDArray[np.float32]]]:
        """The items from id `first` to `last` that have all these features, in the order of the ids.

        Returns their ids, their digests, and one array float32 (n, d) per feature key.
        """
        places = range(len(feature_keys))
        columns = ", ".join(f"f{place}.vector" for place in places)
        # Without CROSS, SQLite may go through all features of a key for every few items.
        joins = (
            f"CROSS JOIN features f{place} ON f{place}.kind = ? AND f{place}.digest = i.digest" for place in places
        )
        query = f"SELECT id, i.digest, {columns} FROM items i {' '.join(joins)} WHERE id BETWEEN ? AND ? ORDER BY id"
        with self._connection() as connection:
            rows = connection.execute(query, (*feature_keys, first, last)).fetchall()
        if not rows:
            return [], [], []
        ids, digests, *columns_of_vectors = zip(*rows, strict=True)
        return list(ids), list(digests), [_as_matrix(vectors) for vectors in columns_of_vectors]

    def feature_keys(self) -> list[str]:
        """The keys under which features are stored."""
        # Finds the next key after each through the index. A plain SELECT DISTINCT would read every row.
        query = """
            WITH RECURSIVE keys (kind) AS (
                SELECT min(kind) FROM features
                UNION ALL SELECT (SELECT min(kind) FROM features WHERE kind > keys.kind) FROM keys WHERE kind NOTNULL
            ) SELECT kind FROM keys WHERE kind NOTNULL
        """
        with self._connection() as connection:
            return [row[0] for row in connection.execute(query)]

    def drop_features(self, feature_keys: Sequence[str]) -> None:
        """Remove the features under these keys."""
        with self._connection() as connection, connection:
            connection.executemany("DELETE FROM features WHERE kind = ?", [(key,) for key in feature_keys])

    def set_consensus(self, labels: Iterable[ConsensusLabel]) -> None:
        """Replace the connector's labels."""
        rows = [(key, json.dumps(label), weight) for key, label, weight in labels]
        with self._connection() as connection, connection:
            connection.execute("DELETE FROM consensus")
            connection.executemany("INSERT INTO consensus VALUES (?, ?, ?)", rows)

    def consensus(self) -> list[ConsensusLabel]:
        """The connector's labels of stored texts, in the order in which it sent them."""
        query = "SELECT digest, label, weight FROM consensus JOIN texts USING (digest) ORDER BY consensus.rowid"
        with self._connection() as connection:
            rows = connection.execute(query)
            return [ConsensusLabel(key, json.loads(label), weight) for key, label, weight in rows]

    def add_annotations(self, annotations: Iterable[Annotation], *, are_texts: bool = True) -> None:
        """Store annotations unless a later state is stored, and their items and texts if these are unknown.

        Without `are_texts`, they have sources in place of texts.
        """
        rows, texts = [], {}
        for annotation in annotations:
            key = digest(annotation.text) if annotation.text else None
            answers = None if annotation.answers is None else json.dumps(annotation.answers)
            rows.append(
                (
                    annotation.id,
                    annotation.item,
                    key,
                    annotation.data_key,
                    answers,
                    annotation.ground_truth,
                    annotation.updated_at,
                )
            )
            if key is not None:
                texts[annotation.item] = key, annotation.text
        with self._connection() as connection, connection:
            connection.executemany(
                "INSERT INTO annotations VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " item = excluded.item, digest = excluded.digest, data_key = excluded.data_key,"
                " answers = excluded.answers, ground_truth = excluded.ground_truth, updated_at = excluded.updated_at"
                " WHERE excluded.updated_at >= annotations.updated_at",
                rows,
            )
            # If the connector sent an item, its text counts.
            items = [(item, key) for item, (key, _) in texts.items()]
            connection.executemany("INSERT OR IGNORE INTO items VALUES (?, ?)", items)
            if are_texts:
                connection.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", texts.values())

    def forget_annotations(self, ids: Iterable[int]) -> None:
        """Remove annotations. Unknown ids are ignored."""
        with self._connection() as connection, connection:
            connection.executemany("DELETE FROM annotations WHERE id = ?", [(identifier,) for identifier in ids])

    def forget_items(self, ids: Iterable[int]) -> None:
        """Remove items with their annotations, and texts that no other item has."""
        rows = [(identifier,) for identifier in ids]
        with self._connection() as connection, connection:
            connection.executemany("DELETE FROM annotations WHERE item = ?", rows)
            connection.executemany("DELETE FROM items WHERE id = ?", rows)
            _remove_texts_of_no_item(connection)

    def annotations(self, data_key: str) -> list[AnnotatedText]:
        """The annotations of stored texts under `data_key`, in the order of the items, without skips."""
        query = (
            "SELECT a.item, t.digest, a.answers, a.ground_truth FROM annotations a"
            " LEFT JOIN media m ON m.source = a.digest JOIN texts t ON t.digest = coalesce(m.digest, a.digest)"
            " WHERE a.data_key = ? AND a.answers IS NOT NULL ORDER BY a.item, a.id"
        )
        with self._connection() as connection:
            rows = connection.execute(query, (data_key,))
            return [AnnotatedText(item, key, json.loads(answers), bool(truth)) for item, key, answers, truth in rows]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # One connection per call is cheap, and no two threads ever share one.
        with closing(sqlite3.connect(self._path, timeout=30)) as connection:
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection


def _remove_texts_of_no_item(connection: sqlite3.Connection) -> None:
    for table in ("texts", "features", "consensus", "media"):
        connection.execute(f"DELETE FROM {table} WHERE digest NOT IN (SELECT digest FROM items)")


def _as_matrix(vectors: Sequence[bytes]) -> npt.NDArray[np.float32]:
    joined = np.frombuffer(b"".join(vectors), dtype=np.float32)
    return joined.reshape(len(vectors), len(joined) // len(vectors))


def _select(
    connection: sqlite3.Connection, query: str, first: tuple[str, ...], digests: Collection[bytes]
) -> Iterator[tuple[bytes, Any]]:
    remaining = iter(digests)
    while part := list(islice(remaining, _SQL_PARAMETERS)):
        yield from connection.execute(f"{query} ({','.join('?' * len(part))})", (*first, *part))

"""Opens the state database: makes its tables, or brings those of an older connector up to this one's schema."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.state import schema

# What SQLite and PostgreSQL say when opening them may succeed a little later.
_PASSING = ("is locked", "Connection refused", "resolve host", "timeout", "starting up", "shutting down", "too many")
SQLITE_PATIENCE_SECONDS = 60  # another process may be writing its mirror; SQLite's own 5 s are short for that


def connect(url: str) -> sa.Engine:
    """An engine on the state database at `url`, an SQLAlchemy URL, with the tables as `schema` draws them.

    Raises UsageError when it cannot be opened or was written by a newer connector.
    """
    try:
        parsed = sa.make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        if sqlite and parsed.database and not parsed.database.startswith((":memory:", "file:")):
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        # A service runs for months, and a server may end connections meanwhile: each is tried before it is used again.
        connect_args = {"timeout": SQLITE_PATIENCE_SECONDS} if sqlite else {}
        engine = sa.create_engine(parsed, connect_args=connect_args, pool_pre_ping=not sqlite)
    except (sa.exc.SQLAlchemyError, OSError, ImportError, ValueError) as error:
        raise UsageError(f"The state database in CONNECTOR_STATE cannot be opened: {error}.") from error
    try:
        _prepare(engine)
    except (sa.exc.SQLAlchemyError, ConnectorError) as error:
        engine.dispose()
        if isinstance(error, sa.exc.DBAPIError):
            raise explain(error, opening=True) from error
        raise
    return engine


def explain(error: sa.exc.DBAPIError, *, opening: bool = False) -> ConnectorError:
    """A failure of the state database as one of our errors, with what can be done about it."""
    said = str(error.orig or error).splitlines()[0].rstrip(".")
    if _any_of(("disk is full", "No space left"), said):
        return TryAgainLater(
            f"There is no room left for the state database in CONNECTOR_STATE ({said}): free some disk space. "
            "What was written before is kept."
        )
    if _any_of(("malformed", "not a database", "no such table", "Could not decode"), said):
        return _damaged(said.partition(" with text")[0])
    if _any_of(("readonly", "read-only", "permission denied", "unable to open"), said):
        return UsageError(
            f"The state database in CONNECTOR_STATE cannot be written ({said}): check its path, and that the "
            "connector's user may write there and in its folder."
        )
    if opening and not _any_of(_PASSING, said):
        return UsageError(f"The state database in CONNECTOR_STATE cannot be opened: {said}.")
    return TryAgainLater(f"The state database in CONNECTOR_STATE failed: {said}.")


def _any_of(phrases: tuple[str, ...], said: str) -> bool:
    return any(phrase in said for phrase in phrases)


def _damaged(said: str) -> UsageError:
    return UsageError(
        f"The state database in CONNECTOR_STATE is damaged, or is no database ({said}). Put a copy back, "
        "or move it away and run connector init again: annotations are safe in Label Studio, but what init found "
        "at first is known to that database alone."
    )


def _prepare(engine: sa.Engine, attempts: int = 10) -> None:
    """Makes the tables, or brings an older schema up to date: all of it in one transaction, or nothing."""
    with engine.connect() as db:
        if sa.inspect(db).has_table(schema.meta.name) and _version(db) == schema.VERSION:
            return
    try:
        with engine.begin() as db:
            if engine.dialect.name == "sqlite":
                db.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver begins nothing by itself for CREATE and ALTER
            if sa.inspect(db).has_table(schema.meta.name):
                _migrate(db, _version(db, lock=True))
            else:
                schema.metadata.create_all(db)
                db.execute(schema.meta.insert().values(schema_version=schema.VERSION))
    except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
        # PostgreSQL: another process has made the same tables since.
        if attempts == 1:
            raise
        time.sleep(0.1)
        _prepare(engine, attempts - 1)


def _migrate(db: sa.Connection, version: int) -> None:
    if version > schema.VERSION:
        raise UsageError(
            f"The state database has schema {version} and this connector knows {schema.VERSION}: "
            "use the connector version that wrote it, or a newer one."
        )
    for older in range(version, schema.VERSION):
        for step in schema.MIGRATIONS[older]:
            dialect, statement = (db.dialect.name, step) if isinstance(step, str) else step
            if dialect == db.dialect.name:
                db.exec_driver_sql(statement)
    db.execute(schema.meta.update().values(schema_version=schema.VERSION))


def _version(db: sa.Connection, *, lock: bool = False) -> int:
    query = sa.select(schema.meta.c.schema_version)
    version = db.execute(query.with_for_update() if lock else query).scalar()
    if version is None:
        raise _damaged("it does not say its schema")
    return int(version)

"""Opens the state database and creates its tables. Its failures become errors of ours."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from connector.errors import ConnectorError, StateError, StateUnavailable, StateUnusable, UsageError
from connector.state import schema

# Words in the errors of SQLite and PostgreSQL after which opening the database may succeed a little later.
_TRANSIENT = ("is locked", "Connection refused", "resolve host", "timeout", "starting up", "shutting down", "too many")
# Another process may be writing its mirror, for which SQLite's own 5 s are short.
SQLITE_PATIENCE_SECONDS = 60


class DuplicateRow(StateUnavailable):
    """The row is there already: another process has written it since."""


def connect(url: str) -> sa.Engine:
    """Opens the state database at `url`, an SQLAlchemy URL, and creates the tables of `schema` if they are missing.

    Whatever goes wrong later on this engine is raised as a StateError. Raises UsageError if the database cannot be
    opened or has the schema of another connector version.
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
        _create_tables(engine)
    except (sa.exc.SQLAlchemyError, ConnectorError) as error:
        engine.dispose()
        if isinstance(error, sa.exc.DBAPIError):
            raise explain(error, opening=True) from error
        raise
    sa.event.listen(engine, "handle_error", _translate)
    return engine


def require_file(url: str) -> None:
    """Raises UsageError if SQLite would keep the database at `url` in memory only, so that it ends with the process."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        return  # connect() says what is wrong
    name, query = (parsed.database or "").strip(), parsed.query
    # The name of SQLite's own address, as in file:state.sqlite?mode=ro
    name, _, more = name.removeprefix("file:").partition("?") if name.startswith("file:") else (name, "", "")
    in_memory = name.lstrip("/") in ("", ":memory:") or "memory" in (query.get("mode"), query.get("vfs"))
    if parsed.get_backend_name() == "sqlite" and (in_memory or "mode=memory" in more):
        raise UsageError(
            "CONNECTOR_STATE names no file, so the state would be lost when the command ends, and with it the "
            "project's settings before init: name one, for example sqlite:////home/me/state.sqlite."
        )


def explain(error: sa.exc.DBAPIError, *, opening: bool = False) -> StateError:
    """The failure of the state database as an error that says what can be done about it."""
    message = str(error.orig or error).splitlines()[0].rstrip(".")
    if isinstance(error, sa.exc.IntegrityError):
        return DuplicateRow(f"The state database in CONNECTOR_STATE failed: {message}.")
    if _any_of(("disk is full", "No space left"), message):
        return StateUnavailable(
            f"There is no room left for the state database in CONNECTOR_STATE ({message}): free some disk space. "
            "Everything written so far is kept."
        )
    if _any_of(("malformed", "not a database", "no such table", "Could not decode"), message):
        return _damaged(message.partition(" with text")[0])
    if _any_of(("readonly", "read-only", "permission denied", "unable to open"), message):
        return StateUnusable(
            f"The state database in CONNECTOR_STATE cannot be written ({message}): check its path, and that the "
            "connector's user may write there and in its folder."
        )
    if opening and not _any_of(_TRANSIENT, message):
        return StateUnusable(f"The state database in CONNECTOR_STATE cannot be opened: {message}.")
    return StateUnavailable(f"The state database in CONNECTOR_STATE failed: {message}.")


def _translate(context: sa.engine.ExceptionContext) -> StateError | None:
    """SQLAlchemy raises what this returns in place of its own error."""
    # A failed ping is how the pool learns that a connection has ended: it opens another one.
    error = context.sqlalchemy_exception
    return explain(error) if isinstance(error, sa.exc.DBAPIError) and not context.is_pre_ping else None


def _any_of(phrases: tuple[str, ...], message: str) -> bool:
    return any(phrase in message for phrase in phrases)


def _damaged(reason: str) -> StateUnusable:
    return StateUnusable(
        f"The state database in CONNECTOR_STATE is damaged, or is not a state database ({reason}). Restore a backup, "
        "or move it away and run connector init again. Annotations are safe in Label Studio, but only that database "
        "knows the project's settings before the first init."
    )


def _create_tables(engine: sa.Engine, attempts: int = 10) -> None:
    """Creates the tables if there are none: all of them in one transaction."""
    with engine.connect() as db:
        if _is_ours(db):
            return
    try:
        with engine.begin() as db:
            if engine.dialect.name == "sqlite":
                db.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver begins no transaction for CREATE
            if not _is_ours(db):
                schema.metadata.create_all(db)
                db.execute(schema.meta.insert().values(schema_version=schema.VERSION))
    except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
        # PostgreSQL: another process has created the same tables since.
        if attempts == 1:
            raise
        time.sleep(0.1)
        _create_tables(engine, attempts - 1)


def _is_ours(db: sa.Connection) -> bool:
    """Whether the tables are there. Raises UsageError if they are those of another schema."""
    if not sa.inspect(db).has_table(schema.meta.name):
        return False
    version = db.execute(sa.select(schema.meta.c.schema_version)).scalar()
    if version is None:
        raise _damaged("it does not say its schema")
    if version != schema.VERSION:
        raise UsageError(
            f"The state database in CONNECTOR_STATE has schema {version}, and this connector uses schema "
            f"{schema.VERSION}: use the connector version that wrote it."
        )
    return True

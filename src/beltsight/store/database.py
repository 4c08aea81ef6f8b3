"""The database behind a store: SQLite in WAL, or PostgreSQL; how it is reached and set up."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from beltsight.errors import MissingExtraError, StoreError
from beltsight.store.schema import SCHEMA_VERSION, schema_version, upgrade

Synchronous = Literal["normal", "full", "extra"]
LINE_NAME = r"[\w.-]{1,64}"
_BUSY_S = 1.0
# Held while a schema is made: 'belt' in ASCII. Lines hold it with their id.
_PG_LOCK = 0x62656C74


@dataclass(frozen=True, slots=True)
class Database:
    """Where a store lies.

    Args:
        name: to be shown: a path, or a URL without its password.
        path: of SQLite's file; None for PostgreSQL.
        url: of PostgreSQL; None for SQLite.
        synchronous: how SQLite brings a commit to disk.
    """

    name: str
    path: Path | None = None
    url: sa.URL | None = None
    synchronous: Synchronous = "full"

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite."""
        return self.path is not None

    def engine(self, mode: Literal["create", "write", "read"]) -> sa.Engine:
        """What makes connections, each new.

        Args:
            mode: ``write`` never makes a file: one that has gone must not come back empty.
        """
        if self.path is None:
            return _postgres_engine(self.url, mode == "read")
        return _sqlite_engine(self.path, mode, self.synchronous)


def find_database(url: str | Path, synchronous: Synchronous = "full") -> Database:
    """What a URL or a path names.

    Args:
        url: a path, ``sqlite:///PATH``, or ``postgresql+psycopg://USER@HOST/DATABASE``.
        synchronous: how SQLite brings a commit to disk.

    Raises:
        StoreError: neither.
        MissingExtraError: PostgreSQL, and psycopg is not installed.

    Example:
        >>> find_database("sqlite:///log.db").path.name
        'log.db'
    """
    text = str(url)
    if "://" not in text:
        return Database(text, path=Path(text), synchronous=synchronous)
    try:
        parsed = sa.make_url(text)
    except SQLAlchemyError as error:
        raise StoreError(
            "the store's URL cannot be read; expected a path, sqlite:///PATH or "
            "postgresql+psycopg://USER@HOST/DATABASE"
        ) from error
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        try:
            import_module("psycopg")
        except ImportError as error:
            raise MissingExtraError("a store in PostgreSQL", "postgres") from error
        parsed = parsed.set(drivername="postgresql+psycopg")
        return Database(parsed.render_as_string(hide_password=True), url=parsed)
    if parsed.drivername in ("sqlite", "sqlite+pysqlite") and parsed.database not in (
        None, "", ":memory:"
    ):  # fmt: skip
        path = Path(str(parsed.database))
        return Database(str(path), path=path, synchronous=synchronous)
    raise StoreError(
        f"{parsed.render_as_string(hide_password=True)}: expected a path, sqlite:///PATH or "
        "postgresql+psycopg://USER@HOST/DATABASE"
    )


def check_line_name(line: str) -> str:
    """The name, where it may be one.

    Raises:
        StoreError: it may not.
    """
    if not isinstance(line, str) or not re.fullmatch(LINE_NAME, line):
        raise StoreError(
            f"a line cannot be named {line!r:.80}: expected letters, digits, '_', '-' and '.', at "
            "most 64 in all"
        )
    return line


def prepare_database(database: Database) -> None:
    """Make the store, or bring an older one up to date.

    Raises:
        StoreError: it cannot be reached or written, or its schema is newer.
    """
    engine = database.engine("create")
    # In SQLite the transaction is IMMEDIATE: one process at a time.
    with translated(database), engine.connect() as connection, connection.begin():
        if not database.is_sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_PG_LOCK})")
        upgrade(connection, database.name)


def prepare_for_reading(database: Database) -> None:
    """See that the store is there; an older one is brought up to date.

    Raises:
        StoreError: there is none, it is of a newer schema, or of an older one and read-only.
    """
    with translated(database), database.engine("read").connect() as connection:
        found = schema_version(connection, database.name)
    if found == 0:
        raise StoreError(f"{database.name}: holds no log of Beltsight")
    if found < SCHEMA_VERSION:
        prepare_database(database)


def lock_in_postgres(connection: sa.Connection, line_id: int) -> bool:
    """Whether this connection is now the line's only writer, until it ends."""
    asked = f"SELECT pg_try_advisory_lock({_PG_LOCK}, {line_id})"
    locked = bool(connection.exec_driver_sql(asked).scalar())
    connection.commit()
    return locked


@contextmanager
def translated(database: Database) -> Iterator[None]:
    """Errors of the database as StoreError."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise StoreError(f"{database.name}: {explain(error, database)}") from error


def explain(error: BaseException, database: Database) -> str:
    """One sentence on what is wrong with the database, and what to do."""
    original = getattr(error, "orig", None) or error
    said = " ".join(str(original).split())[:300] or type(original).__name__
    if not database.is_sqlite:
        return f"{said}; see that PostgreSQL runs, can be reached and lets this user write"
    low = said.lower()
    for sign, what in (
        ("unable to open", "see that its folder exists and may be written"),
        ("readonly", "see that the file and its folder may be written"),
        ("full", "make room on the disk"),
        ("disk i/o", "see that the disk has room and is sound"),
        ("locked", "another process holds it; end that or wait"),
        ("not a database", "name another file"),
        ("malformed", "the file is damaged; restore a copy, or begin a new one"),
    ):
        if sign in low:
            return f"{said}; {what}"
    return said


def _sqlite_engine(path: Path, mode: str, synchronous: str) -> sa.Engine:
    form = {"create": "rwc", "write": "rw", "read": "ro"}[mode]

    def connect() -> sqlite3.Connection:
        return _sqlite_connection(path, form, synchronous)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool)
    begin = "BEGIN" if mode == "read" else "BEGIN IMMEDIATE"

    @sa.event.listens_for(engine, "begin")
    def _(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _sqlite_connection(path: Path, form: str, synchronous: str) -> sqlite3.Connection:
    where = f"file:{quote(str(path.absolute()))}?mode={form}"
    if form == "ro" and not path.exists():
        raise StoreError(f"{path}: no such file")

    def open_at(uri: str) -> sqlite3.Connection:
        # Transactions are begun by hand; a connection may be closed by another thread.
        made = sqlite3.connect(
            uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            if form == "ro":
                made.text_factory = _text
                made.execute("SELECT count(*) FROM sqlite_master").fetchone()
                return made
            mode = made.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if mode != "wal":
                raise StoreError(f"{path}: its file system cannot hold a log (no WAL: {mode})")
            made.execute(f"PRAGMA synchronous={synchronous}")
        except BaseException:
            made.close()
            raise
        return made

    try:
        return open_at(where)
    except sqlite3.OperationalError:
        # In a folder that cannot be written SQLite opens a WAL file only where it is told that
        # nobody writes; with a '-wal' beside it, somebody did and the file alone is not whole.
        if form != "ro" or path.with_name(f"{path.name}-wal").exists():
            raise
        return open_at(f"{where}&immutable=1")


def _text(data: bytes) -> str:
    """Text as it lies there: a flipped bit must not hide which row it is in."""
    return data.decode("utf-8", "surrogateescape")


def _postgres_engine(url: sa.URL | None, reads: bool) -> sa.Engine:
    assert url is not None
    options = "-c statement_timeout=30000" if not reads else "-c default_transaction_read_only=on"
    arguments: dict[str, Any] = {
        "connect_timeout": 5,
        # A server that is gone without a word is noticed in seconds.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        "options": f"{options} -c lock_timeout=5000 -c synchronous_commit=on",
        "application_name": "beltsight",
    }
    return sa.create_engine(url, connect_args=arguments, poolclass=sa.NullPool)

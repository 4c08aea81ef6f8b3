"""The version of a store's schema: found, refused or brought up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from beltsight.errors import StoreError

SCHEMA_VERSION = 3
# A name of its own: the database may be another program's, too, which may use Alembic as well.
_VERSION_TABLE = "beltsight_schema"
_MIGRATIONS = Path(__file__).parent / "migrations"


def schema_version(connection: sa.Connection, name: str) -> int:
    """The version of the store's schema; 0 where it has none yet.

    Args:
        connection: to the database.
        name: of the store, for messages.

    Raises:
        StoreError: a newer schema, or tables that are none of Beltsight's.
    """
    tables = set(sa.inspect(connection).get_table_names())
    if _VERSION_TABLE not in tables:
        if tables & {"log", "lines", "crops"}:
            raise StoreError(
                f"{name}: holds tables of another program; name another file or database"
            )
        return 0
    version = sa.table(_VERSION_TABLE, sa.column("version_num"))
    found = connection.execute(sa.select(version.c.version_num)).scalar()
    if not isinstance(found, str) or not found.isdecimal():
        raise StoreError(f"{name}: no version of Beltsight's schema: {found!r:.40}")
    if int(found) > SCHEMA_VERSION:
        raise StoreError(
            f"{name}: schema {int(found)} is newer than this Beltsight writes ({SCHEMA_VERSION}); "
            "upgrade with: pip install -U beltsight"
        )
    return int(found)


def upgrade(connection: sa.Connection, name: str, to: int = SCHEMA_VERSION) -> None:
    """Bring the schema up to date, in the connection's transaction.

    Args:
        connection: inside a transaction that no other process can begin meanwhile.
        name: of the store, for messages.
        to: the version to stop at.

    Raises:
        StoreError: a newer schema, or tables of another program.
    """
    if schema_version(connection, name) >= to:
        return
    script = ScriptDirectory(_MIGRATIONS)

    def steps(revision: Any, context: Any) -> Any:
        return script._upgrade_revs(f"{to:04}", revision)

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection, version_table=_VERSION_TABLE)
        with environment.begin_transaction():
            environment.run_migrations()

"""Lines and their logs, which nothing but a person with intent changes.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_WHY = "the log is append-only"


def upgrade() -> None:
    """Make the tables and what keeps them append-only."""
    op.create_table(
        "lines",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("chain_id", sa.LargeBinary, nullable=False),
        sa.Column("keyed", sa.Boolean, nullable=False),
        sa.Column("key_check", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "log",
        sa.Column("line_id", sa.Integer, sa.ForeignKey("lines.id"), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("wall_us", sa.BigInteger, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("item_id", sa.BigInteger),
        sa.Column("encoder_count", sa.BigInteger),
        sa.Column("label", sa.Text),
        sa.Column("route", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("latency_ms", sa.Double),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_index("log_by_time", "log", ["line_id", "wall_us", "sequence"])
    if op.get_bind().dialect.name == "sqlite":
        for what in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER log_no_{what.lower()} BEFORE {what} ON log "
                f"BEGIN SELECT RAISE(ABORT, '{_WHY}'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION beltsight_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_WHY}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER log_append_only BEFORE UPDATE OR DELETE ON log "
            "FOR EACH STATEMENT EXECUTE FUNCTION beltsight_append_only()"
        )

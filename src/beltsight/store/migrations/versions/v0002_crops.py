"""Crops beside the log, and a quick way to events.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table of crops and the index of events by their kind."""
    op.create_table(
        "crops",
        sa.Column("line_id", sa.Integer, sa.ForeignKey("lines.id"), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("wall_us", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("jpeg", sa.LargeBinary, nullable=False),
    )
    events = sa.text("kind = 'event'")
    op.create_index(
        "log_events", "log", ["line_id", "code", "sequence"],
        sqlite_where=events, postgresql_where=events,
    )  # fmt: skip

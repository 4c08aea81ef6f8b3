"""A quick way to how large and how old crops are.

Revision ID: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the index that holds all that limits are compared with, so that no crop is read."""
    op.create_index("crops_limits", "crops", ["line_id", "sequence", "wall_us", "size_bytes"])

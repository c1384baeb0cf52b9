"""Leases, and how it is known who did what the audit log tells."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(260), primary_key=True),
        sa.Column("holder", sa.String(260), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    # Entries from before say nothing of it, and their digests stay as they are.
    op.add_column("audit", sa.Column("source", sa.String(16), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("audit", "source")
    op.drop_table("leases")

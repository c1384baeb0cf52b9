"""Statistics of stored partitions, references for drift, and the outbox of alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_MOMENT = sa.DateTime(timezone=True)
# SQLite counts up nothing else.
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "statistics",
        sa.Column("feature_group", sa.String(128), primary_key=True),
        sa.Column("group_version", sa.Integer, primary_key=True),
        sa.Column("partition", sa.String(255), primary_key=True),
        sa.Column("feature", sa.String(128), primary_key=True),
        sa.Column("table_version", sa.Integer, nullable=False),
        sa.Column("computed_at", _MOMENT, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("missing", sa.BigInteger, nullable=False),
        sa.Column("distinct", sa.BigInteger),
        sa.Column("mean", sa.Float),
        sa.Column("stddev", sa.Float),
        sa.Column("minimum", sa.Float),
        sa.Column("maximum", sa.Float),
        sa.Column("profile", sa.Text, nullable=False),
    )
    op.create_table(
        "drift_references",
        sa.Column("feature_group", sa.String(128), primary_key=True),
        sa.Column("group_version", sa.Integer, primary_key=True),
        sa.Column("against", sa.String(160), primary_key=True),
        sa.Column("feature", sa.String(128), primary_key=True),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "alerts",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("feature_group", sa.String(128)),
        sa.Column("owners", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("sent_at", _MOMENT),
    )
    op.create_index("ix_alerts_sent_at", "alerts", ["sent_at"])


def downgrade() -> None:
    for table in ("alerts", "drift_references", "statistics"):
        op.drop_table(table)

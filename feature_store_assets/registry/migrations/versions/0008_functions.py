"""Trusted functions: those of views that an `apply` of this registry recorded stay trusted."""

import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    table = op.create_table(
        "functions",
        sa.Column("function", sa.Text, primary_key=True),
        sa.Column("trusted_by", sa.String(128), nullable=False),
        sa.Column("trusted_at", sa.DateTime(timezone=True), nullable=False),
    )
    if found := _applied_here():
        row = {"trusted_by": "migration 0008", "trusted_at": datetime.now(UTC)}
        op.bulk_insert(table, [{"function": each, **row} for each in sorted(found)])


def _applied_here() -> set[str]:
    """Return the functions of views whose content the audit log knows from an `apply`."""
    connection = op.get_bind()
    entries = connection.execute(
        sa.text("SELECT subject, detail FROM audit WHERE action = 'apply'")
    ).all()
    known = {(subject, json.loads(detail).get("hash")) for subject, detail in entries}
    views = connection.execute(
        sa.text("SELECT name, hash, definition FROM applied WHERE kind = 'view'")
    ).all()
    return {
        each["function"]
        for name, content, definition in views
        if (f"view {name}", content) in known
        for each in json.loads(definition).get("computed", ())
    }


def downgrade() -> None:
    op.drop_table("functions")

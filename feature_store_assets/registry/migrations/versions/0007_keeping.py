"""Snapshots with their manifests, legal holds, and what retention removed."""

import hashlib
import json
from datetime import UTC

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "snapshots",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "holds",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("placed_by", sa.String(128), nullable=False),
        sa.Column("placed_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "removals",
        sa.Column("feature_group", sa.String(128), primary_key=True),
        sa.Column("group_version", sa.Integer, primary_key=True),
        sa.Column("partition", sa.String(255), primary_key=True),
        sa.Column("first", _MOMENT),
        sa.Column("last", _MOMENT),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("table_version", sa.BigInteger),
        sa.Column("removed_at", _MOMENT, nullable=False),
        sa.Column("freed_at", _MOMENT),
    )
    op.create_table(
        "floors",
        sa.Column("feature_group", sa.String(128), primary_key=True),
        sa.Column("group_version", sa.Integer, primary_key=True),
        sa.Column("table_version", sa.BigInteger, nullable=False),
    )
    _record_pinned()


def _record_pinned() -> None:
    """Record the snapshots that were pins alone: what their files were like, nobody knows."""
    connection = op.get_bind()
    pins = sa.Table("pins", sa.MetaData(), autoload_with=connection)
    snapshots = sa.Table("snapshots", sa.MetaData(), autoload_with=connection)
    held: dict[str, list[sa.RowMapping]] = {}
    for row in connection.execute(sa.select(pins).order_by(pins.c.feature_group)).mappings():
        if ":" not in row["snapshot"]:
            held.setdefault(row["snapshot"], []).append(row)
    for name, rows in held.items():
        told = {each: rows[0][each] for each in ("description", "created_by")}
        groups = [
            {
                "group": row["feature_group"],
                "version": row["group_version"],
                "table_version": row["table_version"],
                "files": None,
            }
            for row in rows
        ]
        at = rows[0]["created_at"]
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        manifest = {
            "format": 0,
            "name": name,
            "tags": {},
            "created_at": at.isoformat(),
            "groups": groups,
            **told,
        }
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        connection.execute(
            snapshots.insert().values(
                name=name, digest=digest, manifest=text, tags="{}", created_at=at, **told
            )
        )

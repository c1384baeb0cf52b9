"""Pins with the kind of their owner, which was a prefix of the owner's name before."""

import sqlalchemy as sa
from alembic import op

from feature_store_assets.registry.pins import owner_of

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    connection = op.get_bind()
    before = sa.Table("pins", sa.MetaData(), autoload_with=connection)
    rows = [dict(row) for row in connection.execute(sa.select(before)).mappings()]
    op.drop_table("pins")
    table = op.create_table(
        "pins",
        sa.Column("owner_kind", sa.String(16), primary_key=True),
        sa.Column("owner", sa.String(128), primary_key=True),
        sa.Column("feature_group", sa.String(128), primary_key=True),
        sa.Column("group_version", sa.Integer, primary_key=True),
        sa.Column("table_version", sa.Integer, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    for row in rows:
        row["owner_kind"], row["owner"] = owner_of(row.pop("snapshot"))
    op.bulk_insert(table, rows)


def downgrade() -> None:
    connection = op.get_bind()
    after = sa.Table("pins", sa.MetaData(), autoload_with=connection)
    rows = [dict(row) for row in connection.execute(sa.select(after)).mappings()]
    op.drop_table("pins")
    columns = [column for column in after.columns if column.name not in {"owner", "owner_kind"}]
    table = op.create_table(
        "pins",
        sa.Column("snapshot", sa.String(128), primary_key=True),
        *(
            sa.Column(each.name, each.type, primary_key=each.primary_key, nullable=each.nullable)
            for each in columns
        ),
    )
    for row in rows:
        kind, owner = row.pop("owner_kind"), row.pop("owner")
        row["snapshot"] = owner if kind == "snapshot" else f"{kind.replace('_', '-')}:{owner}"
    op.bulk_insert(table, rows)

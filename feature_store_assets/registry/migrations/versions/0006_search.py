"""Full-text search: what can be found, and the words by which."""

import sqlalchemy as sa
from alembic import op

from feature_store_assets.registry.search import index_all

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "search_entries",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(260), nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("own", sa.String(128), nullable=False),
        sa.Column("within", sa.String(129), nullable=False),
        sa.Column("entity", sa.String(128), nullable=False),
        sa.Column("dtype", sa.String(64), nullable=False),
        sa.Column("card", sa.Text, nullable=False),
    )
    op.create_index("ix_search_entries_owner", "search_entries", ["owner"])
    if op.get_bind().dialect.name == "sqlite":
        # The words come folded and split: whatever is not ASCII belongs to one.
        op.execute(
            "CREATE VIRTUAL TABLE search_index USING fts5"
            "(name, labels, feature_group, description, tokenize = 'ascii', prefix = '2 3')"
        )
    else:
        op.execute("CREATE TABLE search_index (id BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)")
        op.execute("CREATE INDEX ix_search_index_words ON search_index USING gin (words)")
    # What is derived is made by the code that reads it. A later migration that changes these
    # tables takes the filling over.
    index_all(op.get_bind())


def downgrade() -> None:
    for table in ("search_index", "search_entries"):
        op.drop_table(table)

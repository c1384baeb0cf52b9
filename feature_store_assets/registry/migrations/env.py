"""Alembic's entry: migrations run on the connection, and in the transaction, that is handed in."""

from alembic import context

from feature_store_assets.registry.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,
)
context.run_migrations()

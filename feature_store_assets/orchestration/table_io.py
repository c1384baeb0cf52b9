"""The IO manager: source assets are stored as tables, upstream tables are loaded as asked for."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa

from feature_store_assets.dagster_io.names import ALL
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import DataError
from feature_store_assets.ingestion.partition_assignment import TimeSlots, by_column
from feature_store_assets.offline.dataframes import FeatureTable, arrow_table
from feature_store_assets.offline.schema import PARTITION, TableSchema
from feature_store_assets.offline.source_table import RawTable
from feature_store_assets.store import FeatureStore

# Dagster's own metadata key for the column that a table is partitioned by.
_PARTITION_EXPR = "partition_expr"


class TableIOManager(dg.IOManager):
    """Stores what source assets return, and loads tables for the assets below them.

    A parameter's annotation decides what it gets: `polars.DataFrame` (the default) or
    `LazyFrame`, `pandas.DataFrame`, `pyarrow.Table`. A partitioned source asset that is run for a
    range names the column that dates its rows in its metadata: `{"partition_expr": "column"}`.

    Parameters
    ----------
    groups
        Feature groups by asset name; these write themselves.
    open_store
        Opens the store.
    """

    def __init__(
        self, groups: Mapping[str, FeatureGroup], open_store: Callable[[], FeatureStore]
    ) -> None:
        self._groups = groups
        self._open_store = open_store

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store the frame that a source asset returned."""
        name = context.asset_key.to_user_string()
        data = arrow_table(obj)
        column = (context.definition_metadata or {}).get(_PARTITION_EXPR)
        keys = list(context.asset_partition_keys) if context.has_asset_partitions else [ALL]
        with self._open_store() as store:
            table = self._raw(store, context.asset_key, column)
            rows = self._assigned(context, name, data, column, keys)
            commit = table.replace(rows, keys, metadata={"run_id": context.run_id})
        context.add_output_metadata(
            {
                "dagster/row_count": commit.rows,
                "dagster/column_schema": dg.TableSchema(
                    [dg.TableColumn(field.name, str(field.type)) for field in data.schema]
                ),
                "table_version": commit.version,
            }
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """Load an upstream table: the partitions that the mapping asks for, or all of it."""
        keys = list(context.asset_partition_keys) if context.has_asset_partitions else None
        name = context.asset_key.to_user_string()
        with self._open_store() as store:
            group = self._groups.get(name)
            if group is not None:
                rows = _group_rows(store, group, keys)
            else:
                raw = self._raw(store, context.asset_key, None)
                if not raw.exists:
                    raise DataError(
                        f"'{name}' holds no rows yet. Materialize it first, or in the same run."
                    )
                rows = raw.read(keys)
        return _as_annotated(rows, context.dagster_type.typing_type)

    @staticmethod
    def _raw(store: FeatureStore, key: dg.AssetKey, column: str | None) -> RawTable:
        path = store.location.at("/".join(("raw", *key.path)))
        compression = store.config.compression
        return RawTable(path, key.to_user_string(), column, compression=compression)

    @staticmethod
    def _assigned(
        context: dg.OutputContext,
        name: str,
        data: pa.Table,
        column: str | None,
        keys: list[str],
    ) -> pa.Table:
        """Give each row the partition that it belongs to."""
        if len(keys) == 1 and column is None:
            return data.append_column(PARTITION, pa.repeat(keys[0], data.num_rows))
        if column is None:
            raise DataError(
                f"'{name}' was run for {len(keys)} partitions at once. Say which column dates its "
                f"rows, metadata={{'{_PARTITION_EXPR}': '<column>'}}, or take its single-run "
                f"backfill policy away."
            )
        windows = TimeSlots.of(context.asset_partitions_def, keys)
        return by_column(data, column, windows, owner=name)


def _group_rows(store: FeatureStore, group: FeatureGroup, keys: list[str] | None) -> pa.Table:
    table = store.table(group)
    if table.exists:
        return table.read(partitions=keys)
    if keys == []:
        # The first partition of a group that reads its own past.
        return TableSchema.of(group).with_key_types(pa.schema([])).arrow.empty_table()
    raise DataError(f"'{group.name}' holds no rows yet. Materialize it first, or in the same run.")


def _as_annotated(rows: pa.Table, kind: Any) -> Any:
    table = FeatureTable(rows)
    if kind is pa.Table:
        return rows
    if kind is pd.DataFrame:
        return table.to_pandas()
    if kind is pl.LazyFrame:
        return table.to_polars().lazy()
    return table.to_polars()

"""Small tables for the offline tests."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_store_assets.offline.delta_log import Commit
from feature_store_assets.offline.schema import PARTITION, TableSchema, conform
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets.storage import location

DAY = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = TableSchema("spending", (("customer", "string"),), "event_timestamp", (("x", "int64"),))


def new_table(path: Path, schema: TableSchema = SCHEMA) -> OfflineTable:
    table = OfflineTable(location(path / "v1"), schema)
    table.ensure()
    return table


def frame(rows: Sequence[dict[str, Any]], schema: TableSchema, partition: str = "") -> pa.Table:
    """Return dict rows as the table takes them; their partition is the event day by default."""
    wanted = schema.arrow
    given = [field for field in wanted if not rows or field.name in rows[0]]
    data = pa.Table.from_pylist(list(rows), schema=pa.schema(given))
    conformed = conform(data, schema, written=datetime.now(UTC))
    days = [partition or f"{row[schema.timestamp]:%Y-%m-%d}" for row in rows]
    return conformed.append_column(PARTITION, pa.array(days, pa.string()))


def day_rows(day: int, count: int = 3, x: int = 0) -> list[dict[str, Any]]:
    """Return `count` customers' rows at noon of the n-th day."""
    noon = DAY + timedelta(days=day, hours=12)
    return [{"customer": f"c{n}", "event_timestamp": noon, "x": x + n} for n in range(count)]


def write_day(table: OfflineTable, day: int, count: int = 3, x: int = 0) -> Commit:
    key = f"{DAY + timedelta(days=day):%Y-%m-%d}"
    return table.replace(frame(day_rows(day, count, x), table.schema, key), [key])

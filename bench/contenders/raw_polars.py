"""Polars by hand, on the same files: winners by keys and times alone, then their features.

The leanest exact plan around its as-of join: what a careful author would write by hand.
Several groups are joined one after the other.
"""

from datetime import timedelta
from typing import Any

import polars as pl
import pyarrow as pa

from bench.contenders.protocol import Answer, Job, serve

_Group = dict[str, Any]


def prepare(job: Job) -> Answer:
    """Load the spine."""
    spine = pl.read_parquet(job["spine"])
    ttl = None if job["ttl"] is None else timedelta(seconds=job["ttl"])

    def answer() -> pl.DataFrame:
        found = [_features(spine, group, job, ttl) for group in job["groups"]]
        return pl.concat([spine, *found], how="horizontal")

    return answer


def _features(spine: pl.DataFrame, group: _Group, job: Job, ttl: timedelta | None) -> pl.DataFrame:
    """Return the features of a group for each row of the spine, in its order."""
    winners = _winners(spine, group, job, ttl)
    features = list(group["features"])
    parts, base = [], 0
    for path, rows in group["files"]:
        first, last = winners["found"].search_sorted(
            pl.Series([base, base + rows], dtype=winners["found"].dtype)
        )
        if last > first:
            hits = winners[first:last]
            part = pl.read_parquet(path, columns=features, hive_partitioning=False)
            chosen = part[(hits["found"] - base).to_numpy()]
            parts.append(hits.select("asked").hstack(chosen.select(features)))
        base += rows
    asked = spine.with_row_index("asked").select("asked")
    return asked.join(pl.concat(parts), on="asked", how="left", maintain_order="left").drop("asked")


def _winners(spine: pl.DataFrame, group: _Group, job: Job, ttl: timedelta | None) -> pl.DataFrame:
    """Return positions in the spine and the numbers of their rows, by number."""
    key, event, created = group["key"], job["timestamp"], job["created"]
    index = pl.scan_parquet(
        [path for path, _ in group["files"]], row_index_name="found", hive_partitioning=False
    )
    return (
        spine.lazy()
        .select(key, event)
        .with_row_index("asked")
        .sort(event)
        .join_asof(
            index.select(key, event, created, "found").sort(event, created),
            on=event,
            by=key,
            tolerance=ttl,
            check_sortedness=False,
        )
        .select("asked", "found")
        .collect(engine="streaming")
        .drop_nulls()
        .sort("found")
    )


def arrow(answer: pl.DataFrame) -> pa.Table:
    return answer.to_arrow()


if __name__ == "__main__":
    serve(prepare, arrow)

"""Feast with its local stores, as a minimal feature repository has it: `duckdb`, and `file`
(which is dask, the default).

A Feast source is one Parquet file with the same rows in the same order. Its registry is a local
file; reading that is part of its answer, as reading ours is of ours. Telemetry is off.
"""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytz  # type: ignore[import-untyped]
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64, String

from bench.contenders.protocol import Answer, Job, serve

_TYPES = {"float64": Float64, "string": String}
_KEYS = {"int64": ValueType.INT64, "string": ValueType.STRING}


def prepare(job: Job) -> Answer:
    """Make the repository and load the spine."""
    store = _store(job)
    spine = pd.read_parquet(job["spine"])
    time = job["timestamp"]
    # Feast asks for pytz's own UTC by identity and is slow without it.
    spine[time] = spine[time].dt.tz_convert(pytz.UTC)
    names = [f"{group['name']}:{each}" for group in job["groups"] for each in group["features"]]

    def answer() -> Any:
        found = store.get_historical_features(entity_df=spine, features=names)
        # What each store has in its hands anyway: Arrow or pandas.
        return found.to_df() if job["pandas"] or job["store"] == "file" else found.to_arrow()

    return answer


def _store(job: Job) -> FeatureStore:
    scratch = Path(job["scratch"])
    scratch.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(scratch / "registry.db"),
            repo_path=str(scratch),
            offline_store={"type": job["store"]},
            online_store={"type": "sqlite", "path": str(scratch / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    keys = {group["key"]: _KEYS[group["key_type"]] for group in job["groups"]}
    entities = {
        key: Entity(name=key, join_keys=[key], value_type=kind) for key, kind in keys.items()
    }
    view = partial(_view, job=job, entities=entities)
    store.apply([*entities.values(), *map(view, job["groups"])])
    return store


def _view(group: dict[str, Any], *, job: Job, entities: dict[str, Entity]) -> FeatureView:
    source = FileSource(
        name=f"{group['name']}_rows",
        path=group["one_file"],
        timestamp_field=job["timestamp"],
        created_timestamp_column=job["created"],
        file_format=ParquetFormat(),
    )
    return FeatureView(
        name=group["name"],
        entities=[entities[group["key"]]],
        schema=[Field(name=name, dtype=_TYPES[kind]) for name, kind in group["features"].items()],
        ttl=timedelta(seconds=job["ttl"] or 0),
        source=source,
        online=False,
    )


def arrow(answer: Any) -> pa.Table:
    if isinstance(answer, pd.DataFrame):
        return pa.Table.from_pandas(answer, preserve_index=False)
    table: pa.Table = answer
    return table


if __name__ == "__main__":
    serve(prepare, arrow)

"""Feast in process, its Redis store: `get_online_features(...).to_dict()`. Telemetry is off.

With ``"remote"`` its own client reads from a server of ours instead.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64, String

from bench.contenders.calls import Case, Job, Read, Ready, Rows, serve

_TYPES = {"float64": Float64, "string": String, "int64": Int64}
_KEY, _TIME = "user_id", "event_timestamp"


def repository(job: Job) -> FeatureStore:
    """Make the repository and put every row online."""
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    remote = job.get("remote")
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        repo_path=str(folder),
        offline_store={"type": "file"},
        online_store={"type": "remote", "path": remote}
        if remote
        else {"type": "redis", "connection_string": job["uri"].removeprefix("redis://")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    user = Entity(name="user", join_keys=[_KEY], value_type=ValueType.STRING)
    views = [
        FeatureView(
            name=group["name"],
            entities=[user],
            schema=[Field(name=name, dtype=_TYPES[kind]) for name, kind in group["types"].items()],
            ttl=timedelta(days=30),
            source=FileSource(
                name=f"{group['name']}_rows", path=group["file"], timestamp_field=_TIME
            ),
            online=True,
        )
        for group in job["groups"]
    ]
    store.apply([user, *views])
    if not remote and not job.get("filled"):
        for group in job["groups"]:
            store.write_to_online_store(group["name"], pd.read_parquet(group["file"]))
    return store


def prepare(job: Job) -> Any:
    store = repository(job)

    def make(case: Case) -> tuple[Ready, Read, Rows]:
        names = [
            f"{group['name']}:{feature}"
            for group in case["groups"]
            for feature in group["features"]
        ]
        shown = [feature for group in case["groups"] for feature in group["features"]]

        def ready(entities: list[str]) -> Any:
            return [{_KEY: each} for each in entities]

        def read(entities: Any) -> Any:
            return store.get_online_features(features=names, entity_rows=entities).to_dict()

        def rows(found: Any) -> list[list[Any]]:
            return [list(row) for row in zip(*(found[name] for name in shown), strict=True)]

        return ready, read, rows

    return make


if __name__ == "__main__":
    serve(prepare)

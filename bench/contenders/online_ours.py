"""Ours in process: from entity ids through the applied declarations to dicts, ttl in force."""

from pathlib import Path
from typing import Any

from bench.contenders.calls import Case, Job, Read, Ready, Rows, serve
from feature_store_assets import FeatureStore, FeatureStoreConfig


def prepare(job: Job) -> Any:
    store = FeatureStore(
        FeatureStoreConfig(
            storage_path=Path(job["root"]), online_store_uri=job["uri"], **job["settings"]
        )
    )

    def make(case: Case) -> tuple[Ready, Read, Rows]:
        what = case["joined"] if job["precomputed"] else case["name"]

        def read(entities: list[str]) -> Any:
            return store.get_online_features(what, entities)

        return list, read, lambda found: [list(row.values()) for row in found.values()]

    return make


if __name__ == "__main__":
    serve(prepare)

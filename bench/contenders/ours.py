"""This project: `FeatureStore.get_historical_features`, looked up in its registry and all."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.contenders.protocol import Answer, Job, serve
from feature_store_assets import FeatureStore, FeatureStoreConfig
from feature_store_assets.offline.dataframes import FeatureTable


def prepare(job: Job) -> Answer:
    """Open the store and load the spine."""
    store = FeatureStore(FeatureStoreConfig(storage_path=Path(job["root"]), **job["settings"]))
    spine = pq.read_table(job["spine"])
    ttl = None if job["ttl"] is None else timedelta(seconds=job["ttl"])

    def answer() -> FeatureTable | pd.DataFrame:
        found = store.get_historical_features(
            job["view"], spine, timestamp=job["timestamp"], ttl=ttl
        )
        return found.to_pandas() if job["pandas"] else found

    return answer


def arrow(answer: FeatureTable | pd.DataFrame) -> pa.Table:
    if isinstance(answer, pd.DataFrame):
        return pa.Table.from_pandas(answer, preserve_index=False)
    return answer.to_arrow()


if __name__ == "__main__":
    serve(prepare, arrow)

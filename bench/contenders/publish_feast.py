"""Feast's `write_to_online_store` on its Redis store, given a finished frame. Telemetry is off.

An "entity" of a call is a prefix: the rows are written under keys that begin with it.
"""

from typing import Any

import pandas as pd

from bench.contenders.calls import Case, Job, Read, Ready, Rows, serve
from bench.contenders.online_feast import repository

_KEY = "user_id"


def prepare(job: Job) -> Any:
    store = repository(job)

    def make(case: Case) -> tuple[Ready, Read, Rows]:
        (group,) = job["groups"]
        frame = pd.read_parquet(group["file"])

        def ready(prefixes: list[str]) -> pd.DataFrame:
            return frame.assign(**{_KEY: prefixes[0] + frame[_KEY]})

        def write(frame: pd.DataFrame) -> pd.DataFrame:
            store.write_to_online_store(group["name"], frame)
            return frame

        def rows(frame: pd.DataFrame) -> list[list[Any]]:
            names = [f"{group['name']}:{name}" for name in group["types"]]
            asked = [{_KEY: each} for each in frame[_KEY][: case["compared"]]]
            found = store.get_online_features(features=names, entity_rows=asked).to_dict()
            return [
                list(row) for row in zip(*(found[name] for name in group["types"]), strict=True)
            ]

        return ready, write, rows

    return make


if __name__ == "__main__":
    serve(prepare)

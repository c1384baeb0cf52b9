"""What a fresh process pays before its first answer."""

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.measuring import REPETITIONS, Cost, Row, aim, versus
from feature_store_assets import Entity, Feature, FeatureGroup, FeatureStore, FeatureStoreConfig
from feature_store_assets.declaration.partitions import Partitions

_READ = """
from feature_store_assets import FeatureStore, FeatureStoreConfig
with FeatureStore(FeatureStoreConfig(storage_path={root!r})) as store:
    assert store.get_online_features("spending", ["ann"]) == {{"ann": {{"spent": 1.5}}}}
"""


def cold(folder: Path) -> Iterator[Row]:
    """Fresh interpreters, files in the page cache; the interpreter's own start is in all figures.

    `import feature_store_assets` resolves its names on first use; the store's own modules are
    measured by `from feature_store_assets import FeatureStore`. The cold read opens the registry
    and LMDB, reads one row and closes.
    """
    root = folder / "store"
    with FeatureStore(FeatureStoreConfig(storage_path=root)) as store:
        store.register_feature_group(
            FeatureGroup(
                "spending",
                entity=Entity("user", {"user_id": "string"}),
                features=[Feature("spent", "float64")],
                partitions=Partitions.calendar(["year"]),
                online=True,
            )
        )
        rows = [{"user_id": "ann", "event_timestamp": datetime.now(UTC), "spent": 1.5}]
        store.write_features(rows, "spending")
    ours, opened, read, raw = _in_turn(
        "import feature_store_assets",
        "from feature_store_assets import FeatureStore",
        _READ.format(root=str(root)),
        "import pyarrow",
    )
    asked = aim("CPU <= 1.5x", met=ours.cpu <= 1.5 * raw.cpu)
    yield versus("import feature_store_assets; import pyarrow", ours, raw, asked)
    yield versus("import FeatureStore; import pyarrow", opened, raw)
    asked = aim("<= 1 s", met=read.wall <= 1)
    yield versus("an online read from a cold start; import pyarrow", read, raw, asked)


def _in_turn(*programs: str) -> list[Cost]:
    found: list[list[Cost]] = [[] for _ in programs]
    for number in range(REPETITIONS + 1):
        for program, costs in zip(programs, found, strict=True):
            cost = _child(program)
            if number:  # the first round fills the page cache
                costs.append(cost)
    return [
        Cost(median(each.wall for each in costs), median(each.cpu for each in costs))
        for costs in found
    ]


def _child(program: str) -> Cost:
    wall, cpu = time.perf_counter(), _children_cpu()
    subprocess.run([sys.executable, "-c", program], check=True)
    return Cost(time.perf_counter() - wall, _children_cpu() - cpu)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

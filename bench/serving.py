"""What the serving benchmarks read: the same rows for every contender, in every store."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from bench.children import REPOSITORY, peers_environment, peers_python
from feature_store_assets import (
    Entity,
    Feature,
    FeatureGroup,
    FeatureStore,
    FeatureStoreConfig,
    FeatureView,
)
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.online.row import KeySpace

ENTITIES = 10_000
WIDTHS = (10, 20, 50, 200)
KEY = "user_id"
_TTL = timedelta(days=30)


@dataclass(frozen=True)
class Shape:
    """Features of one entity, in one group or in several."""

    features: int
    groups: int

    @property
    def names(self) -> list[str]:
        """The groups' names."""
        if self.groups == 1:
            return [f"g{self.features}"]
        return [f"g{self.features}_{number}" for number in range(self.groups)]

    @property
    def name(self) -> str:
        """What is asked for: the group, or the view of the groups."""
        return self.names[0] if self.groups == 1 else f"v{self.features}"

    @property
    def joined(self) -> str:
        """The precomputed view."""
        return self.name if self.groups == 1 else f"p{self.features}"

    def declared(self) -> list[FeatureGroup]:
        """The groups; every tenth feature is text, every seventh a whole number."""
        kinds = {
            f"f{number}": "string"
            if number % 10 == 9
            else "int64"
            if number % 7 == 6
            else "float64"
            for number in range(self.features)
        }
        parts = np.array_split(np.array(list(kinds)), self.groups)
        return [
            FeatureGroup(
                name,
                entity=Entity("user", {KEY: "string"}),
                features=[Feature(str(each), kinds[str(each)]) for each in part],
                partitions=Partitions.calendar(["year"]),
                ttl=_TTL,
                online=True,
            )
            for name, part in zip(self.names, parts, strict=True)
        ]

    def case(self) -> dict[str, Any]:
        """What a contender is told."""
        return {
            "name": self.name,
            "joined": self.joined,
            "groups": [
                {
                    "name": group.name,
                    "prefix": KeySpace.of(group, 0).prefix.decode(),
                    "features": group.feature_names,
                    "types": {each.name: each.dtype for each in group.features},
                }
                for group in self.declared()
            ],
        }


SHAPES = [Shape(features, groups) for features in WIDTHS for groups in (1, 3)]


def rows(group: FeatureGroup) -> pl.DataFrame:
    """The rows of a group, one per entity, known a moment ago."""
    random = np.random.default_rng(int(group.name.lstrip("g").replace("_", "")))
    made: dict[str, Any] = {
        KEY: [f"user_{number}" for number in range(ENTITIES)],
        "event_timestamp": [datetime.now(UTC).replace(microsecond=0)] * ENTITIES,
    }
    for feature in group.features:
        if feature.dtype == "float64":
            made[feature.name] = random.normal(size=ENTITIES)
        elif feature.dtype == "int64":
            made[feature.name] = random.integers(0, 1_000_000, ENTITIES)
        else:
            made[feature.name] = [f"text {number}" for number in random.integers(0, 1000, ENTITIES)]
    return pl.DataFrame(made)


def fill(folder: Path, uri: str | None) -> FeatureStoreConfig:
    """A store of ours with every shape in it, published."""
    config = FeatureStoreConfig(storage_path=folder, online_store_uri=uri)
    with FeatureStore(config) as store:
        for shape in SHAPES:
            groups = shape.declared()
            views = []
            if shape.groups > 1:
                views = [
                    FeatureView(shape.name, groups),
                    FeatureView(shape.joined, groups, precompute=True),
                ]
            store.apply(*groups, *views)
            for group in groups:
                store.write_features(rows(group), group.name)
    return config


def files(folder: Path) -> list[dict[str, Any]]:
    """The same rows as files, a group each, as Feast is told of them."""
    folder.mkdir(parents=True, exist_ok=True)
    told = []
    for shape in SHAPES:
        for group in shape.declared():
            path = folder / f"{group.name}.parquet"
            rows(group).write_parquet(path)
            types = {each.name: each.dtype for each in group.features}
            told.append({"name": group.name, "types": types, "file": str(path)})
    return told


@dataclass(frozen=True)
class Taken:
    """Microseconds of calls: percentiles over all, and the median CPU of one."""

    p50: float
    p95: float
    p99: float
    cpu: float

    @classmethod
    def of(cls, blocks: Sequence[dict[str, Any]]) -> "Taken":
        walls = np.concatenate([block["walls"] for block in blocks])
        p50, p95, p99 = np.percentile(walls, [50, 95, 99])
        return cls(p50, p95, p99, median(block["cpu"] for block in blocks))


class Child:
    """A contender in a process of its own, which stays until the block ends."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._line()

    def rows(self, case: dict[str, Any], entities: list[str]) -> list[list[Any]]:
        """The rows that it reads."""
        found: list[list[Any]] = self._asked({"case": case, "entities": entities})["rows"]
        return found

    def measured(
        self, case: dict[str, Any], entities: list[list[str]], seconds: float
    ) -> dict[str, Any]:
        """The microseconds of its calls."""
        return self._asked({"case": case, "entities": entities, "seconds": seconds})

    def _asked(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._line())
        return told

    def _line(self) -> str:
        assert self._process.stdout is not None
        while not (line := self._process.stdout.readline()).startswith(("ready", "{")):
            if not line:
                raise RuntimeError("A contender ended; what it said is above.")
        return line


@contextmanager
def child(module: str, job: dict[str, Any], *, home: Path, peers: bool = False) -> Iterator[Child]:
    """Start a contender, in the peers' environment if it needs that."""
    python = str(peers_python(home)) if peers else sys.executable
    command = [python, "-m", f"bench.contenders.{module}", json.dumps(job)]
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=peers_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        yield Child(process)

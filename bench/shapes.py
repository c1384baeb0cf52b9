"""The data of the point-in-time cases: seeded, made once, kept under `.bench`.

Each group is a table of a real store, cut by day or by month. What makes the join hard is in it:
random times, 0.5 % of the rows corrected a day later (the same event time, a later created time),
2 % of the values null; in the spine entities that are asked before their first value, 0.5 % unknown
entities and 0.5 % of the rows repeated.
"""

import hashlib
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.offline import prepared
from feature_store_assets import (
    Entity,
    Feature,
    FeatureGroup,
    FeatureStore,
    FeatureStoreConfig,
    FeatureView,
)
from feature_store_assets.offline.schema import CREATED

ROW, TIME, VIEW = "row", "event_timestamp", "all_features"
START = datetime(2024, 1, 1, tzinfo=UTC)
_DAY = 86_400_000_000
_CORRECTED = _UNKNOWN = _REPEATED = 0.005
_NULL = 0.02
# So much is generated and committed at once; it bounds the memory of making the data.
_CELLS = 30_000_000
# What decides how the files come out: data that other code wrote is made anew.
_OFFLINE = Path(__file__).parent.parent / "feature_store_assets" / "offline"
_WRITING = [Path(__file__), *(_OFFLINE / name for name in ("delta.py", "log.py", "schema.py"))]


@dataclass(frozen=True)
class Group:
    """A table to be: so many facts of so many entities, and what each fact holds.

    `trips` marks the one group with a fact for each row of the spine, at its very time.
    """

    name: str
    rows: int
    entities: int
    floats: int
    strings: int = 0
    key: str = "customer_id"
    key_type: str = "string"
    trips: bool = False

    @property
    def features(self) -> dict[str, str]:
        """The features' names and types."""
        floats = {f"{self.name}_f{number}": "float64" for number in range(self.floats)}
        return floats | {f"{self.name}_s{number}": "string" for number in range(self.strings)}

    @property
    def declared(self) -> FeatureGroup:
        return FeatureGroup(
            self.name,
            entity=Entity(self.key.removesuffix("_id"), {self.key: self.key_type}),
            timestamp=TIME,
            features=[Feature(name, kind) for name, kind in self.features.items()],
        )


@dataclass(frozen=True)
class Spine:
    """So many questions about the days from `first` up to `last`; None is the end of the data."""

    rows: int
    first: int = 0
    last: int | None = None


@dataclass(frozen=True)
class Shape:
    """What one case works on; a small one is cut by month, as pushed groups are by default."""

    name: str
    groups: tuple[Group, ...]
    days: int
    monthly: bool = False

    @property
    def cut(self) -> tuple[str, ...]:
        return ("year", "month") if self.monthly else ("year", "month", "day")

    @property
    def key_format(self) -> str:
        """How the key of a partition is written."""
        return "-".join(("%Y", "%m", "%d")[: len(self.cut)])

    def scaled(self, divisor: int) -> "Shape":
        """Return the same with so many times fewer rows and entities."""
        groups = [
            replace(
                each,
                rows=max(each.rows // divisor, self.days),
                entities=max(each.entities // divisor, 10),
            )
            for each in self.groups
        ]
        return replace(self, groups=tuple(groups))

    @property
    def tiny(self) -> "Shape":
        """The same groups with hardly any rows, to warm a contender up."""
        groups = [replace(each, rows=200, entities=10) for each in self.groups]
        return replace(self, name=f"{self.name}_tiny", groups=tuple(groups), days=2)


@dataclass(frozen=True)
class Data:
    """A shape on the disk."""

    shape: Shape
    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "store"

    def files(self) -> dict[str, list[tuple[str, int]]]:
        """Return the live Parquet files of each group and their rows, as the store lists them."""
        with FeatureStore(_config(self)) as store:
            return {
                group.name: [(file.uri, file.rows) for file in store.table(group.declared).files()]
                for group in self.shape.groups
            }

    def one_file(self, group: Group, files: list[tuple[str, int]]) -> Path:
        """Return one Parquet file with the rows of all files, in their order, made if need be."""
        path = self.folder / f"{group.name}.parquet"
        if not path.exists():
            unfinished = path.with_suffix(".part")
            pl.scan_parquet([name for name, _ in files], hive_partitioning=False).sink_parquet(
                unfinished, maintain_order=True
            )
            unfinished.rename(path)
        return path

    def spine(self, asked: Spine) -> Path:
        """Return the file of a spine, made if need be."""
        path = self.folder / f"spine_{asked.rows}_{asked.first}_{asked.last}.parquet"
        if not path.exists():
            _spine(self.shape, asked).write_parquet(path)
        return path


def stored(home: Path, shape: Shape, asked: Spine) -> Data:
    """Return a shape's data, made unless it is there as today's code would write it."""
    content = [repr(shape), *(path.read_text() for path in _WRITING)]
    if any(group.trips for group in shape.groups):
        content.append(repr(asked))
    digest = hashlib.sha256("\n".join(content).encode()).hexdigest()[:12]
    data = Data(shape, home / "data" / f"{shape.name}-{digest}")
    done = data.folder / "done"
    if not done.exists():
        for older in (home / "data").glob(f"{shape.name}-*"):
            shutil.rmtree(older)
        _write(data, asked)
        done.touch()
    return data


def _config(data: Data) -> FeatureStoreConfig:
    return FeatureStoreConfig(storage_path=data.root, partitioning_columns=data.shape.cut)


def _write(data: Data, asked: Spine) -> None:
    shape = data.shape
    with FeatureStore(_config(data)) as store:
        declared = [store.register_feature_group(group.declared) for group in shape.groups]
        store.apply(FeatureView(VIEW, declared))
        for group, applied in zip(shape.groups, declared, strict=True):
            table = store.table(applied)
            trips = pl.read_parquet(data.spine(asked)) if group.trips else None
            for rows in _chunks(shape, group, trips):
                keys = rows[TIME].dt.strftime(shape.key_format)
                partitions = keys.unique().sort().to_list()
                table.replace(prepared(table, rows.to_arrow(), keys), partitions)


def _chunks(shape: Shape, group: Group, trips: pl.DataFrame | None) -> Iterator[pl.DataFrame]:
    """Generate the rows of a group, some days at a time, but no partition in two."""
    width = len(group.features) + 3
    each = max(1, _CELLS * shape.days // (group.rows * width))
    assert each >= shape.days or not shape.monthly, "cut this shape by day"
    for first in range(0, shape.days, each):
        days = range(first, min(first + each, shape.days))
        yield pl.concat([_day(shape, group, day, trips) for day in days])


def _day(shape: Shape, group: Group, day: int, trips: pl.DataFrame | None) -> pl.DataFrame:
    random = np.random.default_rng([zlib.crc32(group.name.encode()), day])
    if trips is None:
        rows = group.rows // shape.days
        keys = _named_keys(group, random.integers(0, group.entities, rows))
        times = _instants(day * _DAY + random.integers(0, _DAY, rows))
    else:
        begin = START + timedelta(days=day)
        today = trips.filter(pl.col(TIME).is_between(begin, begin + timedelta(days=1), "left"))
        keys, times, rows = today[group.key], today[TIME], today.height
    late = pl.Series(random.integers(0, _DAY // 24, rows)).cast(pl.Duration("us"))
    facts = pl.DataFrame({group.key: keys, TIME: times, CREATED: times + late})
    again = facts.filter(pl.Series(random.random(rows) < _CORRECTED))
    all_rows = pl.concat([facts, again.with_columns(pl.col(CREATED) + timedelta(days=1))])
    return all_rows.with_columns(**_values(group, random, all_rows.height))


def _values(group: Group, random: np.random.Generator, rows: int) -> dict[str, Any]:
    values = {}
    for number, (name, kind) in enumerate(group.features.items()):
        if kind == "float64":
            column = pl.Series(random.random(rows))
        else:
            # A category, then something nearly unique, and so on.
            many = 20 if number % 2 == 0 else 1_000_000
            column = "level_" + pl.Series(random.integers(0, many, rows)).cast(pl.String)
        known = pl.Series(random.random(rows) >= _NULL)
        values[name] = pl.select(pl.when(known).then(column)).to_series()
    return values


def _spine(shape: Shape, asked: Spine) -> pl.DataFrame:
    last = shape.days if asked.last is None else asked.last
    random = np.random.default_rng([asked.rows, asked.first, last])
    moments = random.integers(asked.first * _DAY, last * _DAY, asked.rows)
    columns = {TIME: _instants(moments)}
    for group in shape.groups:
        if group.key not in columns and not group.trips:
            known = max(group.entities, round(group.entities * (1 + _UNKNOWN)))
            columns[group.key] = _named_keys(group, random.integers(0, known, asked.rows))
    source = np.arange(asked.rows)
    repeated = random.random(asked.rows) < _REPEATED
    source[repeated] = random.integers(0, asked.rows, int(repeated.sum()))
    return pl.DataFrame(columns)[source].with_row_index(ROW).cast({ROW: pl.Int64})


def _named_keys(group: Group, numbers: np.ndarray[Any, Any]) -> pl.Series:
    keys = pl.Series(numbers)
    if group.key_type == "int64":
        return keys
    return f"{group.key.removesuffix('_id')}_" + keys.cast(pl.String).str.zfill(7)


def _instants(microseconds: np.ndarray[Any, Any]) -> pl.Series:
    return pl.Series(microseconds).cast(pl.Duration("us")) + START

"""What differs between two snapshots: rows, and how far values have shifted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.offline.table import OfflineTable

    # Returns how far each feature of the second frame is from the first.
    Shifted = Callable[[FeatureGroup, pl.DataFrame, pl.DataFrame], Mapping[str, Any]]


@dataclass(frozen=True)
class Sides:
    """Two versions of one group's table."""

    group: FeatureGroup
    table: OfflineTable
    before: int
    after: int


def difference(sides: Sides, shifted: Shifted) -> dict[str, Any]:
    """Compare two versions of a table, a row being a fact: keys and event time.

    Only partitions that lie in other files are read, one by one; for the shift all rows are.

    Returns
    -------
    `{"group", "version", "table_versions", "rows": {"before", "after", "added", "removed",
    "changed"}, "changed": {feature: rows}, "partitions": [...], "shift": {feature: {...}}}`.
    """
    files = [_by_partition(sides.table, version) for version in (sides.before, sides.after)]
    touched = sorted(
        key for key in {*files[0], *files[1]} if files[0].get(key) != files[1].get(key)
    )
    counts: Counter[str] = Counter()
    features: Counter[str] = Counter()
    for partition in touched:
        rows, by_feature = _counted(sides, partition)
        counts += rows
        features += by_feature
    whole = [_facts(sides, version, None) for version in (sides.before, sides.after)]
    return {
        "group": sides.group.name,
        "version": sides.group.version,
        "table_versions": [sides.before, sides.after],
        "rows": {
            "before": whole[0].height,
            "after": whole[1].height,
            **{name: counts[name] for name in ("added", "removed", "changed")},
        },
        "changed": {name: features[name] for name in sides.group.feature_names if features[name]},
        "partitions": touched,
        "shift": dict(shifted(sides.group, *whole)) if touched else {},
    }


def _by_partition(table: OfflineTable, version: int) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in table.files(version=version):
        found.setdefault(file.partition, set()).add(file.path)
    return found


def _facts(sides: Sides, version: int, partitions: Sequence[str] | None) -> pl.DataFrame:
    return sides.table.facts(
        revised=sides.group.revised, version=version, partitions=partitions
    ).collect()


def _counted(sides: Sides, partition: str) -> tuple[Counter[str], Counter[str]]:
    """Count the rows of a partition that differ, and those in which each feature does."""
    import polars as pl

    before, after = (_facts(sides, each, [partition]) for each in (sides.before, sides.after))
    fact = [*sides.table.keys, sides.table.timestamp]
    both = before.join(after, on=fact, how="inner", suffix="__after")
    differs = both.select(
        pl.col(name).ne_missing(pl.col(f"{name}__after")).alias(name)
        for name in sides.group.feature_names
    )
    rows = Counter(
        added=after.join(before, on=fact, how="anti").height,
        removed=before.join(after, on=fact, how="anti").height,
        changed=differs.filter(pl.any_horizontal(pl.all())).height,
    )
    return rows, Counter(differs.sum().row(0, named=True) if differs.height else {})

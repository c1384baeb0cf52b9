"""Pushed rows judged before they are committed, and the statistics of what they were written to.

The rules are those of runs. A push that adds rows is judged by what no other row of the partition
could mend; one that replaces all rows is judged as a run is. What has no rule of ours is left to
`validate_job`: Great Expectations is not loaded for a push.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from feature_store_assets.errors import OutOfBounds
from feature_store_assets.ingestion.reference_profiles import fences
from feature_store_assets.offline.schema import PARTITION, TableSchema, examples
from feature_store_assets.quality.statistics import profile
from feature_store_assets.quality.verdicts import Judge, described

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pyarrow as pa

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.registry.statistics import Statistics


@dataclass
class Broken:
    """What some rows break.

    Attributes
    ----------
    counts
        Rows at fault by bound or expectation, of critical ones.
    reasons
        Why partitions are at fault where no row is.
    rows
        Positions of rows at fault.
    mild
        What is broken that is not critical, in sentences.
    """

    counts: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)
    mild: list[str] = field(default_factory=list)

    @property
    def blocking(self) -> bool:
        """Whether the rows must not be written."""
        return bool(self.counts or self.reasons)


def broken_by(
    rows: pl.DataFrame, group: FeatureGroup, *, whole: bool, statistics: Statistics
) -> Broken:
    """Judge rows by what their group expects.

    Parameters
    ----------
    rows
        Typed as declared, with their `partition`.
    whole
        Whether the rows are all that their partitions will hold.
    statistics
        What is kept of the partitions before: outliers by reference lie beyond it.
    """
    found = Broken()
    bounds = {rule: name for feature in group.features for name, rule in feature.bounds.items()}
    asked = list(dict.fromkeys((*bounds, *group.expectations)))
    if not asked:
        return found
    keys = sorted(rows[PARTITION].unique())
    judge = Judge(
        rows,
        asked,
        keys,
        features={feature.name: feature.dtype for feature in group.features},
        vacuous=bounds.keys() - set(group.expectations),
        fences=fences(statistics, group, keys),
        pii=group.confidential,
        whole=whole,
    )
    verdicts, _ = judge.by_rules()
    for each in verdicts.values():
        if each.blocking and each.unexpected_count is not None:
            name = bounds.get(each.expectation) or described(each.expectation)
            found.counts[name] += each.unexpected_count
            found.rows.update(each.rows)
        elif each.blocking:
            found.reasons.append(f"{each.partition}: {each.reason}")
        elif each.outcome != "passed":
            found.mild.append(f"'{group.name}' {each.partition}: {each.reason}")
    return found


def check_push(
    group: FeatureGroup, rows: pa.Table, *, whole: bool, statistics: Statistics
) -> tuple[str, ...]:
    """Refuse rows that break something critical; return what else they break.

    Raises
    ------
    OutOfBounds
    """
    found = broken_by(pl.DataFrame(rows), group, whole=whole, statistics=statistics)
    if found.blocking:
        shown = examples(rows, sorted(found.rows), TableSchema.of(group))
        raise OutOfBounds(group.name, found.counts, found.reasons, shown)
    return tuple(found.mild)


def keep_statistics(
    statistics: Statistics,
    group: FeatureGroup,
    table: OfflineTable,
    rows: pa.Table,
    *,
    version: int,
    changed: Collection[str] | None,
    whole: Sequence[str],
) -> None:
    """Bring statistics up to date after a push, reading nothing that was stored before.

    Parameters
    ----------
    rows
        What was written.
    version
        The table's version that holds them.
    changed
        The partitions that changed; None for all. What was kept of them is wrong now.
    whole
        Those of them that hold just these rows. The statistics of the others are left to
        `validate_job`: nobody can tell quantiles of a partition from those of its parts.
    """
    if changed is None or changed:
        statistics.drop(group.name, group.version, changed)
    if not whole:
        return
    names = group.feature_names
    found = profile(pl.DataFrame(rows), partitions=whole, features=names, pii=group.personal)
    statistics.put(group.name, group.version, found, table_version=version)
    # Another push may have written, and dropped the statistics, before these were put.
    _, later = table.changes(version)
    if late := later.keys() & found.keys():
        statistics.drop(group.name, group.version, late)

"""The gate: partitions are judged, the good ones committed, the others put into quarantine.

One way in for all who write whole partitions: runs of materialized groups, and rejected rows
that are tried again. Rows that stand already are judged again without being written.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from feature_store_assets.offline.quarantine import REASONS, Quarantine
from feature_store_assets.offline.schema import PARTITION
from feature_store_assets.quality.drift import Shift, compare
from feature_store_assets.quality.expectations import Verdict, check
from feature_store_assets.quality.statistics import Profile, merge, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.offline.delta import OfflineTable
    from feature_store_assets.registry.statistics import Statistics

    # Returns what a snapshot or training set held of a group, by feature.
    Fixed = Callable[[FeatureGroup, str], dict[str, Profile]]

_PREVIOUS, _TRAILING = "previous", "trailing:"
_ROW = "__row"
# Partitions that say what is usual, for outliers by reference.
_LOOK_BACK = 30
# The part of a trailing window that must be there: one in so many partitions.
_ENOUGH = 4


@dataclass(frozen=True)
class Judged:
    """What the gate found, all by partition.

    Attributes
    ----------
    rows
        The rows that were judged, with their `partition`.
    references
        The values that each partition was compared with, by feature; empty without drift rules.
    """

    rows: pl.DataFrame
    verdicts: dict[str, list[Verdict]]
    profiles: dict[str, dict[str, Profile]]
    shifts: dict[str, list[Shift]] = field(default_factory=dict)
    references: dict[str, dict[str, Profile]] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """All partitions that were judged, in their order."""
        return tuple(self.verdicts)

    @property
    def rejected(self) -> dict[str, list[str]]:
        """The partitions that must not be committed, with the reasons."""
        reasons = {key: self.reasons(key) for key in self.verdicts}
        return {key: why for key, why in reasons.items() if why}

    def reasons(self, key: str) -> list[str]:
        """Why a partition must not be committed; none if it may."""
        found = (*self.verdicts[key], *self.shifts.get(key, ()))
        return [each.reason for each in found if each.blocking]

    def without_rows(self) -> Judged:
        """Return what was found alone, for many partitions together."""
        return replace(self, rows=self.rows.clear())

    def __add__(self, later: Judged) -> Judged:
        """Join what was found in two calls."""
        return Judged(
            pl.concat([self.rows, later.rows]),
            {**self.verdicts, **later.verdicts},
            {**self.profiles, **later.profiles},
            {**self.shifts, **later.shifts},
            {**self.references, **later.references},
        )


@dataclass(frozen=True)
class Admitted:
    """What became of partitions.

    Attributes
    ----------
    committed
        The keys of the good ones.
    version
        The table's version that holds them.
    quarantined
        The files of the others, by key.
    """

    judged: Judged
    committed: tuple[str, ...]
    version: int
    quarantined: dict[str, str] = field(default_factory=dict)

    def __add__(self, later: Admitted) -> Admitted:
        """Join what two calls of one run did."""
        return Admitted(
            self.judged + later.judged,
            (*self.committed, *later.committed),
            later.version,
            {**self.quarantined, **later.quarantined},
        )


@dataclass(frozen=True)
class Gate:
    """What a store needs to judge and keep partitions.

    Parameters
    ----------
    statistics
        Where the profiles of what is stored are kept.
    quarantine
        Where rejected partitions go.
    fixed
        Gives the profiles of snapshots and training sets that drift is measured against.
    """

    statistics: Statistics
    quarantine: Quarantine
    fixed: Fixed

    def judge(self, group: FeatureGroup, rows: pl.DataFrame, keys: Sequence[str]) -> Judged:
        """Judge rows by what their group expects, writing nothing.

        Parameters
        ----------
        rows
            The rows of all partitions, typed as declared, with their `partition`.
        keys
            The partitions, in the order of time where they have one.
        """
        types = {feature.name: feature.dtype for feature in group.features}
        verdicts: dict[str, list[Verdict]] = {key: [] for key in keys}
        for verdict in check(
            rows,
            group.all_expectations,
            partitions=keys,
            features=types,
            vacuous=group.vacuous_expectations,
            fences=self._fences(group, keys),
            pii=group.confidential,
        ):
            verdicts[verdict.partition].append(verdict)
        profiles = profile(rows, partitions=keys, features=list(types), pii=group.personal)
        judged = Judged(rows, verdicts, profiles)
        if group.drift:
            self._compare(group, judged, types)
        return judged

    def _fences(self, group: FeatureGroup, keys: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Return between which numbers features lay in the partitions before."""
        names = [
            str(rule.column)
            for rule in group.all_expectations
            if rule.kwargs.get("method") == "reference"
        ]
        if not names or not keys:
            return {}
        past = (
            self.statistics.before(group.name, group.version, keys[0], _LOOK_BACK)
            if _in_order(group)
            else self.statistics.of(group.name, group.version, keys)
        )
        found = {}
        for name in names:
            kept = [profiles[name] for profiles in past.values() if name in profiles]
            quantiles = merge(kept).quantiles if kept else ()
            if quantiles and (reach := quantiles[99] - quantiles[1]) > 0:
                found[name] = (quantiles[1] - reach, quantiles[99] + reach)
        return found

    def _compare(self, group: FeatureGroup, judged: Judged, types: Mapping[str, str]) -> None:
        """Measure how far each partition is from what it is compared with."""
        against = dict.fromkeys(rule.against for rule in group.drift)
        past = _Past(self.statistics, group, judged, list(against))
        split = judged.rows.partition_by(PARTITION, as_dict=True, maintain_order=True)
        fixed = {
            name: self.fixed(group, name)
            for name in against
            if name != _PREVIOUS and not name.startswith(_TRAILING)
        }
        for key in judged.keys:
            references = {**{name: past.of(name, key) for name in past.names}, **fixed}
            rows = split.get((key,), judged.rows.clear())
            judged.shifts[key] = compare(
                group.drift, types, references, rows, key, pii=group.personal
            )
            judged.references[key] = references[next(iter(against))]
            if not judged.reasons(key):
                past.add(key)

    def admit(
        self,
        group: FeatureGroup,
        table: OfflineTable,
        rows: pa.Table,
        keys: Sequence[str],
        *,
        run_id: str,
        guard: Callable[[], None],
    ) -> Admitted:
        """Judge partitions, commit the good ones at once, keep the others in quarantine.

        Parameters
        ----------
        table, rows
            The group's table, and rows as `conform` returns them, with their `partition`.
        run_id
            Kept with the commit and in quarantine.
        guard
            Called before each attempt to commit; what it raises stops the write.
        """
        judged = self.judge(group, pl.DataFrame(rows), keys)
        return self.take(group, table, rows, judged, run_id=run_id, guard=guard)

    def take(
        self,
        group: FeatureGroup,
        table: OfflineTable,
        rows: pa.Table,
        judged: Judged,
        *,
        run_id: str,
        guard: Callable[[], None],
    ) -> Admitted:
        """Do what `admit` does with rows that are judged already."""
        rejected = judged.rejected
        good = tuple(key for key in judged.keys if key not in rejected)
        version = table.version()
        if good:
            table.ensure(rows.schema)
            kept = rows.filter(pc.is_in(rows[PARTITION], pa.array(good, pa.string())))
            told = {"run_id": run_id, "partitions": _summary(good)}
            version = table.replace(kept, good, metadata=told, guard=guard).version
            # A kill in between leaves older statistics: the next run or validation mends them.
            profiles = {key: judged.profiles[key] for key in good}
            self.statistics.put(group.name, group.version, profiles, table_version=version)
            self.quarantine.remove(group.name, good, version=group.version)
        return Admitted(judged, good, version, self._keep(group, judged, rejected, run_id))

    def _keep(
        self,
        group: FeatureGroup,
        judged: Judged,
        rejected: Mapping[str, Sequence[str]],
        run_id: str,
    ) -> dict[str, str]:
        """Put rejected partitions into quarantine, each row with its own reasons."""
        numbered = judged.rows.with_row_index(_ROW).filter(pl.col(PARTITION).is_in(list(rejected)))
        split = numbered.partition_by(PARTITION, as_dict=True, maintain_order=True)
        files = {}
        for key, reasons in rejected.items():
            rows = split.get((key,), numbered.clear())
            found: dict[int, list[str]] = {}
            for verdict in judged.verdicts[key]:
                if verdict.outcome != "passed":
                    for row in verdict.rows:
                        found.setdefault(row, []).append(verdict.reason)
            listed = pl.Series(
                REASONS, [found.get(row, []) for row in rows[_ROW]], dtype=pl.List(pl.String)
            )
            files[key] = self.quarantine.keep(
                rows.drop(_ROW).with_columns(listed),
                feature_group=group.name,
                version=group.version,
                partition=key,
                run_id=run_id,
                rejected_at=datetime.now(UTC),
                reasons=reasons,
            )
        return files


def _in_order(group: FeatureGroup) -> bool:
    """Whether a partition has others before it: their keys are in the order of time."""
    kind = group.partitions
    return kind is not None and (kind.is_time or kind.kind == "calendar")


class _Past:
    """The partitions before each: those of the same call, else what is kept of stored ones.

    A group that is not cut by time has no partition before: there a partition is compared with
    what it held itself.
    """

    def __init__(
        self, statistics: Statistics, group: FeatureGroup, judged: Judged, against: Sequence[str]
    ) -> None:
        self._reach = {
            name: 1 if name == _PREVIOUS else int(name.removeprefix(_TRAILING))
            for name in against
            if name == _PREVIOUS or name.startswith(_TRAILING)
        }
        self._in_order = _in_order(group)
        self._judged = judged.profiles
        self._known: dict[str, dict[str, Profile]] = {}
        keys, this = judged.keys, (group.name, group.version)
        if self._reach and keys and self._in_order:
            # Those asked for may have gaps, which stored ones fill.
            stored = {
                **statistics.before(*this, keys[0], max(self._reach.values())),
                **statistics.of(*this, first=keys[0], last=keys[-1]),
            }
            self._known = {key: kept for key, kept in stored.items() if key not in judged.profiles}
        elif self._reach and keys:
            self._known = statistics.of(*this, keys)
        self._line = sorted(self._known)

    @property
    def names(self) -> list[str]:
        return list(self._reach)

    def add(self, key: str) -> None:
        """Let a partition that was judged good stand before the following ones."""
        if self._in_order:
            self._known[key] = self._judged[key]
            insort(self._line, key)

    def of(self, name: str, key: str) -> dict[str, Profile]:
        """Return the values before a partition, by feature; empty where there were none."""
        if not self._in_order:
            return self._known.get(key, {})
        end = bisect_left(self._line, key)
        chosen = [self._known[each] for each in self._line[max(0, end - self._reach[name]) : end]]
        # The first days of a group are no month yet.
        if len(chosen) < max(1, self._reach[name] // _ENOUGH):
            return {}
        if len(chosen) == 1:
            return chosen[0]
        names = dict.fromkeys(feature for each in chosen for feature in each)
        return {
            feature: merge([each[feature] for each in chosen if feature in each])
            for feature in names
        }


def _summary(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]}...{keys[-1]} ({len(keys)})"

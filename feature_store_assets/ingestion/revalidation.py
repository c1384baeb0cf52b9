"""Stored rows looked at again: described, judged by today's expectations, released, compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from feature_store_assets.declaration.drift import METRICS, fits
from feature_store_assets.declaration.expect import Expectation, expect
from feature_store_assets.declaration.mask import mask_value
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    DataError,
    SchemaMismatch,
    StillRejected,
    suggestion,
)
from feature_store_assets.ingestion.gate import Gate
from feature_store_assets.offline.calendar_check import refuse_outside
from feature_store_assets.offline.dataframes import FeatureTable
from feature_store_assets.offline.quarantine import REASONS, Quarantine, Rejected
from feature_store_assets.offline.scan import portions
from feature_store_assets.offline.schema import PARTITION, TableSchema
from feature_store_assets.quality.drift import measure
from feature_store_assets.quality.expectations import check
from feature_store_assets.quality.statistics import Profile, merge, profile
from feature_store_assets.registry.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.ingestion.gate import Admitted, Judged
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.registry.database import Database
    from feature_store_assets.storage import Location
    from feature_store_assets.training.stored import TrainingSet

    # A feature ("" for the rows as such), what is asked of it, and how: None where it cannot be.
    _Asked = tuple[str, str, Expectation | None]

_ROWS_AT_ONCE = 1_000_000
_ALL = "all"
_FINE = ("passed", "not applicable")
_SNAPSHOT, _TRAINING_SET = "snapshot:", "training_set:"
_RULES: Mapping[str, Callable[[str, Any], Expectation]] = {
    "max_missing_percentage": expect.max_missing_percentage,
    "min_unique_values": expect.min_unique_values,
    "max_outlier_percentage": expect.max_outlier_percentage,
}


def describe(group: FeatureGroup, rows: pl.DataFrame, features: Sequence[str]) -> dict[str, Any]:
    """Return the statistics of features over rows, by feature; personal ones are only counted."""
    return {name: found.to_json() for name, found in _whole(group, rows, features).items()}


def _whole(group: FeatureGroup, rows: pl.DataFrame, features: Sequence[str]) -> dict[str, Profile]:
    one = rows.select(pl.lit(_ALL).alias(PARTITION), *features)
    return profile(one, partitions=[_ALL], features=features, pii=group.personal)[_ALL]


def assess(
    group: FeatureGroup,
    rows: pl.DataFrame,
    features: Sequence[str],
    rules: Mapping[str, float] | None,
) -> dict[str, Any]:
    """Judge rows as one whole, by given rules or by what the group declares.

    Parameters
    ----------
    rules
        `max_missing_percentage`, `min_unique_values`, `max_outlier_percentage`, for each feature
        that they fit; None for the group's own expectations.

    Returns
    -------
    `{"feature_group", "overall_passed", "rows", "features": {name: {"passed", "checks"}}}`; a
    check is `{"rule", "outcome", "observed", "reason"}`. The outcome is `passed`, `failed`,
    `not evaluated` or `not applicable`.
    """
    types = {feature.name: feature.dtype for feature in group.features}
    asked = _declared(group, features) if rules is None else _given(types, features, rules)
    found = {
        verdict.expectation: verdict
        for verdict in check(
            rows.with_columns(pl.lit(_ALL).alias(PARTITION)),
            list(dict.fromkeys(each for _, _, each in asked if each is not None)),
            partitions=[_ALL],
            features=types,
            vacuous=group.vacuous_expectations,
            pii=group.confidential,
        )
    }
    shown: dict[str, list[dict[str, Any]]] = {name: [] for name in features}
    for name, rule, each in asked:
        told: dict[str, Any] = {"rule": rule, "outcome": "not applicable", "observed": None}
        if each is None:
            told["reason"] = f"'{name}' is {types[name]}"
        else:
            verdict = found[each]
            told |= {
                "outcome": verdict.outcome,
                "observed": verdict.observed,
                "reason": verdict.reason,
            }
        shown.setdefault(name or "rows", []).append(told)
    checks = {
        name: {"passed": all(each["outcome"] in _FINE for each in listed), "checks": listed}
        for name, listed in shown.items()
    }
    return {
        "feature_group": group.name,
        "overall_passed": all(verdict.outcome == "passed" for verdict in found.values()),
        "rows": rows.height,
        "features": checks,
    }


def _declared(group: FeatureGroup, features: Sequence[str]) -> list[_Asked]:
    chosen = {*features, *group.entity.join_keys, group.timestamp}
    return [
        (name, each.name, each)
        for each in group.all_expectations
        if set(each.columns) <= chosen
        for name in (each.columns or ("",))
    ]


def _given(
    types: Mapping[str, str], features: Sequence[str], rules: Mapping[str, float]
) -> list[_Asked]:
    for rule in rules:
        if rule not in _RULES:
            raise DataError(f"There is no quality rule '{rule}'." + suggestion(rule, _RULES))
    return [
        (name, rule, _RULES[rule](name, bound) if _fits(rule, types[name]) else None)
        for rule, bound in rules.items()
        for name in features
    ]


def _fits(rule: str, dtype: str) -> bool:
    if rule == "max_outlier_percentage":
        return dtype in ("int64", "float64")
    return rule != "min_unique_values" or not dtype.startswith("list")


class Review:
    """What is stored, looked at again.

    Parameters
    ----------
    database
        The registry's database, which keeps the statistics.
    location
        Where quarantined partitions lie.
    pinned
        Reads a group's features as a snapshot has them.
    training_set
        Opens a training set.
    """

    def __init__(
        self,
        database: Database,
        location: Location,
        *,
        pinned: Callable[[FeatureGroup, str], pl.DataFrame],
        training_set: Callable[[str], TrainingSet],
    ) -> None:
        self.statistics = Statistics(database)
        self.quarantine = Quarantine(location)
        self.gate = Gate(self.statistics, self.quarantine, self._fixed)
        self._pinned = pinned
        self._training_set = training_set

    def validate(
        self, group: FeatureGroup, table: OfflineTable, keys: Sequence[str]
    ) -> Iterator[Judged]:
        """Judge stored partitions by today's expectations, some at a time; nothing is rewritten.

        Their statistics are brought up to date on the way.
        """
        version = table.version()
        files = table.files(version=version)
        held: dict[str, int] = {}
        for file in files:
            held[file.partition] = held.get(file.partition, 0) + file.rows
        for some in portions({key: held[key] for key in keys if key in held}, _ROWS_AT_ONCE):
            rows = table.rows(version=version, partitions=some, columns=list(table.columns))
            judged = self.gate.judge(group, FeatureTable(rows).to_polars(), some)
            # What a run has replaced meanwhile has newer statistics already.
            live = {file.path for file in table.files()}
            replaced = {file.partition for file in files if file.path not in live}
            current = {key: judged.profiles[key] for key in some if key not in replaced}
            self.statistics.put(group.name, group.version, current, table_version=version)
            yield judged

    def summary(self, group: FeatureGroup, partitions: Sequence[str]) -> dict[str, Any]:
        """Return the kept statistics of partitions as of one whole, by feature, as JSON.

        A feature of which some partition has none is left out.
        """
        kept = self.statistics.of(group.name, group.version, partitions)
        return {
            name: merge([by_feature[name] for by_feature in kept.values()]).to_json()
            for name in group.feature_names
            if len(kept) == len(partitions) and all(name in each for each in kept.values())
        }

    def shift(
        self, group: FeatureGroup, before: pl.DataFrame, after: pl.DataFrame
    ) -> dict[str, dict[str, float]]:
        """Return how far each feature has moved from one frame to another, by metric."""
        profiles = _whole(group, before, group.feature_names)
        return {
            each.name: measure(
                profiles[each.name],
                after[each.name],
                [metric for metric in METRICS if fits(metric, each.dtype, each.pii)],
            )
            for each in group.features
        }

    def shown(self, group: FeatureGroup, entry: Rejected, limit: int) -> pl.DataFrame:
        """Return rows at fault of what lies in quarantine, personal values masked."""
        rows = FeatureTable(entry.read().to_arrow()).to_polars()
        at_fault = rows.filter(pl.col(REASONS).list.len() > 0)
        chosen = (at_fault if at_fault.height else rows).head(limit)
        masks = {feature.name: feature.mask for feature in group.features if feature.mask}
        return chosen.with_columns(
            pl.Series(name, [mask_value(value, mask) for value in chosen[name]], pl.String)
            for name, mask in masks.items()
            if name in chosen.columns
        )

    def release(
        self,
        group: FeatureGroup,
        table: OfflineTable,
        partition: str,
        *,
        guard: Callable[[], None],
    ) -> Admitted:
        """Judge what lies in quarantine again and commit it, if it passes now.

        Raises
        ------
        NotQuarantined, StillRejected, OutsideCalendar
            Nothing was changed.
        """
        entry = self.quarantine.newest(group.name, partition, version=group.version)
        rows = entry.read().drop(REASONS).to_arrow()
        wanted = TableSchema.of(group).with_key_types(rows.schema).arrow
        for column in wanted:
            if column.name not in rows.column_names:
                raise SchemaMismatch(group.name, column.name, wanted=str(column.type), got=None)
        typed = rows.select(wanted.names).cast(wanted)
        for name in wanted.names:
            # It may have been rejected by code that did not look.
            masked = name in group.confidential
            refuse_outside(typed[name], owner=group.name, name=name, masked=masked)
        judged = self.gate.judge(group, pl.DataFrame(typed), [partition])
        if reasons := judged.reasons(partition):
            raise StillRejected(group.name, partition, reasons)
        return self.gate.take(group, table, typed, judged, run_id=entry.run_id, guard=guard)

    def _fixed(self, group: FeatureGroup, against: str) -> dict[str, Profile]:
        """Return what a snapshot or training set held of a group's features; it is read once."""
        if kept := self.statistics.reference(group.name, group.version, against):
            return kept
        if against.startswith(_SNAPSHOT):
            rows = self._pinned(group, against.removeprefix(_SNAPSHOT))
        else:
            rows = _trained_on(group, self._training_set(against.removeprefix(_TRAINING_SET)))
        found = _whole(group, rows, [name for name in group.feature_names if name in rows.columns])
        # A feature that was added later is not missing there: nothing is known of it.
        known = {name: each for name, each in found.items() if each.missing < each.count}
        self.statistics.put_reference(group.name, group.version, against, known)
        return known


def _trained_on(group: FeatureGroup, trained: TrainingSet) -> pl.DataFrame:
    """Return a training set's columns that came from a group, by the names that it gives them."""
    prefix = f"{group.name}__" if trained.manifest["full_feature_names"] else ""
    columns = {
        stored: f"{prefix}{shown}"
        for selection in FeatureView.from_json(trained.manifest["view"]).selections
        if selection.group == group.name
        for stored, shown in selection.features
    }
    if not columns:
        raise DataError(f"The training set '{trained.name}' holds no feature of '{group.name}'.")
    rows = trained.to_polars()
    return rows.select(pl.col(shown).alias(stored) for stored, shown in columns.items())

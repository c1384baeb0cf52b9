"""Groups that are pushed to: register features; check rows, leave out known ones, append."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup, NewFeatures
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.declaration.types import arrow_type
from feature_store_assets.errors import (
    BreakingChange,
    ChangedFacts,
    DataError,
    DeclarationError,
    DuplicateRows,
    FeatureNeeded,
    GroupNotFound,
    SchemaMismatch,
    WriteRefused,
    WrittenByDagster,
    suggestion,
)
from feature_store_assets.ingestion.partition_assignment import by_calendar
from feature_store_assets.json_values import WriteResult
from feature_store_assets.offline.dataframes import polars_frame
from feature_store_assets.offline.schema import (
    CREATED,
    PARTITION,
    TableSchema,
    conform,
    declared_type,
    examples,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.registry.declarations import Applied
    from feature_store_assets.registry.statistics import Statistics

Mode = Literal["append", "overwrite", "upsert"]


class FeatureType(StrEnum):
    """What kind of quantity a feature is; a tag of the feature."""

    NUMERICAL = "numerical"
    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    TEXT = "text"
    DATETIME = "datetime"
    EMBEDDING = "embedding"


@dataclass(frozen=True)
class FeatureMetadata:
    """A registered feature."""

    feature_id: str
    name: str
    feature_group: str
    version: int
    dtype: str
    feature_type: str
    description: str
    created_by: str


def pushed_group(name: str, partitioning_columns: tuple[str, ...]) -> FeatureGroup:
    """Return the declaration of a group that comes into being by its first feature or write."""
    return FeatureGroup(
        name,
        entity=Entity("entity", ["entity_id"]),
        partitions=Partitions.calendar(partitioning_columns),
        online=True,
        new_features="draft",
    )


def register(
    applied: Applied,
    new: FeatureGroup,
    feature: Feature,
    *,
    feature_type: FeatureType | str,
    created_by: str,
    prepare: Callable[[FeatureGroup], None],
) -> FeatureMetadata:
    """Add a feature to a pushed group, or declare it anew.

    Parameters
    ----------
    applied, prepare
        The applied declarations, and how to make or extend a group's table.
    new
        The group as it is declared if nothing of that name is applied.
    feature_type, created_by
        Kept as tags of the feature.

    Raises
    ------
    WrittenByDagster
        The group is computed by its asset.
    """
    if feature_type not in list(FeatureType):
        raise DeclarationError(
            f"'{feature_type}' is no feature type of '{feature.name}'."
            + suggestion(str(feature_type), list(FeatureType))
        )
    tags = {"type": str(feature_type), **({"created_by": created_by} if created_by else {})}
    tagged = replace(feature, tags=tuple({**tags, **dict(feature.tags)}.items()))

    def extended(old: FeatureGroup | None) -> FeatureGroup:
        group = old or new
        if group.materialized:
            raise WrittenByDagster(group.name)
        others = tuple(each for each in group.features if each.name != feature.name)
        return replace(group, features=(*others, tagged))

    group = applied.extend(new.name, extended, prepare=prepare)
    return FeatureMetadata(
        feature_id=f"{group.name}.{feature.name}",
        name=feature.name,
        feature_group=group.name,
        version=group.version,
        dtype=feature.dtype,
        feature_type=str(feature_type),
        description=feature.description,
        created_by=created_by,
    )


def drop(
    applied: Applied, feature_id: str, *, prepare: Callable[[FeatureGroup], None]
) -> FeatureGroup:
    """Take a draft or retired feature out of a pushed group for good; return the group.

    Raises
    ------
    WriteRefused
        The group is computed by its asset: its code says which features it has.
    FeatureNeeded
        The feature is in use: active, or named by a view.
    """
    owner, _, name = feature_id.rpartition(".")
    if not owner:
        raise DataError(f"'{feature_id}' names no feature: write 'group.feature'.")
    group = applied.group(owner)
    group.feature(name)
    if group.materialized:
        raise WriteRefused(
            f"'{owner}' is computed by its Dagster asset. Take '{name}' out of its code, then run "
            f"`feature-store apply`."
        )

    def smaller(old: FeatureGroup | None) -> FeatureGroup:
        declared = old or group
        left = tuple(each for each in declared.features if each.name != name)
        return replace(declared, features=left)

    try:
        return applied.extend(owner, smaller, prepare=prepare)
    except BreakingChange:
        raise FeatureNeeded(feature_id) from None


def _unknown_columns(group: FeatureGroup, data: pa.Table) -> list[str]:
    known = {*group.entity.join_keys, group.timestamp, *group.feature_names, CREATED, group.created}
    return [name for name in data.column_names if name not in known]


def _refuse_unknown(group: FeatureGroup, data: pa.Table) -> None:
    """Refuse columns that are not declared, all of them at once."""
    if unknown := _unknown_columns(group, data):
        others = f" Unknown are also: {', '.join(unknown[1:])}." if unknown[1:] else ""
        raise SchemaMismatch(
            group.name,
            unknown[0],
            wanted=None,
            got=str(data.schema.field(unknown[0]).type),
            hint=f"{suggestion(unknown[0], group.feature_names).lstrip()}{others} Declare it first "
            f"(register_feature, or apply the group with it), or push with new_features='draft'.",
        )


def with_new_columns(group: FeatureGroup, data: pa.Table) -> FeatureGroup:
    """Return the group with a draft feature for each column that it does not declare."""
    new = []
    for name in _unknown_columns(group, data):
        kind = data.schema.field(name).type
        dtype = None if pa.types.is_null(kind) else declared_type(kind)
        if dtype is None:
            hint = "It is no feature type: cast it, or leave it out."
            raise SchemaMismatch(group.name, name, wanted=None, got=str(kind), hint=hint)
        new.append(Feature(name, dtype, tags=(("stage", "draft"),)))
    if not new:
        return group
    return replace(group, features=(*group.features, *new))


def push(
    applied: Applied,
    open_table: Callable[[FeatureGroup], OfflineTable],
    new: FeatureGroup,
    data: pa.Table,
    mode: Mode,
    *,
    known: FeatureGroup | None,
    statistics: Statistics,
    new_features: NewFeatures | None = None,
) -> tuple[FeatureGroup, WriteResult]:
    """Write rows to a pushed group.

    Parameters
    ----------
    applied, open_table, statistics
        The applied declarations, how to open a group's table, and what is kept of partitions.
    known, new
        The group as it is applied, and as it is declared if nothing of that name is.
    data
        Keys, event timestamp and features. A feature that has no column is null in these rows.
    new_features
        Whether columns that are not declared become draft features or are refused; by default
        what the group says.
    mode
        `append` adds new facts and refuses to change stored ones; `upsert` also writes a newer
        revision of a stored fact; `overwrite` replaces all rows of the group.

    Returns
    -------
    The group as it is applied now, and what was written.

    Raises
    ------
    WrittenByDagster, SchemaMismatch, NullKeys, DuplicateRows, OutOfBounds
        Nothing was written.
    """
    if mode not in ("append", "overwrite", "upsert"):
        raise DataError(f"mode is 'append', 'overwrite' or 'upsert', not '{mode}'.")

    from feature_store_assets.ingestion.push_checks import check_push, keep_statistics

    if known is None and new_features == "refuse":
        raise GroupNotFound(new.name, [group.name for group in applied.groups()])
    extended = _extension(new, data, new_features)
    group = extended(known)
    group = group if known is None else group.in_order_of(known)
    # The checks come before anything is recorded: refused rows leave no trace.
    table = open_table(group)
    rows = _typed(table, group, data)
    broken = check_push(group, rows, whole=mode == "overwrite", statistics=statistics)
    if mode == "append" and group != known and table.exists:
        # Asked again under the commit; here so that refused rows leave no drafts either.
        _unknown(table, rows, table.version(), refuse_changes=True)
    for warning in (*_drafts(group, known or new), *broken):
        warnings.warn(warning, stacklevel=3)
    if group != known:
        group = applied.extend(
            new.name, extended, prepare=lambda grown: open_table(grown).ensure(data.schema)
        )
        table = open_table(group)
    table.ensure(data.schema)
    written = _written(table, rows, mode)
    changed, whole, version = written.changed, written.whole, written.version
    keep_statistics(
        statistics, group, table, written.rows, version=version, changed=changed, whole=whole
    )
    count = written.rows.num_rows
    return group, WriteResult(
        group.name,
        count,
        written.updated,
        rows.num_rows - count,
        _partitions(rows),
        version,
        broken,
    )


def _drafts(group: FeatureGroup, declared: FeatureGroup) -> Iterator[str]:
    """Give what is to be said of columns that become draft features."""
    new = [each for each in group.features if each.name not in declared.feature_names]
    if new:
        listed = ", ".join(f"'{each.name}' ({each.dtype})" for each in new)
        yield f"'{group.name}' did not declare {listed}: added as draft features."


@dataclass
class _Written:
    """What was committed, and what is known of the partitions that it `changed` (None: all).

    `updated` counts the corrections among the rows; `whole` are the partitions that hold these
    rows alone.
    """

    rows: pa.Table
    version: int
    updated: int
    changed: tuple[str, ...] | None
    whole: tuple[str, ...]


def _written(table: OfflineTable, rows: pa.Table, mode: Mode) -> _Written:
    """Write the rows that the table does not hold yet, or replace all that it holds."""
    if mode == "overwrite":
        version = table.replace(rows, None).version
        return _Written(rows, version, 0, None, _partitions(rows))
    kept, updated, base, held = rows, 0, -1, set[str]()

    def unknown(version: int) -> pa.Table:
        nonlocal kept, updated, base, held
        kept, updated = _unknown(table, rows, version, refuse_changes=mode == "append")
        base = version
        if kept.num_rows:
            files = table.files(version=version, partitions=_partitions(kept))
            held = {file.partition for file in files}
        return kept

    commit = table.append(unknown)
    changed = _partitions(kept)
    # Another commit in between may have written to partitions that were empty before.
    whole = tuple(key for key in changed if key not in held) if commit.version == base + 1 else ()
    return _Written(kept, commit.version, updated, changed, whole)


def _partitions(rows: pa.Table) -> tuple[str, ...]:
    return tuple(sorted(map(str, pc.unique(rows[PARTITION]).to_pylist())))


def _extension(
    new: FeatureGroup, data: pa.Table, new_features: NewFeatures | None
) -> Callable[[FeatureGroup | None], FeatureGroup]:
    """Return what makes a group, as it is applied, hold the columns of some rows, or refuses it."""
    if new_features not in (None, "draft", "refuse"):
        raise DataError(f"new_features is 'draft' or 'refuse', not '{new_features}'.")

    def extended(old: FeatureGroup | None) -> FeatureGroup:
        group = new if old is None else old
        if group.materialized:
            raise WrittenByDagster(group.name)
        if (new_features or group.new_features) == "refuse":
            _refuse_unknown(group, data)
            return group
        return with_new_columns(group, data)

    return extended


def _typed(table: OfflineTable, group: FeatureGroup, data: pa.Table) -> pa.Table:
    """Return the rows as the table takes them, with their partition, or refuse them all."""
    schema = TableSchema.of(group)
    typed = table.schema if table.exists else schema.with_key_types(data.schema)
    for name, kind in schema.features:
        if name not in data.column_names:
            data = data.append_column(name, pa.nulls(data.num_rows).cast(arrow_type(kind)))
    return by_calendar(conform(data, typed, written=datetime.now(UTC)), group)


def _unknown(
    table: OfflineTable, rows: pa.Table, version: int, *, refuse_changes: bool
) -> tuple[pa.Table, int]:
    """Return the rows that the table does not hold yet, and how many of them are corrections.

    A row equal to the current winner of its keys and event time is known, and so is one that
    repeats a stored revision. Any other row of a stored fact is a correction: refused, or kept as
    a newer revision.
    """
    import polars as pl

    created = table.schema.created
    facts = [*table.keys, table.timestamp]
    # Another writer may have added a feature since these rows were read: it is null in them.
    features = [name for name, _ in table.features if name in rows.column_names]
    incoming = polars_frame(rows).with_row_index("__row")
    # A column that a dropped feature left under the name of a new one holds nothing of it.
    kept = [name for name in features if name not in table.stale]
    held = table.read(
        [*facts, CREATED, *kept],
        partitions=incoming[PARTITION].unique().to_list(),
        entities=incoming.select(table.keys).unique(),
        version=version,
    )
    stored = polars_frame(held)
    stored = stored.with_columns(
        pl.lit(None, incoming.schema[name]).alias(name) for name in features if name not in kept
    )
    then = {name: f"__{name}" for name in (CREATED, *features)}
    same = pl.all_horizontal(
        pl.lit(value=True), *(pl.col(name).eq_missing(pl.col(then[name])) for name in features)
    )
    at_once = pl.col(CREATED) == pl.col(then[CREATED])
    revisions = (
        incoming.join(stored.rename(then), on=facts)
        .sort(then[CREATED])
        .group_by("__row", maintain_order=True)
        .agg(
            newest=pl.col(then[CREATED]).last(),
            known=same.last() | (same & at_once).any(),
            clash=(~same & at_once).any(),
        )
        .sort("__row")
    )
    changed = revisions.filter(~pl.col("known"))
    if changed.height and refuse_changes:
        shown = examples(rows, changed["__row"].to_list(), table.schema)
        raise ChangedFacts(table.owner, changed.height, shown)
    clashes = changed.filter("clash")["__row"].to_list()
    if clashes and created is not None:
        shown = examples(rows, clashes, table.schema)
        raise DuplicateRows(table.owner, [*facts, created], len(clashes), shown)
    new = incoming.join(revisions.filter("known"), on="__row", how="anti", maintain_order="left")
    if created is None:
        # Clocks differ between hosts, yet what is written later must win.
        later = pl.col("newest") + timedelta(microseconds=1)
        new = new.join(changed, on="__row", how="left", maintain_order="left").with_columns(
            pl.max_horizontal(CREATED, later).alias(CREATED)
        )
    return new.select(rows.column_names).to_arrow().cast(rows.schema), changed.height

"""What the Dagster UI shows of a group and of each of its partitions."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.mask import mask_value
from feature_store_assets.quality.charts import as_markdown, distribution_svg
from feature_store_assets.quality.drift import Shift
from feature_store_assets.quality.statistics import Profile, sparkline

_SAMPLE = 5
# Markdown of a thousand characters and more hides behind a link in the UI.
_SHOWN_INLINE = 950


def column_schema(group: FeatureGroup) -> dg.TableSchema:
    """Return the group's columns as Dagster shows them."""
    keys = [
        dg.TableColumn(name, kind or "as first written", f"Join key of {group.entity.name}.")
        for name, kind in zip(group.entity.join_keys, group.entity.key_types, strict=True)
    ]
    time = dg.TableColumn(group.timestamp, "timestamp[us, UTC]", "When the fact was known.")
    features = [
        dg.TableColumn(
            feature.name,
            feature.dtype,
            feature.description,
            constraints=dg.TableColumnConstraints(
                nullable=feature.nullable, unique=feature.unique, other=_bounds(feature)
            ),
            tags={**dict(feature.tags), **({"pii": feature.mask or ""} if feature.pii else {})},
        )
        for feature in group.features
    ]
    return dg.TableSchema(columns=[*keys, time, *features])


def _bounds(feature: Any) -> list[str]:
    found = [f"{name} {getattr(feature, name)}" for name in ("ge", "le", "regex")]
    if feature.one_of is not None:
        found.append(f"one of {list(feature.one_of)}")
    return [each for each in found if not each.endswith(" None")]


def column_lineage(
    group: FeatureGroup, upstream: Mapping[str, dg.AssetKey], columns: Mapping[str, set[str]]
) -> dg.TableColumnLineage:
    """Return where each column comes from.

    Parameters
    ----------
    upstream
        Parameter of the function -> asset key.
    columns
        Known columns of upstream assets, by parameter: same-named keys come from there.
    """
    found: dict[str, list[dg.TableColumnDep]] = {}
    for feature in group.features:
        for source in feature.derived_from:
            asset, _, column = source.rpartition(".")
            key = upstream.get(asset) or dg.AssetKey(asset.split("/"))
            dep = dg.TableColumnDep(asset_key=key, column_name=column)
            found.setdefault(feature.name, []).append(dep)
    for name in group.entity.join_keys:
        for parameter, known in columns.items():
            if name in known:
                dep = dg.TableColumnDep(asset_key=upstream[parameter], column_name=name)
                found.setdefault(name, []).append(dep)
    return dg.TableColumnLineage(deps_by_column=found)


def partition_metadata(
    rows: pl.DataFrame,
    group: FeatureGroup,
    profiles: Mapping[str, Profile],
    references: Mapping[str, Profile] | None = None,
) -> dict[str, Any]:
    """Return what is shown of one partition: counts, times, distributions, a masked sample.

    Parameters
    ----------
    references
        What the values were compared with: outlines in the picture.
    """
    picture = distribution_svg(profiles, references)
    shown: dict[str, Any] = {
        "dagster/row_count": rows.height,
        "distributions": dg.MetadataValue.md(distributions(profiles)),
        "picture": dg.MetadataValue.md(as_markdown(picture, f"Distributions of {group.name}")),
    }
    if rows.height:
        first: Any = rows[group.timestamp].min()
        last: Any = rows[group.timestamp].max()
        shown["first_event"] = dg.MetadataValue.timestamp(first)
        shown["last_event"] = dg.MetadataValue.timestamp(last)
        shown["sample"] = _sample(rows, group)
    return shown


def distributions(profiles: Mapping[str, Profile]) -> str:
    """Return a table with a sparkline of each feature, as many as are shown at once."""
    lines = ["| feature | missing | mean | distribution |", "|---|---|---|---|"]
    for name, profile in profiles.items():
        mean = "" if profile.mean is None else f"{profile.mean:.4g}"
        line = sparkline(profile.histogram) if profile.histogram else ""
        row = f"| {name} | {profile.missing_share:.1%} | {mean} | {line} |"
        if len("\n".join(lines)) + len(row) > _SHOWN_INLINE:
            lines.append(f"| and {len(profiles) - len(lines) + 2} more | | | |")
            break
        lines.append(row)
    return "\n".join(lines)


def _sample(rows: pl.DataFrame, group: FeatureGroup) -> dg.TableMetadataValue:
    masks = {feature.name: feature.mask for feature in group.features if feature.pii}
    masks.update(dict.fromkeys(group.entity.join_keys, "hash"))
    names = [*group.entity.join_keys, group.timestamp, *group.feature_names]
    records = [
        dg.TableRecord(
            {
                name: mask_value(row[name], masks[name] or "redact")
                if name in masks
                else _plain(row[name])
                for name in names
            }
        )
        for row in rows.head(_SAMPLE).to_dicts()
    ]
    schema = dg.TableSchema([dg.TableColumn(name, "string") for name in names])
    return dg.MetadataValue.table(records, schema)


def shifts_table(shifts: Sequence[Shift]) -> dg.TableMetadataValue:
    """Return what drifted, or could not be compared, as a table of features and reasons."""
    records = [
        dg.TableRecord(
            {
                "partition": shift.partition,
                "feature": shift.feature,
                "metric": shift.rule.metric,
                "severity": shift.rule.severity,
                "outcome": shift.outcome,
                "reason": shift.reason,
            }
        )
        for shift in shifts
    ]
    names = ("partition", "feature", "metric", "severity", "outcome", "reason")
    return dg.MetadataValue.table(
        records, dg.TableSchema([dg.TableColumn(name, "string") for name in names])
    )


def failures_table(verdicts: Sequence[Any]) -> dg.TableMetadataValue:
    """Return failed verdicts as a table of features and reasons."""
    records = [
        dg.TableRecord(
            {
                "partition": verdict.partition,
                "feature": ", ".join(verdict.expectation.columns),
                "expectation": verdict.expectation.name,
                "severity": verdict.expectation.severity,
                "outcome": verdict.outcome,
                "reason": verdict.reason,
            }
        )
        for verdict in verdicts
    ]
    names = ("partition", "feature", "expectation", "severity", "outcome", "reason")
    return dg.MetadataValue.table(
        records, dg.TableSchema([dg.TableColumn(name, "string") for name in names])
    )


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str | bool) else str(value)

"""Declared bounds, counted row by row without Great Expectations: the gate of pushed rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feature_store_assets.declaration.group import FeatureGroup


def broken_bounds(rows: Any, group: FeatureGroup) -> dict[str, int]:
    """Return how many rows break each declared bound of the group's features.

    Parameters
    ----------
    rows
        The group's rows, as Arrow, typed as declared.
    group
        The group; its `expect.*` checks run in the validate job, not here.

    Returns
    -------
    `{"amount ge=0": 3}`: bounds that no row breaks are left out.
    """
    import polars as pl

    from feature_store_assets.quality import rules

    frame = pl.DataFrame(rows)
    frame = frame.select(rules.missing_as_null(frame.schema))
    types = {feature.name: feature.dtype for feature in group.features}
    found: dict[str, int] = {}
    for feature in group.features:
        for expectation in feature.expectations:
            rule = rules.rule(expectation, frame.schema, types)
            if rule is None or rule.at_fault is None:
                continue
            broken = frame.select((rule.counted & rule.at_fault).fill_null(value=False).sum())
            count = int(broken.item())
            if count:
                given = {key: value for key, value in expectation.kwargs.items() if key != "column"}
                shown = ", ".join(f"{key}={value}" for key, value in given.items())
                found[f"{feature.name}: {expectation.name}({shown})"] = count
    return found

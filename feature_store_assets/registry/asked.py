"""What a read asks for, resolved: stored features, request values, and what is computed of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feature_store_assets.declaration.request import RequestFeature, compute
from feature_store_assets.errors import SchemaMismatch, SpineError, suggestion
from feature_store_assets.offline.schema import arrow_type, lossless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView


@dataclass(frozen=True)
class Chosen:
    """Features of one group that a read asks for: stored name -> name in the answer."""

    group: FeatureGroup
    features: dict[str, str]


@dataclass(frozen=True)
class Asked:
    """What a read asks for.

    Parameters
    ----------
    owner
        The view's or group's name, for messages.
    parts
        Stored features by group, with those that only computed ones need.
    shown
        The names in the answer, in the view's order.
    request
        Request values that the computed features need, with their types.
    computed
        The computed features.
    view
        The view that they are of, if it is one.
    """

    owner: str
    parts: list[Chosen]
    shown: tuple[str, ...]
    request: dict[str, str]
    computed: tuple[RequestFeature, ...]
    view: FeatureView | None = None

    def columns(self, *, full_names: bool) -> dict[str, str]:
        """Return the columns of a training set by the names in the answer, hidden inputs too."""
        stored = [
            (shown, f"{part.group.name}__{shown}")
            for part in self.parts
            for shown in part.features.values()
        ]
        computed = [(each.name, f"{self.owner}__{each.name}") for each in self.computed]
        return {name: full if full_names else name for name, full in stored + computed}


def check_spine(spine: pa.Schema, asked: Asked, columns: Mapping[str, str]) -> None:
    """Refuse a spine that features cannot be computed on, before anything is read for it.

    Parameters
    ----------
    spine
        The columns of what features will be joined to.
    columns
        Name in the answer -> column of the training set.

    Raises
    ------
    SpineError, NaiveTimestamps
        A request value is missing or has another type, or a column clashes.
    """
    empty = pa.Table.from_batches([], spine)
    for name, kind in asked.request.items():
        if name not in spine.names:
            raise SpineError(
                f"The spine has no column '{name}', a request value ({kind}) of '{asked.owner}'."
                + suggestion(name, spine.names)
            )
        _request_column(empty, name, asked)
    computed = {feature.name for feature in asked.computed}
    taken = {*spine.names, *(columns[name] for name in columns if name not in computed)}
    for name in asked.shown:
        if name in computed and columns[name] in taken:
            raise SpineError(
                f"'{columns[name]}' of '{asked.owner}' is computed, but there is a column of that "
                f"name already. Use full_feature_names=True, or rename one."
            )


def with_computed(table: pa.Table, asked: Asked, columns: Mapping[str, str]) -> pa.Table:
    """Add the computed features to a joined table, or to any slice of its rows.

    Parameters
    ----------
    table
        A spine that `check_spine` let pass, with the stored features joined to it.
    columns
        Name in the answer -> column of the table.

    Returns
    -------
    The table without features that were joined as inputs only, then the computed ones.

    Raises
    ------
    SpineError
        Values of a request column do not fit their type.
    FunctionFailed
        A function is gone, raised, or returned what it may not.
    """
    import polars as pl

    inputs = {name for feature in asked.computed for name in feature.inputs}
    given = {
        name: pl.Series(
            name,
            _request_column(table, name, asked) if name in asked.request else table[columns[name]],
        )
        for name in inputs
    }
    hidden = [columns[name] for name in columns if name not in asked.shown]
    answer = table.drop_columns(hidden)
    found = compute(asked.computed, given)
    for feature in asked.computed:
        values = found[feature.name].to_arrow().cast(arrow_type(feature.dtype))
        answer = answer.append_column(columns[feature.name], values)
    return answer


def _request_column(table: pa.Table, name: str, asked: Asked) -> pa.ChunkedArray[Any]:
    """Return a request value's column, typed as it is declared."""
    kind = asked.request[name]
    try:
        return lossless(table[name], arrow_type(kind), owner="the spine", name=name, timezone=None)
    except SchemaMismatch:
        raise SpineError(
            f"Request value '{name}' is {table.schema.field(name).type} in the spine; "
            f"'{asked.owner}' declares {kind}. Cast it there."
        ) from None

"""What an online read found, and the shapes in which it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from feature_store_assets.declaration.types import arrow_type
from feature_store_assets.errors import DataError
from feature_store_assets.online.decode import Status, Told
from feature_store_assets.online.row import instant

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Output = Literal["dicts", "arrow", "numpy"]

# Worse comes later: the status of a row of several groups is its worst group's.
_SEVERITY: tuple[Status, ...] = ("present", "expired", "missing")
_NUMBERS = ("int64", "float64", "bool")


@dataclass(slots=True)
class Found:
    """Features of entities, in the order asked.

    Attributes
    ----------
    types
        The features in order, with their types.
    rows
        Their values, a list per entity; None where missing, expired or null.
    groups
        What each group told, by its name.
    moment
        The instant that ages count from, microseconds since 1970.
    stale
        Whether rows may be older than the cache keeps them, as the store does not answer.
    """

    types: dict[str, str]
    rows: list[list[Any]]
    groups: dict[str, Told]
    moment: int
    stale: bool

    @property
    def statuses(self) -> list[Status]:
        """Each entity's worst status."""
        told = [each.statuses for each in self.groups.values()]
        if len(told) == 1:
            return told[0]
        if not told:  # what is computed of request values alone lacks nothing
            return ["present"] * len(self.rows)
        return [max(each, key=_SEVERITY.index) for each in zip(*told, strict=True)]

    @property
    def times(self) -> list[int | None]:
        """Each entity's oldest event time, microseconds since 1970."""
        told = [each.times for each in self.groups.values()]
        if len(told) == 1:
            return told[0]
        if not told:
            return [None] * len(self.rows)
        return [
            min((time for time in each if time is not None), default=None)
            for each in zip(*told, strict=True)
        ]

    def ages(self, times: Sequence[int | None]) -> list[float | None]:
        """How old facts of those times are, in seconds."""
        return [None if time is None else (self.moment - time) / 1e6 for time in times]

    def dicts(self) -> list[dict[str, Any]]:
        """A dict of values per entity."""
        names = list(self.types)
        return [dict(zip(names, row, strict=True)) for row in self.rows]

    def detailed(self) -> list[dict[str, Any]]:
        """Values, status, event time, age and staleness per entity."""
        times = self.times
        parts = zip(self.dicts(), self.statuses, times, self.ages(times), strict=True)
        return [
            {
                "values": values,
                "status": status,
                "event_timestamp": None if time is None else instant(time),
                "age_seconds": age,
                "stale": self.stale,
            }
            for values, status, time, age in parts
        ]

    def arrow(self, keys: Mapping[str, Sequence[Any]], *, status: bool) -> "pa.Table":
        """One row per entity: its keys, the features, and with `status` what is known of them."""
        import pyarrow as pa

        columns: dict[str, Any] = {name: pa.array(values) for name, values in keys.items()}
        for at, (name, kind) in enumerate(self.types.items()):
            columns[name] = pa.array([row[at] for row in self.rows], arrow_type(kind))
        if status:
            columns["status"] = pa.array(self.statuses, pa.string())
            columns["event_timestamp"] = pa.array(self.times, pa.timestamp("us", "UTC"))
            columns["stale"] = pa.array([self.stale] * len(self.rows), pa.bool_())
        return pa.table(columns)

    def numpy(self) -> "np.ndarray[Any, Any]":
        """A float64 array, entities by features; NaN where there is no value.

        Raises
        ------
        DataError
            A feature is not numeric.
        """
        import numpy as np

        for name, kind in self.types.items():
            if kind not in _NUMBERS:
                raise DataError(
                    f"Feature '{name}' is {kind}, and NumPy output is numbers only. Ask for other "
                    f"features, or for output='arrow'."
                )
        # None becomes NaN.
        return np.array(self.rows, np.float64).reshape(len(self.rows), len(self.types))

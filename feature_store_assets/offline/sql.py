"""SQL over tables, for exploration: Polars' own dialect, which reads and never writes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa

from feature_store_assets.errors import DataError, FeatureStoreError, suggestion
from feature_store_assets.offline.dataframes import plain_strings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

_COMMENTS = r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*"
# The word, and not the beginning of a file's name.
_READS = re.compile(
    rf"{_COMMENTS}(?:\({_COMMENTS})*(?:select|with|explain)(?=[\s(*\"']|/\*|--|$)",
    re.IGNORECASE | re.DOTALL,
)
_WORD = re.compile(r"\w+")


def is_query(text: str) -> bool:
    """Tell a query from a path."""
    return _READS.match(text) is not None


def query(text: str, tables: Mapping[str, Callable[[], pl.LazyFrame]]) -> pa.Table:
    """Answer a query.

    Parameters
    ----------
    text
        One SELECT, in the dialect of `polars.SQLContext`.
    tables
        By name, what scans the table; only those that the text names are called.

    Raises
    ------
    DataError
        It is no SELECT, or Polars cannot answer it.
    """
    import polars as pl

    if not is_query(text):
        raise DataError(
            "store.sql answers SELECT (or WITH ... SELECT, EXPLAIN) and changes nothing. To write, "
            "use write_features, or materialize the group's asset."
        )
    named = set(_WORD.findall(text))
    frames: dict[str, pl.LazyFrame] = {}
    refused: dict[str, FeatureStoreError] = {}
    for name in tables.keys() & named:
        try:
            frames[name] = tables[name]()
        except FeatureStoreError as error:
            refused[name] = error  # the word may be a column's name, and no table's
    try:
        with pl.SQLContext(frames) as context:
            answer = context.execute(text, eager=False).collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n\nResolved plan")[0].strip()
        missing = re.match(r"relation '(.+?)' was not found", reason)
        if missing is not None:
            raise refused.get(missing[1]) or _unknown(missing[1], tables) from None
        # What follows are the values that could not be converted.
        reason = reason.partition(" values: [")[0]
        raise DataError(f"The query cannot be answered: {reason}") from None
    except pl.exceptions.PanicException as error:
        # A row that was stored before the calendar was checked, made text or cut into parts.
        raise DataError(
            f"The query cannot be answered: Polars gave up ({error}). Filter out timestamps and "
            f"dates outside the years 1 to 9999."
        ) from None
    return plain_strings(answer.to_arrow())


def _unknown(name: str, tables: Mapping[str, object]) -> DataError:
    known = ", ".join(sorted(tables)) or "none yet"
    near = suggestion(name, tables)
    hint = near if near.startswith(" Did") else ""
    return DataError(f"No feature group is named '{name}'. Tables are: {known}.{hint}")

"""Rows that are refused: nothing was written."""

from collections.abc import Mapping, Sequence

from feature_store_assets.errors.base import FeatureStoreError


class DataError(FeatureStoreError, ValueError):
    """The rows handed in are refused; nothing was written."""


def _examples(rows: Sequence[Mapping[str, object]]) -> str:
    """Up to five example rows, one a line; the caller has masked them."""
    return "".join(f"\n  {dict(row)}" for row in rows[:5])


class SchemaMismatch(DataError, TypeError):
    """A column is missing, unknown, or of a type that would not survive the write unchanged."""

    def __init__(
        self, group: str, column: str, *, wanted: str | None, got: str | None, hint: str = ""
    ) -> None:
        if got is None:
            what = f"Column '{column}' ({wanted}) of '{group}' is missing in the data."
        elif wanted is None:
            what = f"'{group}' declares no column '{column}' ({got})."
        else:
            what = f"Column '{column}' of '{group}' is declared {wanted}, the data has {got}."
        super().__init__(f"{what} {hint}".rstrip())


class NullKeys(DataError):
    """Rows without an entity key or an event timestamp."""

    def __init__(
        self, group: str, column: str, count: int, examples: Sequence[Mapping[str, object]] = ()
    ) -> None:
        super().__init__(
            f"{count} row(s) for '{group}' have no '{column}'. Every row needs its entity keys and "
            f"its event timestamp: drop or repair them.{_examples(examples)}"
        )


class DuplicateRows(DataError):
    """Rows that share entity keys, event timestamp and created timestamp."""

    def __init__(
        self,
        group: str,
        columns: Sequence[str],
        count: int,
        examples: Sequence[Mapping[str, object]] = (),
    ) -> None:
        super().__init__(
            f"{count} row(s) for '{group}' repeat another row's ({', '.join(columns)}). Keep one "
            f"row per entity and instant, for example with `unique(..., keep='last')`."
            f"{_examples(examples)}"
        )


class NaiveTimestamps(DataError):
    """Timestamps without a time zone."""

    def __init__(self, owner: str, column: str) -> None:
        super().__init__(
            f"Timestamps in '{column}' of '{owner}' have no time zone. Make them UTC "
            f"(`dt.replace_time_zone('UTC')`), or declare `timezone=` on the group."
        )


class OutsideCalendar(DataError):
    """Timestamps or dates that Python, and with it the steps after the write, cannot hold."""

    def __init__(
        self,
        owner: str,
        column: str,
        count: int,
        examples: Sequence[tuple[int, Mapping[str, object]]] = (),
        hint: str = "",
    ) -> None:
        listed = "".join(f"\n  row {row}: {dict(values)}" for row, values in examples[:5])
        super().__init__(
            f"{count} row(s) for '{owner}' have a '{column}' outside the years 1 to 9999 (UTC). "
            f"{hint}".rstrip()
            + listed
        )


class ChangedFacts(DataError):
    """Appended rows that differ from stored ones of the same keys and event time."""

    def __init__(
        self, group: str, count: int, examples: Sequence[Mapping[str, object]] = ()
    ) -> None:
        super().__init__(
            f"{count} row(s) for '{group}' are stored already with other values. To correct them, "
            f"write with mode='upsert': the stored revision stays readable.{_examples(examples)}"
        )


class OutsideWindow(DataError):
    """Rows dated outside the partitions that a run or a write may produce."""

    def __init__(
        self,
        group: str,
        count: int,
        window: str,
        examples: Sequence[Mapping[str, object]] = (),
    ) -> None:
        super().__init__(
            f"{count} row(s) for '{group}' lie outside {window}. A run writes just the partitions "
            f"it was asked for: filter by `window`, or ask for the partitions that these rows "
            f"belong to.{_examples(examples)}"
        )


class OutOfBounds(DataError):
    """Values outside the declared bounds of their features, or against what their group expects."""

    def __init__(
        self,
        group: str,
        failures: Mapping[str, int],
        reasons: Sequence[str] = (),
        examples: Sequence[Mapping[str, object]] = (),
    ) -> None:
        counted = [f"{rule}: {count} row(s)" for rule, count in failures.items()]
        listed = "; ".join([*counted, *(reason.rstrip(".") for reason in reasons[:5])])
        more = f"; {len(reasons) - 5} more" if reasons[5:] else ""
        super().__init__(
            f"Values for '{group}' break the declared bounds or expectations: {listed}{more}. "
            f"Repair the rows, or change the declaration.{_examples(examples)}"
        )


class SpineError(DataError):
    """A spine that cannot be joined: no timestamp, no key, a clashing column."""


class AnswerTooLarge(DataError, MemoryError):
    """A join that the memory limit does not allow; nothing was read."""

    def __init__(self, rows: int, needed: int, limit: int) -> None:
        super().__init__(
            f"Joining {rows:,} rows takes about {needed / 1e9:.1f} GB of memory, more than "
            f"memory_limit ({limit / 1e9:.1f} GB). Give out='features.parquet' to write the answer "
            f"piece by piece, or raise the limit."
        )

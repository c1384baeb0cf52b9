"""The quality gate: which partitions keep what their group expects, and why the others do not."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import polars as pl

from feature_store_assets.declaration.expect import Condition, Expectation, expect
from feature_store_assets.declaration.expectations_table import EXPECTATIONS, OWN
from feature_store_assets.quality.counts import ROW, ROWS_SHOWN, Counts
from feature_store_assets.quality.gx import (
    Answer,
    Ask,
    Validate,
    session,
    to_pandas,
    without_like,
)
from feature_store_assets.quality.rules import (
    BY_VALUE,
    CODE,
    Fences,
    Rule,
    by_value,
    missing_as_null,
    rule,
    selected,
    unevaluable,
)

Outcome = Literal["passed", "failed", "not evaluated"]

_NOT_EMPTY: Final = expect.table_row_count_to_be_between(min_value=1)
_TEXT_SHOWN: Final = 120
_UNJUDGED: Final = "not evaluated"
_PERSONAL: Final = "what was found is personal and not shown"
_ALL_MISSING: Final = "all values are missing"
_EXACT_FLOAT: Final = 2**53
_YES_OR_NO: Final = (
    "column_to_exist",
    "column_type_to_be",
    "column_values_to_be_of_type",
    "column_values_to_be_in_type_list",
    "table_columns_to_match_ordered_list",
    "table_columns_to_match_set",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one expectation says about one partition.

    `observed` is the number judged (for rules about rows: the share at fault), `rows` are the
    positions at fault in the frame that was checked, up to 1000; `reason` is a sentence without
    values of the data.
    """

    expectation: Expectation
    partition: str
    outcome: Outcome
    observed: float | int | str | None
    unexpected_count: int | None
    unexpected_share: float | None
    reason: str
    rows: tuple[int, ...] = ()

    @property
    def blocking(self) -> bool:
        """Whether the partition must not be committed."""
        return self.outcome != "passed" and self.expectation.severity == "critical"


def check(
    frame: pl.DataFrame,
    expectations: Sequence[Expectation],
    *,
    partition: str = "partition",
    partitions: Sequence[str],
    features: Mapping[str, str],
    vacuous: Collection[Expectation] = (),
    fences: Mapping[str, Fences] | None = None,
    pii: Collection[str] = (),
) -> list[Verdict]:
    """Judge many partitions of one frame at once.

    Counting is Polars' work, one pass over all partitions; Great Expectations judges the numbers,
    and, on the partitions' rows, those checks that no number expresses.

    Parameters
    ----------
    frame
        The rows of all partitions.
    expectations
        What each partition must satisfy. That a partition has rows at all is always checked,
        critical, unless a check of the row count allows none (`min_value=0`).
    partition
        The column that says which partition a row belongs to; other rows are left out.
    partitions
        The partitions asked for, also those without a row.
    features
        The declared type of each feature, by name.
    vacuous
        Expectations that hold where all values are missing: bounds of features that may be null.
        Others are then "not evaluated".
    fences
        Between which numbers each feature's values lay before: what outliers by reference lie
        beyond.
    pii
        Columns with personal values: what was observed of them is not told.

    Returns
    -------
    One verdict per expectation and partition, ordered by expectation, then as `partitions`.

    Examples
    --------
    >>> rows = pl.DataFrame({"partition": ["mon", "tue"], "spend_7d": [3.0, None]})
    >>> rule = expect.column_values_to_not_be_null("spend_7d")
    >>> verdicts = check(rows, [rule], partitions=["mon", "tue"], features={"spend_7d": "float64"})
    >>> [(v.partition, v.outcome) for v in verdicts if v.expectation == rule]
    [('mon', 'passed'), ('tue', 'failed')]
    """
    keys = list(dict.fromkeys(partitions))
    if not keys:
        return []
    may_be_empty = any(_allows_empty(each) for each in expectations)
    asked = list(expectations) if may_be_empty else [_NOT_EMPTY, *expectations]
    gate = _Gate(
        frame,
        asked,
        partition,
        keys,
        features,
        vacuous=vacuous,
        may_be_empty=may_be_empty,
        fences=fences or {},
        pii=pii,
    )
    with session() as validate:
        return gate.verdicts(validate)


class _Gate:
    """One call of `check`: the rows it looks at, and how each expectation is judged."""

    def __init__(
        self,
        frame: pl.DataFrame,
        asked: Sequence[Expectation],
        partition: str,
        keys: Sequence[str],
        features: Mapping[str, str],
        *,
        vacuous: Collection[Expectation],
        may_be_empty: bool,
        fences: Mapping[str, Fences],
        pii: Collection[str],
    ) -> None:
        self.personal = [not set(pii).isdisjoint(each.columns) for each in asked]
        self.vacuous = vacuous
        self.fences = fences
        self.asked = asked
        self.keys = keys
        self.may_be_empty = may_be_empty
        self.features = features
        self.schema = {name: kind for name, kind in frame.schema.items() if name != partition}
        self.words = [_described(each) for each in asked]
        needed = dict.fromkeys(name for each in asked for name in each.columns)
        used = {name: self.schema[name] for name in needed if name in self.schema}
        code = frame[partition].cast(pl.String).cast(pl.Enum(keys), strict=False).to_physical()
        self.rows = _rows(frame, used, code.cast(pl.UInt32).alias(CODE))

    def verdicts(self, validate: Validate) -> list[Verdict]:
        """Judge each expectation in the cheapest way that is exact."""
        refused: dict[int, str] = {}
        rules: dict[int, Rule] = {}
        for number, each in enumerate(self.asked):
            if why := unevaluable(each, self.schema):
                refused[number] = why
            elif found := rule(each, self.schema, self.features, self.fences):
                rules[number] = found
        rules_by_value, refused_by_value = self._rules_by_value(
            [n for n in range(len(self.asked)) if n not in refused and n not in rules], validate
        )
        rules |= rules_by_value
        refused |= refused_by_value
        judged = self._judged(rules, validate)
        others = [n for n in range(len(self.asked)) if n not in refused and n not in rules]
        judged |= self._judged_on_rows(others, validate)
        for number, why in refused.items():
            for code in range(len(self.keys)):
                judged[number, code] = self._verdict(number, code, _UNJUDGED, why)
        return [judged[n, code] for n in range(len(self.asked)) for code in range(len(self.keys))]

    def _verdict(
        self,
        number: int,
        code: int,
        outcome: Outcome,
        why: str,
        *,
        observed: float | str | None = None,
        unexpected: tuple[int | None, float | None] = (None, None),
        rows: Sequence[int] = (),
    ) -> Verdict:
        if why == _ALL_MISSING and self.asked[number] in self.vacuous:
            outcome = "passed"
        return Verdict(
            self.asked[number],
            self.keys[code],
            outcome,
            observed,
            unexpected[0],
            unexpected[1],
            f"{self.words[number]}: {why}.",
            tuple(rows[:ROWS_SHOWN]),
        )

    # -------------------------------------------------------------- judged by their statistics

    def _rules_by_value(
        self, numbers: Sequence[int], validate: Validate
    ) -> tuple[dict[int, Rule], dict[int, str]]:
        """Let Great Expectations judge each distinct string once; counting is Polars' again."""
        rules: dict[int, Rule] = {}
        refused: dict[int, str] = {}
        by_column: dict[str, list[int]] = {}
        for number in numbers:
            column = self.asked[number].column
            if (
                self.asked[number].name in BY_VALUE
                and column is not None
                and self.schema[column] == pl.String
            ):
                by_column.setdefault(column, []).append(number)
        for column, same_column in by_column.items():
            values = self.rows.get_column(column).drop_nulls().unique()
            asks = [
                without_like(_ask(self.asked[number], without=("mostly",)))
                for number in same_column
            ]
            answers = validate(to_pandas(values.to_frame()), asks)
            for number, answer in zip(same_column, answers, strict=True):
                if answer.error is None:
                    at_fault = values.gather(answer.rows)
                    rules[number] = by_value(self.asked[number], self.schema, at_fault)
                else:
                    refused[number] = answer.error
        return rules, refused

    def _judged(
        self, rules: Mapping[int, Rule], validate: Validate
    ) -> dict[tuple[int, int], Verdict]:
        """Judge by statistics, all partitions at once."""
        if not rules:
            return {}
        counts = Counts(self.rows, rules, len(self.keys))
        judged: dict[tuple[int, int], Verdict] = {}
        table: dict[int, list[Any]] = {}
        for number, each in rules.items():
            table[number] = counts.numbers(number)
            for code, sizes in enumerate(counts.sizes(number)):
                settled = (
                    None
                    if each.kind == "table"
                    else self._settled(sizes, about_rows=each.kind == "rows")
                )
                if settled:
                    judged[number, code] = self._verdict(number, code, *settled)
                    table[number][code] = None
        for number, (failing, error) in _outside_bounds(rules, table, validate).items():
            open_codes = [code for code in range(len(self.keys)) if (number, code) not in judged]
            if error is not None:
                found = {code: self._verdict(number, code, _UNJUDGED, error) for code in open_codes}
            elif rules[number].kind == "rows":
                found = dict(self._about_counts(number, open_codes, failing, counts))
            else:
                values = table[number]
                found = {
                    code: self._about_number(number, code, values[code], failed=code in failing)
                    for code in open_codes
                }
            judged |= {(number, code): verdict for code, verdict in found.items()}
        return judged

    def _about_counts(
        self, number: int, codes: Sequence[int], failing: Collection[int], counts: Counts
    ) -> Iterator[tuple[int, Verdict]]:
        faults = counts.faults(number, sorted(failing))
        sizes, at_fault = counts.sizes(number), counts.at_fault(number)
        for code in codes:
            yield (
                code,
                self._about_rows(
                    number,
                    code,
                    "failed" if code in failing else "passed",
                    at_fault=at_fault[code],
                    of=sizes[code][2],
                    rows=faults.get(code, ()),
                ),
            )

    def _about_rows(
        self,
        number: int,
        code: int,
        outcome: Outcome,
        *,
        at_fault: int,
        of: int,
        rows: Sequence[int],
    ) -> Verdict:
        share = at_fault / of if of else 0.0
        why = f"{at_fault} of {of} rows are at fault ({share:.2%})"
        return self._verdict(
            number, code, outcome, why, observed=share, unexpected=(at_fault, share), rows=rows
        )

    def _about_number(self, number: int, code: int, value: Any, *, failed: bool) -> Verdict:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            why = "the number is undefined for these rows"
            return self._verdict(number, code, "failed", why)
        outcome: Outcome = "failed" if failed else "passed"
        if self.personal[number]:
            return self._verdict(number, code, outcome, _PERSONAL)
        observed = value.isoformat() if isinstance(value, date) else value
        told = f"found {observed:.6g}" if isinstance(value, float) else f"found {observed}"
        if self.asked[number].name in _YES_OR_NO:
            told = "it does" if value else "it does not"
        return self._verdict(number, code, outcome, told, observed=observed)

    # -------------------------------------------------------------- judged row by row

    def _judged_on_rows(
        self, numbers: Sequence[int], validate: Validate
    ) -> dict[tuple[int, int], Verdict]:
        """Let Great Expectations see the rows, partition by partition, few columns at a time."""
        if not numbers:
            return {}
        judged: dict[tuple[int, int], Verdict] = {}
        alike: dict[tuple[tuple[str, ...], Condition | None], list[int]] = {}
        for number in numbers:
            asked = self.asked[number]
            alike.setdefault((asked.columns, asked.kwargs.get("row_condition")), []).append(number)
        for (columns, condition), together in alike.items():
            mask = selected(condition, self.schema)
            needed = self.rows.select(ROW, CODE, *columns)
            by_code = needed.partition_by(CODE, as_dict=True, maintain_order=True)
            for code in range(len(self.keys)):
                rows = by_code.get((code,), needed.clear())
                chosen = rows.filter(mask).select(ROW, *columns)
                for number in together:
                    sizes = rows.height, chosen.height, self._present(number, chosen)
                    settled = self._settled(sizes, about_rows=_is_about_rows(self.asked[number]))
                    if settled:
                        judged[number, code] = self._verdict(number, code, *settled)
                open_ones = [number for number in together if (number, code) not in judged]
                if open_ones:
                    values = chosen.drop(ROW)
                    if any(self.asked[number].column is None for number in open_ones):
                        values = values.with_columns(_as_floats(values))
                    frame = to_pandas(values, chosen[ROW].to_list())
                    answers = validate(frame, [_ask(self.asked[n]) for n in open_ones])
                    for number, answer in zip(open_ones, answers, strict=True):
                        judged[number, code] = self._from_answer(number, code, answer)
        return judged

    def _present(self, number: int, rows: pl.DataFrame) -> int:
        """Return how many rows have a value; rules about several columns judge missing ones."""
        column = self.asked[number].column
        return rows.height - (rows[column].null_count() if column else 0)

    def _settled(
        self, sizes: tuple[int, int, int], *, about_rows: bool
    ) -> tuple[Outcome, str] | None:
        """Return the outcome where nothing can be judged; silence must not pass for "good"."""
        total, chosen, present = sizes
        if total == 0:
            return "passed" if self.may_be_empty else _UNJUDGED, "there are no rows"
        if chosen == 0:
            outcome: Outcome = "passed" if about_rows else _UNJUDGED
            return outcome, "no row meets the row condition"
        return (_UNJUDGED, _ALL_MISSING) if present == 0 else None

    def _from_answer(self, number: int, code: int, answer: Answer) -> Verdict:
        if answer.error is not None:
            return self._verdict(number, code, _UNJUDGED, answer.error)
        outcome: Outcome = "passed" if answer.success else "failed"
        found = answer.found
        if "element_count" in found:
            of = found["element_count"] - (found.get("missing_count") or 0)
            if of <= 0:
                return self._verdict(number, code, _UNJUDGED, _ALL_MISSING)
            at_fault = int(found["unexpected_count"] or 0)
            return self._about_rows(
                number, code, outcome, at_fault=at_fault, of=of, rows=answer.rows
            )
        if self.personal[number]:
            return self._verdict(number, code, outcome, _PERSONAL)
        observed = _observed(found.get("observed_value"))
        told = "it does" if answer.success else "it does not"
        told = told if observed is None else f"found {observed}"
        return self._verdict(number, code, outcome, told, observed=observed)


def _rows(frame: pl.DataFrame, used: Mapping[str, pl.DataType], code: pl.Series) -> pl.DataFrame:
    """Return the rows that have a partition code, sharing memory with the frame where they can."""
    nan = {
        name: dtype
        for name, dtype in used.items()
        if dtype.is_float() and frame[name].is_nan().any()
    }
    order = pl.int_range(frame.height, dtype=pl.get_index_type(), eager=True).alias(ROW)
    rows = pl.DataFrame([order, code, *frame.select(list(used)).with_columns(missing_as_null(nan))])
    if code.null_count():
        rows = rows.filter(pl.col(CODE).is_not_null())
    # Polars groups faster what it knows to be sorted.
    return rows.with_columns(pl.col(CODE).set_sorted()) if rows[CODE].is_sorted() else rows


def _allows_empty(each: Expectation) -> bool:
    given = each.kwargs
    if not each.name.startswith("table_row_count_to_") or "row_condition" in given:
        return False
    return given.get("min_value", given.get("value")) == 0 and not given.get("strict_min")


def _is_about_rows(each: Expectation) -> bool:
    return each.name in OWN or "mostly" in EXPECTATIONS[each.name][1]


def _as_floats(values: pl.DataFrame) -> list[pl.Series]:
    """Return the integer columns with nulls as floats, where that loses nothing.

    Rules about several columns fail on Arrow's nulls.
    """
    return [
        series.cast(pl.Float64)
        for series in values
        if series.dtype.is_integer()
        and series.null_count()
        and series.is_between(-_EXACT_FLOAT, _EXACT_FLOAT).all()
    ]


def _ask(each: Expectation, *, without: Sequence[str] = ()) -> Ask:
    """Return the question for Great Expectations; the row condition has been applied already."""
    left_out = {"row_condition", *without}
    return Ask(each.name, {name: v for name, v in each.kwargs.items() if name not in left_out})


def _outside_bounds(
    rules: Mapping[int, Rule], table: Mapping[int, Sequence[Any]], validate: Validate
) -> dict[int, tuple[set[int], str | None]]:
    """Return the partitions whose number breaks its bounds, or why Great Expectations cannot say.

    It judges one frame whose columns hold the numbers of all rules with the same bounds, rule
    after rule: what it costs depends on how many different bounds there are, not on how many
    partitions.
    """
    alike: dict[tuple[Any, ...], list[int]] = {}
    comparable = {number: _judgeable(table[number]) for number in rules}
    for number, each in rules.items():
        bounds = _comparable(each.low), _comparable(each.high), each.strict_low, each.strict_high
        alike.setdefault((*bounds, comparable[number].dtype), []).append(number)
    longest = max(map(len, alike.values())) * max(map(len, table.values()))
    columns: list[pl.Series] = []
    asks: list[Ask] = []
    for (low, high, strict_low, strict_high, _), numbers in alike.items():
        column = pl.concat([comparable[number] for number in numbers])
        columns.append(column.extend_constant(None, longest - len(column)).alias(str(len(asks))))
        named = {"min_value": low, "max_value": high}
        strict = {"strict_min": strict_low, "strict_max": strict_high}
        asks.append(
            Ask("column_values_to_be_between", {"column": str(len(asks)), **named, **strict})
        )
    answers = validate(to_pandas(pl.DataFrame(columns)), asks)
    outside: dict[int, tuple[set[int], str | None]] = {}
    for numbers, answer in zip(alike.values(), answers, strict=True):
        partitions = len(table[numbers[0]])
        failing: dict[int, set[int]] = {number: set() for number in numbers}
        for row in answer.rows:
            failing[numbers[row // partitions]].add(row % partitions)
        outside |= {number: (failing[number], answer.error) for number in numbers}
    return outside


def _comparable(number: Any) -> Any:
    """Return dates and times as microseconds: Great Expectations cuts a time bound to its day."""
    if isinstance(number, date):
        return pl.Series([number]).cast(pl.Datetime("us")).to_physical().item()
    return number


def _judgeable(numbers: Sequence[Any]) -> pl.Series:
    comparable = [_comparable(number) for number in numbers]
    whole = all(isinstance(number, int) for number in comparable if number is not None)
    return pl.Series(comparable, dtype=pl.Int64 if whole else pl.Float64, strict=False)


def _observed(value: Any) -> float | int | str | None:
    """Return a number that was found; text may be a personal value and is left out."""
    if isinstance(value, Mapping) and "quantiles" in value:
        return ", ".join(str(_observed(each)) for each in value["values"])
    plain = value.item() if hasattr(value, "item") else value
    return plain if isinstance(plain, int | float) and not isinstance(plain, bool) else None


def _described(each: Expectation) -> str:
    """Return the start of the sentence: the feature and what was expected of it."""
    about = ("column", "column_A", "column_B", "column_list", "column_set")
    given = each.kwargs
    subject = " and ".join(f"'{name}'" for name in each.columns) or "the rows"
    words = each.name.removeprefix("column_").removeprefix("table_").replace("_", " ")
    limits = ", ".join(
        f"{name}={value.isoformat() if isinstance(value, date) else value!r}"
        for name, value in given.items()
        if name not in about and not isinstance(value, Condition)
    )
    shown = limits if len(limits) <= _TEXT_SHOWN else limits[: _TEXT_SHOWN - 3] + "..."
    return f"{subject}: expected {words}" + (f" ({shown})" if shown else "")

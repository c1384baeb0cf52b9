"""The check of whole partitions: rules of our own, and Great Expectations where there is none."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import polars as pl

from feature_store_assets.declaration.conditions import Condition
from feature_store_assets.declaration.expect import Expectation, expect
from feature_store_assets.declaration.expectations_table import EXPECTATIONS, OWN
from feature_store_assets.quality.columns import CODE, ROW, selected
from feature_store_assets.quality.gx import Answer, Ask, Validate, session, to_pandas
from feature_store_assets.quality.row_rules import Fences
from feature_store_assets.quality.verdicts import (
    ALL_MISSING,
    PERSONAL,
    UNJUDGED,
    Judge,
    Outcome,
    Verdict,
    Verdicts,
)

_NOT_EMPTY: Final = expect.table_row_count_to_be_between(min_value=1)
_EXACT_FLOAT: Final = 2**53


def check(
    frame: pl.DataFrame,
    expectations: Sequence[Expectation],
    *,
    partitions: Sequence[str],
    features: Mapping[str, str],
    vacuous: Collection[Expectation] = (),
    fences: Mapping[str, Fences] | None = None,
    pii: Collection[str] = (),
) -> list[Verdict]:
    """Judge many partitions of one frame at once.

    Counting is Polars' work, one pass over all partitions, and plain comparisons judge the
    numbers. Great Expectations sees the partitions' rows where no number expresses a check; it is
    loaded for these alone.

    Parameters
    ----------
    frame
        The rows of all partitions; their column `partition` says to which one they belong.
    expectations
        What each partition must satisfy. That a partition has rows at all is always checked,
        critical, unless a check of the row count allows none (`min_value=0`).
    partitions
        The partitions asked for, also those without a row; other rows are left out.
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
    judge = Judge(
        frame,
        asked,
        keys,
        features=features,
        vacuous=vacuous,
        fences=fences,
        pii=pii,
        may_be_empty=may_be_empty,
    )
    judged, others = judge.by_rules()
    if others:
        with session() as validate:
            judged |= _on_rows(judge, others, validate)
    return [judged[n, code] for n in range(len(asked)) for code in range(len(keys))]


def _on_rows(judge: Judge, numbers: Sequence[int], validate: Validate) -> Verdicts:
    """Let Great Expectations see the rows, partition by partition, few columns at a time."""
    judged: Verdicts = {}
    alike: dict[tuple[tuple[str, ...], Condition | None], list[int]] = {}
    for number in numbers:
        asked = judge.asked[number]
        alike.setdefault((asked.columns, asked.kwargs.get("row_condition")), []).append(number)
    for (columns, condition), together in alike.items():
        mask = selected(condition, judge.schema)
        needed = judge.rows.select(ROW, CODE, *columns)
        by_code = needed.partition_by(CODE, as_dict=True, maintain_order=True)
        for code in range(len(judge.keys)):
            rows = by_code.get((code,), needed.clear())
            chosen = rows.filter(mask).select(ROW, *columns)
            open_ones = []
            for number in together:
                asked = judge.asked[number]
                sizes = rows.height, chosen.height, _present(asked, chosen)
                settled = judge.settled(number, code, sizes, about_rows=_is_about_rows(asked))
                if settled is None:
                    open_ones.append(number)
                else:
                    judged[number, code] = settled
            if open_ones:
                asks = [_ask(judge.asked[number]) for number in open_ones]
                answers = validate(_as_pandas(chosen, asks), asks)
                for number, answer in zip(open_ones, answers, strict=True):
                    judged[number, code] = _from_answer(judge, number, code, answer)
    return judged


def _present(asked: Expectation, rows: pl.DataFrame) -> int:
    """Return how many rows have a value; rules about several columns judge missing ones."""
    return rows.height - (rows[asked.column].null_count() if asked.column else 0)


def _as_pandas(rows: pl.DataFrame, asks: Sequence[Ask]) -> Any:
    values = rows.drop(ROW)
    if any("column" not in each.kwargs for each in asks):
        values = values.with_columns(_as_floats(values))
    return to_pandas(values, rows[ROW].to_list())


def _from_answer(judge: Judge, number: int, code: int, answer: Answer) -> Verdict:
    if answer.error is not None:
        return judge.verdict(number, code, UNJUDGED, answer.error)
    outcome: Outcome = "passed" if answer.success else "failed"
    found = answer.found
    if "element_count" in found:
        of = found["element_count"] - (found.get("missing_count") or 0)
        if of <= 0:
            return judge.verdict(number, code, UNJUDGED, ALL_MISSING)
        at_fault = int(found["unexpected_count"] or 0)
        rows = answer.rows
        return judge.about_rows(number, code, outcome, at_fault=at_fault, of=of, rows=rows)
    if judge.personal[number]:
        return judge.verdict(number, code, outcome, PERSONAL)
    observed = _observed(found.get("observed_value"))
    words = "it does" if answer.success else "it does not"
    words = words if observed is None else f"found {observed}"
    return judge.verdict(number, code, outcome, words, observed=observed)


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


def _ask(each: Expectation) -> Ask:
    """Return the question for Great Expectations; the row condition has been applied already."""
    given = each.kwargs.items()
    return Ask(each.name, {name: value for name, value in given if name != "row_condition"})


def _observed(value: Any) -> float | int | str | None:
    """Return a number that was found; text may be a personal value and is left out."""
    if isinstance(value, Mapping) and "quantiles" in value:
        return ", ".join(str(_observed(each)) for each in value["values"])
    plain = value.item() if hasattr(value, "item") else value
    return plain if isinstance(plain, int | float) and not isinstance(plain, bool) else None

"""Verdicts on partitions by rules of our own: Polars counts, plain comparisons judge.

Runs and pushes pass here. What no rule expresses is left to Great Expectations
(`quality.expectations`), which this module does without.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import polars as pl

from feature_store_assets.declaration.conditions import Condition
from feature_store_assets.declaration.expect import Expectation
from feature_store_assets.offline.schema import PARTITION
from feature_store_assets.quality.aggregates import ROWS_SHOWN, Counts
from feature_store_assets.quality.columns import CODE, ROW, missing_as_null, unevaluable
from feature_store_assets.quality.patterns import right_texts
from feature_store_assets.quality.row_rules import Fences
from feature_store_assets.quality.rules import Rule, by_value, lasts, rule

Outcome = Literal["passed", "failed", "not evaluated"]
# By the expectation's number and the partition's.
Verdicts = dict[tuple[int, int], "Verdict"]

UNJUDGED: Final = "not evaluated"
ALL_MISSING: Final = "all values are missing"
PERSONAL: Final = "what was found is personal and not shown"
_TEXT_SHOWN: Final = 120
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


class Judge:
    """The rows of some partitions, and each expectation judged by its rule.

    Parameters
    ----------
    frame
        The rows of all partitions, with the column that names their partition.
    asked
        What each partition must satisfy.
    keys
        The partitions asked for, also those without a row; other rows are left out.
    features, vacuous, fences, pii
        As `quality.expectations.check` takes them.
    may_be_empty
        Whether a partition without a row passes.
    whole
        Whether the rows are all that their partitions hold. If not, only rules are judged that
        other rows of a partition cannot mend, and where nothing can be judged nothing is wrong.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        asked: Sequence[Expectation],
        keys: Sequence[str],
        *,
        features: Mapping[str, str],
        vacuous: Collection[Expectation] = (),
        fences: Mapping[str, Fences] | None = None,
        pii: Collection[str] = (),
        may_be_empty: bool = False,
        whole: bool = True,
    ) -> None:
        self.asked = asked
        self.keys = keys
        self.schema = {name: kind for name, kind in frame.schema.items() if name != PARTITION}
        self.personal = [not set(pii).isdisjoint(each.columns) for each in asked]
        self._features = features
        self._vacuous = vacuous
        self._fences = fences or {}
        self._may_be_empty = may_be_empty
        self._whole = whole
        self._words = [described(each) for each in asked]
        needed = dict.fromkeys(name for each in asked for name in each.columns)
        used = {name: self.schema[name] for name in needed if name in self.schema}
        code = frame[PARTITION].cast(pl.String).cast(pl.Enum(keys), strict=False).to_physical()
        self.rows = _rows(frame, used, code.cast(pl.UInt32).alias(CODE))

    def by_rules(self) -> tuple[Verdicts, list[int]]:
        """Judge all partitions at once.

        Returns
        -------
        The verdicts, and the numbers of the expectations that no rule expresses.
        """
        rules: dict[int, Rule] = {}
        judged: Verdicts = {}
        others = []
        for number, each in enumerate(self.asked):
            if why := unevaluable(each, self.schema):
                judged |= self._on_all(number, UNJUDGED, why)
            elif found := self._rule(each):
                if self._whole or lasts(each, found):
                    rules[number] = found
            else:
                others.append(number)
        if rules:
            judged |= self._counted(rules)
        return judged, others

    def verdict(
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
        """Return the verdict of an expectation on a partition, by their numbers."""
        if why == ALL_MISSING and self.asked[number] in self._vacuous:
            outcome = "passed"
        return Verdict(
            self.asked[number],
            self.keys[code],
            outcome,
            observed,
            unexpected[0],
            unexpected[1],
            f"{self._words[number]}: {why}.",
            tuple(rows[:ROWS_SHOWN]),
        )

    def settled(
        self, number: int, code: int, sizes: tuple[int, int, int], *, about_rows: bool
    ) -> Verdict | None:
        """Return the verdict where nothing can be judged; silence must not pass for "good".

        Parameters
        ----------
        sizes
            How many rows the partition has, the row condition selects, and have a value.
        """
        total, chosen, present = sizes
        outcome: Outcome = UNJUDGED if self._whole else "passed"
        if total == 0:
            empty: Outcome = "passed" if self._may_be_empty else outcome
            return self.verdict(number, code, empty, "there are no rows")
        if chosen == 0:
            outcome = "passed" if about_rows else outcome
            return self.verdict(number, code, outcome, "no row meets the row condition")
        return self.verdict(number, code, outcome, ALL_MISSING) if present == 0 else None

    def about_rows(
        self,
        number: int,
        code: int,
        outcome: Outcome,
        *,
        at_fault: int,
        of: int,
        rows: Sequence[int],
    ) -> Verdict:
        """Return the verdict of an expectation that counts rows."""
        share = at_fault / of if of else 0.0
        why = f"{at_fault} of {of} rows are at fault ({share:.2%})"
        return self.verdict(
            number, code, outcome, why, observed=share, unexpected=(at_fault, share), rows=rows
        )

    def _on_all(self, number: int, outcome: Outcome, why: str) -> Verdicts:
        codes = range(len(self.keys))
        return {(number, code): self.verdict(number, code, outcome, why) for code in codes}

    def _rule(self, asked: Expectation) -> Rule | None:
        """Return the rule of an expectation, if it has one."""
        if asked.column is None or self.schema.get(asked.column) != pl.String:
            return rule(asked, self.schema, self._features, self._fences)
        # Each distinct text once; how often it occurs is counted as for other rules.
        texts = self.rows[asked.column].drop_nulls().unique()
        right = right_texts(asked, texts)
        if right is None:
            return rule(asked, self.schema, self._features, self._fences)
        return by_value(asked, self.schema, texts.filter(~right))

    def _counted(self, rules: Mapping[int, Rule]) -> Verdicts:
        counts = Counts(self.rows, rules, len(self.keys))
        judged: Verdicts = {}
        for number, each in rules.items():
            numbers, open_codes = counts.numbers(number), []
            for code, sizes in enumerate(counts.sizes(number)):
                settled = None
                if each.kind != "table":
                    settled = self.settled(number, code, sizes, about_rows=each.kind == "rows")
                if settled is None:
                    open_codes.append(code)
                else:
                    judged[number, code] = settled
            try:
                failing = {code for code in open_codes if _is_outside(numbers[code], each)}
            except TypeError:
                judged |= self._on_all(number, UNJUDGED, "a number does not compare with its bound")
                continue
            if each.kind == "rows":
                judged |= self._about_counts(number, open_codes, failing, counts)
            else:
                judged |= {
                    (number, code): self._about_number(
                        number, code, numbers[code], failed=code in failing
                    )
                    for code in open_codes
                }
        return judged

    def _about_counts(
        self, number: int, codes: Sequence[int], failing: Collection[int], counts: Counts
    ) -> Iterator[tuple[tuple[int, int], Verdict]]:
        faults = counts.faults(number, sorted(failing))
        sizes, at_fault = counts.sizes(number), counts.at_fault(number)
        for code in codes:
            outcome: Outcome = "failed" if code in failing else "passed"
            yield (
                (number, code),
                self.about_rows(
                    number,
                    code,
                    outcome,
                    at_fault=at_fault[code],
                    of=sizes[code][2],
                    rows=faults.get(code, ()),
                ),
            )

    def _about_number(self, number: int, code: int, value: Any, *, failed: bool) -> Verdict:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            why = "the number is undefined for these rows"
            return self.verdict(number, code, "failed", why)
        outcome: Outcome = "failed" if failed else "passed"
        if self.personal[number]:
            return self.verdict(number, code, outcome, PERSONAL)
        observed = value.isoformat() if isinstance(value, date) else value
        found = f"found {observed:.6g}" if isinstance(value, float) else f"found {observed}"
        if self.asked[number].name in _YES_OR_NO:
            found = "it does" if value else "it does not"
        return self.verdict(number, code, outcome, found, observed=observed)


def _rows(frame: pl.DataFrame, used: Mapping[str, pl.DataType], code: pl.Series) -> pl.DataFrame:
    """Return the rows that have a partition code, sharing memory with the frame where they can."""
    nan = {
        name: dtype
        for name, dtype in used.items()
        if dtype.is_float() and frame[name].is_nan().any()
    }
    order = pl.int_range(frame.height, dtype=pl.get_index_type(), eager=True).alias(ROW)
    columns = pl.DataFrame([frame[name] for name in used])
    if nan:
        columns = columns.with_columns(missing_as_null(nan))
    rows = pl.DataFrame([order, code, *columns])
    if code.null_count():
        rows = rows.filter(pl.col(CODE).is_not_null())
    # Polars groups faster what it knows to be sorted.
    return rows.with_columns(pl.col(CODE).set_sorted()) if rows[CODE].is_sorted() else rows


def _is_outside(number: Any, rule: Rule) -> bool:
    """Tell whether a number breaks the bounds of its rule; one that is undefined does not."""
    if number is None:
        return False
    below = rule.low is not None and (number < rule.low or (rule.strict_low and number == rule.low))
    return below or (
        rule.high is not None and (number > rule.high or (rule.strict_high and number == rule.high))
    )


def described(each: Expectation) -> str:
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

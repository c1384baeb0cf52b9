"""The numbers behind the rules: counted for all partitions at once by Polars."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

from feature_store_assets.quality.columns import CODE, ROW
from feature_store_assets.quality.rules import Rule

ROWS_SHOWN: Final = 1000
_TOTAL: Final = "rows in all"
# The streaming engine sorts to find a median.
_ENGINE: Final = "in-memory"
# Rules whose values are in memory together.
_AT_ONCE: Final = 16


class Counts:
    """The statistics of each rule in each partition.

    Parameters
    ----------
    rows
        The rows with their number and partition code, NaN made null.
    rules
        What to count, by the expectation's number.
    partitions
        How many partition codes there are; those without a row have zeros.
    """

    def __init__(self, rows: pl.DataFrame, rules: Mapping[int, Rule], partitions: int) -> None:
        self._rules = rules
        self._marks: dict[bytes, str] = {}
        self._rows = rows
        self._table: dict[str, list[Any]] = {}
        numbers = list(rules)
        for start in range(0, len(numbers), _AT_ONCE):
            self._count(numbers[start : start + _AT_ONCE], partitions)

    def _count(self, some: Sequence[int], partitions: int) -> None:
        marked: list[pl.Expr] = []
        numbers: dict[str, pl.Expr] = {_TOTAL: pl.len()}
        zeros = [_TOTAL]  # counts, which are 0 where a partition has no row
        for number in some:
            rule = self._rules[number]
            if rule.at_fault is not None:
                fault = f"fault {number}"
                marked.append((rule.at_fault & rule.counted).alias(fault))
                numbers[fault] = pl.col(fault).sum()
                zeros.append(fault)
            if rule.values is not None and rule.aggregate is not None:
                values = f"values {number}"
                marked.append(rule.values.alias(values))
                numbers[values] = rule.aggregate(pl.col(values))
                if rule.kind == "table":
                    zeros.append(values)
            for mask in (rule.selected, rule.counted):
                name = self._mark(mask)
                if name not in numbers and name not in self._table:
                    marked.append(mask.alias(name))
                    numbers[name] = pl.col(name).sum()
                    zeros.append(name)
        marks = self._rows.lazy().select(CODE, *marked)
        aggregates = [each.alias(name) for name, each in numbers.items()]
        if partitions == 1:  # a push, mostly: grouping costs more than counting there
            counted = marks.select(pl.lit(0, pl.UInt32).alias(CODE), *aggregates)
        else:
            codes = pl.LazyFrame({CODE: pl.int_range(partitions, dtype=pl.UInt32, eager=True)})
            groups = marks.group_by(CODE).agg(aggregates)
            joined = codes.join(groups, on=CODE, how="left", maintain_order="left")
            counted = joined.with_columns(pl.col(zeros).fill_null(0))
        self._table |= counted.collect(engine=_ENGINE).to_dict(as_series=False)

    def _mark(self, mask: pl.Expr) -> str:
        """Name a row mask; many rules share one, which is then counted once."""
        return self._marks.setdefault(mask.meta.serialize(), f"mask {len(self._marks)}")

    def sizes(self, number: int) -> list[tuple[int, int, int]]:
        """Return the rows of each partition: in all, selected by the rule, counted by it."""
        rule = self._rules[number]
        names = (_TOTAL, self._mark(rule.selected), self._mark(rule.counted))
        return list(zip(*(self._table[name] for name in names), strict=True))

    def at_fault(self, number: int) -> list[int]:
        """Return how many rows of each partition break a rule about rows."""
        return self._table[f"fault {number}"]

    def numbers(self, number: int) -> list[Any]:
        """Return what a rule bounds, partition by partition; None where it is undefined."""
        rule = self._rules[number]
        if rule.constant is not None:
            return [rule.constant] * len(self._table[CODE])
        if rule.kind == "rows":
            sizes = zip(self._table[self._mark(rule.counted)], self.at_fault(number), strict=True)
            return [(counted - fault) / counted if counted else None for counted, fault in sizes]
        return list(self._table[f"values {number}"])

    def faults(self, number: int, codes: Sequence[int]) -> dict[int, list[int]]:
        """Return the first rows at fault in each of some partitions."""
        if not codes:
            return {}
        rule = self._rules[number]
        assert rule.at_fault is not None
        listed = (
            self._rows.lazy()
            .filter(rule.at_fault & rule.counted)
            .filter(pl.col(CODE).is_in(codes))
            .group_by(CODE)
            .agg(pl.col(ROW).head(ROWS_SHOWN))
            .collect(engine=_ENGINE)
        )
        return dict(zip(listed[CODE].to_list(), listed[ROW].to_list(), strict=True))

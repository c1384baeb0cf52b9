"""The numbers behind the rules: counted for all partitions in one Polars pass."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

from feature_store_assets.quality.rules import CODE, Rule

ROW: Final = "row number"
ROWS_SHOWN: Final = 1000
_TOTAL: Final = "rows in all"


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
        marked: list[pl.Expr] = []
        numbers: dict[str, pl.Expr] = {}
        zeros = [_TOTAL]  # counts, which are 0 where a partition has no row
        for number, rule in rules.items():
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
        for rule in rules.values():
            for mask in (rule.selected, rule.counted):
                name = self._mark(mask)
                if name not in numbers:
                    marked.append(mask.alias(name))
                    numbers[name] = pl.col(name).sum()
                    zeros.append(name)
        self._marked = rows.lazy().select(ROW, CODE, *marked).collect()
        counted = (
            self._marked.lazy()
            .group_by(CODE)
            .agg(pl.len().alias(_TOTAL), *(expr.alias(name) for name, expr in numbers.items()))
        )
        codes = pl.LazyFrame({CODE: pl.int_range(partitions, dtype=pl.UInt32, eager=True)})
        joined = codes.join(counted, on=CODE, how="left", maintain_order="left")
        filled = joined.with_columns(pl.col(zeros).fill_null(0)).collect()
        self._table: dict[str, list[Any]] = filled.to_dict(as_series=False)

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
        listed = (
            self._marked.lazy()
            .filter(pl.col(f"fault {number}"), pl.col(CODE).is_in(codes))
            .group_by(CODE)
            .agg(pl.col(ROW).head(ROWS_SHOWN))
            .collect()
        )
        return dict(zip(listed[CODE].to_list(), listed[ROW].to_list(), strict=True))

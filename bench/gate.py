"""The quality gate, beside the bare computation of its numbers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from bench.measuring import Row, aim, in_turn, versus
from feature_store_assets.declaration.expect import expect
from feature_store_assets.offline.schema import PARTITION
from feature_store_assets.quality.expectations import Verdict, check

_ROWS, _COLUMNS, _PARTITIONS = 1_000_000, 30, 10


def judge(_folder: Path) -> Iterator[Row]:
    """50 expectations on 1M rows x 30 columns in 10 partitions, a few values at fault.

    20 columns may not be null, 20 lie within bounds, 10 have their mean within bounds. Bare are
    the same counts and means by one Polars aggregation; nothing is judged, no example rows are
    looked up. The import of Great Expectations is not counted.
    """
    names = [f"f{number}" for number in range(_COLUMNS)]
    frame = _frame(names)
    expectations = [
        *(expect.column_values_to_not_be_null(name) for name in names[:20]),
        *(expect.column_values_to_be_between(name, min_value=-4, max_value=4)
          for name in names[5:25]),
        *(expect.column_mean_to_be_between(name, min_value=-1, max_value=1) for name in names[20:]),
    ]  # fmt: skip
    partitions = [f"p{number}" for number in range(_PARTITIONS)]

    def ours() -> list[Verdict]:
        features = dict.fromkeys(names, "float64")
        return check(frame, expectations, partitions=partitions, features=features)

    def bare() -> pl.DataFrame:
        values = [pl.col(name) for name in names]
        return (
            frame.lazy()
            .group_by(PARTITION)
            .agg(
                pl.len().alias("rows"),
                *(each.null_count().name.suffix(" null") for each in values[:20]),
                *((~each.is_between(-4, 4)).sum().name.suffix(" out") for each in values[5:25]),
                *(each.mean().name.suffix(" mean") for each in values[20:]),
            )
            .collect()
        )

    _assert_equal(ours(), bare())
    mine, plain = in_turn(ours, bare)
    allowed = 1.5 * plain.wall + 0.5
    yield versus(
        "gate: 1M rows x 30, 50 expectations; bare Polars",
        mine,
        plain,
        aim("<= 1.5x + 0.5 s", met=mine.wall <= allowed),
    )


def _frame(names: list[str]) -> pl.DataFrame:
    random = np.random.default_rng(7)
    frame = pl.DataFrame({name: random.standard_normal(_ROWS) for name in names})
    index = pl.int_range(pl.len())
    return frame.with_columns(
        pl.when(index % 250_000 != 0).then(pl.col(names[:3])),
        (pl.lit("p") + (index % _PARTITIONS).cast(pl.String)).alias(PARTITION),
    )


def _assert_equal(verdicts: list[Verdict], bare: pl.DataFrame) -> None:
    numbers = {row[PARTITION]: row for row in bare.iter_rows(named=True)}
    suffix = {
        "column_values_to_not_be_null": "null",
        "column_values_to_be_between": "out",
        "column_mean_to_be_between": "mean",
    }
    judged = [each for each in verdicts if each.expectation.name in suffix]
    assert len(judged) == 50 * _PARTITIONS
    for each in judged:
        kind = suffix[each.expectation.name]
        number = numbers[each.partition][f"{each.expectation.column} {kind}"]
        if kind == "mean":
            assert isinstance(each.observed, float)
            assert abs(each.observed - number) < 1e-9
        else:
            assert each.unexpected_count == number

"""Whether answers are right, row by row, before any time is told."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from bench.shapes import ROW, TIME, Data, Group, Spine
from feature_store_assets.offline.schema import CREATED

_SEED = 7


@dataclass(frozen=True)
class Difference:
    """How an answer differs from ours."""

    lost: int
    repeated: int
    wrong: int

    def __bool__(self) -> bool:
        return any((self.lost, self.repeated, self.wrong))

    def __str__(self) -> str:
        counts = {
            "rows lost": self.lost,
            "rows repeated": self.repeated,
            "rows with other values": self.wrong,
        }
        told = [f"{count:,} {what}" for what, count in counts.items() if count]
        return ", ".join(told) or "equal"


def difference(ours: Path, other: Path) -> Difference:
    """Compare two answers by the rows' numbers."""
    mine = pl.read_parquet(ours)
    theirs = pl.read_parquet(other).cast({ROW: pl.Int64})
    features = [name for name in mine.columns if name != ROW]
    once = theirs.unique(ROW, keep="first")
    both = mine.join(once, on=ROW, suffix=" of theirs")
    differs = [pl.col(name).ne_missing(pl.col(f"{name} of theirs")) for name in features]
    return Difference(
        lost=mine.height - both.height,
        repeated=theirs.height - once.height,
        wrong=both.filter(pl.any_horizontal(differs)).height,
    )


def assert_right(
    answer: Path, data: Data, asked: Spine, ttl: timedelta | None, sample: int
) -> None:
    """Check an answer's rows and order, and the values of random rows against brute force."""
    found = pl.read_parquet(answer)
    spine = pl.read_parquet(data.spine(asked))
    assert found[ROW].equals(spine[ROW]), "rows are lost, repeated or in another order"
    chosen = spine.sample(min(sample, spine.height), seed=_SEED).sort(ROW)
    files = data.files()
    for group in data.shape.groups:
        features = list(group.features)
        expected = _by_hand(chosen, group, [path for path, _ in files[group.name]], ttl)
        given = found[chosen[ROW].to_list()].select(features).rows()
        for row, want, got in zip(chosen[ROW], expected, given, strict=True):
            assert want == got, f"row {row}, {group.name}: {got} instead of {want}"


def _by_hand(
    chosen: pl.DataFrame, group: Group, files: list[str], ttl: timedelta | None
) -> list[tuple[Any, ...]]:
    """Look through the whole history of each row's entity."""
    key, features = group.key, list(group.features)
    history = (
        pl.scan_parquet(files, hive_partitioning=False)
        .select(key, TIME, CREATED, *features)
        .join(chosen.select(key).unique().lazy(), on=key, how="semi")
        .collect(engine="streaming")
    )
    facts = history.rows_by_key([key])
    answers = []
    for entity, moment in chosen.select(key, TIME).iter_rows():
        eligible = [
            fact
            for fact in facts.get(entity, [])
            if fact[0] <= moment and (ttl is None or moment - fact[0] <= ttl)
        ]
        newest = max(eligible, key=lambda fact: fact[:2], default=None)
        answers.append((None,) * len(features) if newest is None else newest[2:])
    return answers

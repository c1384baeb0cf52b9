"""Twelve kinds of bad data, planted in a day of real flights, each caught by the right check."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from feature_store_assets import FeatureStore, FeatureStoreConfig, Window
from feature_store_assets.dagster_io.partitions import dagster_partitions
from feature_store_assets.errors import DataError, DuplicateRows, OutsideWindow, SchemaMismatch
from feature_store_assets.examples.flights.data import read_flights
from feature_store_assets.examples.flights.features import plane_day
from feature_store_assets.ingestion.gate import Admitted, Judged
from feature_store_assets.ingestion.partition_assignment import Slots
from feature_store_assets.orchestration.materialize import materialize
from feature_store_assets.quality.drift import Shift
from feature_store_assets.quality.verdicts import Verdict
from feature_store_assets_tests.counts import some

Spoil = Callable[[pl.DataFrame], pl.DataFrame]

DEFINITION = dagster_partitions(plane_day.partitions)
JANUARY = [f"2013-01-{day:02}" for day in range(1, 32)]
BAD_DAY = "2013-02-01"


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    return read_flights()


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, flights: pl.DataFrame
) -> Iterator[FeatureStore]:
    """A store that holds January."""
    with FeatureStore(FeatureStoreConfig(storage_path=tmp_path_factory.mktemp("bad"))) as store:
        done = run(store, flights, JANUARY)
        assert done.committed == tuple(JANUARY)
        yield store


def run(
    store: FeatureStore, flights: pl.DataFrame, keys: list[str], spoil: Spoil = lambda rows: rows
) -> Admitted:
    """Compute days, spoil what comes of them, and hand it to the gate."""

    def compute(window: Window) -> pl.DataFrame:
        assert window.start is not None
        assert window.end is not None
        near = pl.col("scheduled_departure").is_between(
            window.start - timedelta(days=3), window.end
        )
        return spoil(plane_day(flights=flights.filter(near), window=window))

    slots = Slots.of(plane_day, DEFINITION, keys)
    done, _ = materialize(store, plane_day, slots, compute, run_id="test")
    return done


def told(judged: Judged) -> list[str]:
    """Everything that was found, as people read it."""
    found: list[Verdict | Shift] = [
        *(each for verdicts in judged.verdicts.values() for each in verdicts),
        *(each for shifts in judged.shifts.values() for each in shifts),
    ]
    return [each.reason for each in found if each.outcome == "failed"]


def without(share: float, column: str) -> Spoil:
    gone = pl.int_range(pl.len()) < pl.len() * share
    return lambda rows: rows.with_columns(pl.when(~gone).then(column).alias(column))


# A value is at fault, or too many of them: the day is rejected.
REJECTED: dict[str, tuple[Spoil, str]] = {
    "nulls": (
        without(0.1, "plane_air_time"),
        (
            "'plane_air_time': expected values to not be null (mostly=0.98): 92 of 919 rows are at "
            "fault (10.01%)."
        ),
    ),
    "wrong range": (
        lambda rows: rows.with_columns(plane_landings=pl.col("plane_landings") + 20),
        (
            "'plane_landings': expected values to be between (max_value=12, min_value=1): 919 of "
            "919 rows are at fault (100.00%)."
        ),
    ),
    "empty partition": (
        lambda rows: rows.clear(),
        "the rows: expected row count to be between (min_value=120): found 0.",
    ),
    "NaN flood": (
        lambda rows: rows.with_columns(plane_delay=pl.lit(float("nan"))),
        (
            "'plane_delay': expected values to not be null (mostly=0.98): 919 of 919 rows are at "
            "fault (100.00%)."
        ),
    ),
    "constant column": (
        lambda rows: rows.with_columns(plane_last_distance=pl.lit(1_000, pl.Int64)),
        "'plane_last_distance': expected unique value count to be between (min_value=10): found 1.",
    ),
    "truncated day": (
        lambda rows: rows.head(90),
        "the rows: expected row count to be between (min_value=120): found 90.",
    ),
}


@pytest.mark.parametrize("kind", some(REJECTED, 3))
def test_a_day_at_fault_is_rejected_and_the_check_says_why(
    store: FeatureStore, flights: pl.DataFrame, kind: str
) -> None:
    spoil, reason = REJECTED[kind]
    done = run(store, flights, [BAD_DAY], spoil)
    assert done.committed == ()
    assert reason in done.judged.rejected[BAD_DAY]


# Every value could be true, but all together they are not what they were.
DRIFTED: dict[str, tuple[Spoil, str]] = {
    "shifted distribution": (
        lambda rows: rows.with_columns(plane_delay=pl.col("plane_delay") + 110.0),
        "'plane_delay' drifted: wasserstein ",
    ),
    "new category": (
        lambda rows: rows.with_columns(
            plane_last_dest=pl.when(pl.int_range(pl.len()) % 10 == 0)
            .then(pl.lit("LHR"))
            .otherwise("plane_last_dest")
        ),
        "'plane_last_dest' drifted: new_categories 0.1 ",
    ),
    "unit change": (
        lambda rows: rows.with_columns(
            plane_last_distance=(pl.col("plane_last_distance") * 1.609).round().cast(pl.Int64)
        ),
        "'plane_last_distance' drifted: psi ",
    ),
}


@pytest.mark.parametrize("kind", some(DRIFTED))
def test_a_day_unlike_the_month_before_is_told(
    store: FeatureStore, flights: pl.DataFrame, kind: str
) -> None:
    spoil, reason = DRIFTED[kind]
    judged = run(store, flights, [BAD_DAY], spoil).judged
    assert not judged.rejected
    assert any(each.startswith(reason) for each in told(judged)), told(judged)
    assert all("the last 28 partitions" in each for each in told(judged) if "drifted" in each)


# The rows do not fit the table at all: nothing is judged, nothing written.
REFUSED: dict[str, tuple[Spoil, type[Exception], str]] = {
    "duplicates": (
        lambda rows: pl.concat([rows, rows.head(40)]),
        DuplicateRows,
        "40",
    ),
    "future timestamps": (
        lambda rows: rows.with_columns(pl.col("event_timestamp") + timedelta(days=365)),
        OutsideWindow,
        "919 row",
    ),
    "type change": (
        lambda rows: rows.with_columns(pl.col("plane_air_time").cast(pl.String) + " min"),
        SchemaMismatch,
        "'plane_air_time'",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_rows_that_do_not_fit_are_refused_with_an_explanation(
    store: FeatureStore, flights: pl.DataFrame, kind: str
) -> None:
    spoil, error, words = REFUSED[kind]
    before = store.table(plane_day).version()
    with pytest.raises(error) as refused:
        run(store, flights, [BAD_DAY], spoil)
    assert isinstance(refused.value, DataError)
    assert words in str(refused.value)
    assert "plane_day" in str(refused.value)
    assert store.table(plane_day).version() == before


@pytest.mark.slow
def test_clean_months_raise_no_alarm(tmp_path_factory: pytest.TempPathFactory) -> None:
    start = datetime(2013, 3, 1, tzinfo=UTC)
    keys = [f"{start + timedelta(days=number):%Y-%m-%d}" for number in range(92)]
    with FeatureStore(FeatureStoreConfig(storage_path=tmp_path_factory.mktemp("clean"))) as clean:
        done = run(clean, read_flights(), keys)
    assert done.committed == tuple(keys)
    assert told(done.judged) == []
    judged = [shift for shifts in done.judged.shifts.values() for shift in shifts]
    assert sum(shift.outcome == "passed" for shift in judged) == 5 * 85

import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from feature_store_assets import FeatureGroup, Window
from feature_store_assets.examples.flights import data, features, training
from feature_store_assets.examples.flights.timing import ground_minutes
from feature_store_assets_tests.counts import some

FROM_FLIGHTS = [group for group in features.GROUPS if group.upstream == ("flights",)]
DAY = timedelta(days=1)

Compute = Callable[[pl.DataFrame, Window], pl.DataFrame]


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    return data.read_flights()


def between(flights: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    inside = pl.col("scheduled_departure").is_between(start, end, closed="left")
    return flights.filter(inside)


def window(start: datetime, days: int) -> Window:
    return Window(start, start + days * DAY, ())


def look_back(group: FeatureGroup) -> timedelta:
    days: int = -group.ins["flights"].partition_mapping.start_offset
    return days * DAY


def by_name(group: FeatureGroup) -> str:
    return group.name


# The data


def test_all_of_it_is_there(flights: pl.DataFrame) -> None:
    assert flights.height == 336_776
    assert flights["departed_at"].null_count() == 8_255
    assert flights["landed_at"].null_count() == flights["arr_delay"].null_count() == 9_430
    assert data.read_weather().height == 26_115
    assert data.read_planes().height == 3_322


@pytest.mark.slow
def test_departures_show_the_recorded_clocks_in_new_york(flights: pl.DataFrame) -> None:
    with zipfile.ZipFile(data._folder() / "flights.csv.zip") as archive:
        raw = pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)

    def clock(column: str) -> pl.Series:
        local = pl.col(column).dt.convert_time_zone(data.NEW_YORK)
        shown = local.dt.hour().cast(pl.Int64) * 100 + local.dt.minute()
        return flights.select(shown.alias("clock"))["clock"].sort()

    assert clock("scheduled_departure").equals(raw["sched_dep_time"].sort())
    assert clock("departed_at").equals((raw["dep_time"] % 2400).sort())


def test_summer_time_begins_and_ends_on_its_days(flights: pl.DataFrame) -> None:
    def first_clock(month: int, day: int) -> str:
        start = datetime(2013, month, day, 9, tzinfo=UTC)
        first = between(flights, start, start + DAY)["scheduled_departure"].min()
        assert isinstance(first, datetime)
        return first.astimezone(ZoneInfo(data.NEW_YORK)).isoformat()

    assert first_clock(3, 9) == "2013-03-09T05:00:00-05:00"
    assert first_clock(3, 10) == "2013-03-10T05:00:00-04:00"
    assert first_clock(11, 2) == "2013-11-02T05:00:00-04:00"
    assert first_clock(11, 3) == "2013-11-03T05:20:00-05:00"


def test_landings_agree_with_the_recorded_delay_and_time_in_the_air(flights: pl.DataFrame) -> None:
    landed = flights.filter(pl.col("landed_at").is_not_null())
    delay = (pl.col("landed_at") - pl.col("scheduled_arrival")).dt.total_minutes()
    taxi = (pl.col("landed_at") - pl.col("departed_at")).dt.total_minutes() - pl.col("air_time")
    assert landed.select((delay == pl.col("arr_delay")).all()).item()
    assert landed.select(taxi.min(), longest=taxi.max()).row(0) == (5, 235)


@pytest.mark.slow
def test_a_range_is_half_open_and_may_be_empty(flights: pl.DataFrame) -> None:
    day = datetime(2013, 7, 1, tzinfo=UTC)
    one = data.read_flights(day, day + DAY)
    assert one.equals(between(flights, day, day + DAY))
    empty = data.read_flights(day + 999 * DAY)
    assert empty.is_empty()
    assert empty.schema == one.schema


def test_the_impossible_wind_is_null_unless_asked_for() -> None:
    day = datetime(2013, 2, 12, tzinfo=UTC)
    recorded = data.read_weather(day, day + DAY, as_recorded=True)
    cleaned = data.read_weather(day, day + DAY)
    assert recorded["wind_speed"].max() == pytest.approx(1048.36, abs=0.01)
    assert cleaned["wind_speed"].null_count() == recorded["wind_speed"].null_count() + 1


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(data.ExampleDataMissing, match=r"pip install 'feature_store_assets\[ex"):
        data.read_planes()


# No feature knows the future


def other_future(flights: pl.DataFrame, t: datetime) -> pl.DataFrame:
    """The same past up to `t`; from there on other departures, landings, planes and delays."""
    gone = (pl.col("departed_at") <= t).fill_null(value=False)
    arrived = (pl.col("landed_at") <= t).fill_null(value=False)
    due = pl.col("scheduled_departure") <= t
    later = pl.lit(t) + timedelta(hours=5)

    def unless(known: pl.Expr, column: str, other: pl.Expr) -> pl.Expr:
        return pl.when(known).then(pl.col(column)).otherwise(other).alias(column)

    changed = flights.with_columns(
        unless(gone, "departed_at", later),
        unless(gone, "dep_delay", pl.lit(777)),
        unless(arrived, "landed_at", later + timedelta(hours=1)),
        unless(arrived, "arr_delay", pl.lit(888)),
        unless(arrived, "air_time", pl.lit(99)),
        *(unless(due, key, pl.col(key).reverse()) for key in ("carrier", "tailnum", "dest")),
    )
    return changed.sample(fraction=1.0, shuffle=True, seed=7)


def knows_the_future(compute: Compute, flights: pl.DataFrame, at: datetime) -> bool:
    """Whether rows known at `at` differ once what happens afterwards is another."""
    start = datetime(at.year, at.month, at.day, tzinfo=UTC) - 2 * DAY
    wanted = window(start, 4)
    some = between(flights, start - 33 * DAY, start + 4 * DAY)
    known = pl.col("event_timestamp") <= at
    before = compute(some, wanted).filter(known)
    assert before.height > 0
    return not before.equals(compute(other_future(some, at), wanted).filter(known))


INSTANTS = [
    datetime(2013, 2, 9, 12, tzinfo=UTC),
    datetime(2013, 3, 10, 7, 15, tzinfo=UTC),
    datetime(2013, 7, 23, 1, 37, tzinfo=UTC),
]


@pytest.mark.parametrize("t", some(INSTANTS), ids=str)
@pytest.mark.parametrize("group", some(FROM_FLIGHTS, 2), ids=by_name)
def test_another_future_leaves_every_known_feature_equal(
    group: FeatureGroup, t: datetime, flights: pl.DataFrame
) -> None:
    assert not knows_the_future(group, flights, t)


@pytest.mark.parametrize("t", some(INSTANTS), ids=str)
@pytest.mark.parametrize("group", [features.plane_day, features.destination_arrivals], ids=by_name)
def test_a_delay_told_at_departure_is_caught_as_a_leak(
    group: FeatureGroup, t: datetime, flights: pl.DataFrame
) -> None:
    def leaky(flights: pl.DataFrame, window: Window) -> pl.DataFrame:
        return pl.DataFrame(group(flights.with_columns(landed_at="departed_at"), window))

    assert knows_the_future(leaky, flights, t)


@pytest.mark.slow
def test_a_wait_that_knows_when_it_ends_is_caught_as_a_leak(flights: pl.DataFrame) -> None:
    def leaky(flights: pl.DataFrame, window: Window) -> pl.DataFrame:
        gone = flights.with_columns(departed_at="scheduled_departure")
        return pl.DataFrame(features.airport_congestion(gone, window))

    assert knows_the_future(leaky, flights, INSTANTS[0])


def test_an_hour_of_weather_is_known_when_it_is_over() -> None:
    day = datetime(2013, 7, 1, tzinfo=UTC)
    weather = data.read_weather(day, day + DAY)
    rows = features.airport_weather(weather, window(day, 1))
    assert rows["event_timestamp"].min() == day + timedelta(hours=1)
    assert rows["event_timestamp"].max() == day + DAY
    assert rows.height == weather.height == 72


# A day alone equals the day in a longer run


@pytest.mark.slow
@pytest.mark.parametrize("group", FROM_FLIGHTS, ids=by_name)
def test_the_declared_look_back_is_enough(group: FeatureGroup, flights: pl.DataFrame) -> None:
    lag = pl.col("landed_at") - pl.col("scheduled_departure")
    slowest = flights.with_columns(lag=lag).top_k(3, by="lag")["landed_at"].to_list()
    for landed in [*slowest, *INSTANTS]:
        day = datetime(landed.year, landed.month, landed.day, tzinfo=UTC)
        alone = group(between(flights, day - look_back(group), day + DAY), window(day, 1))
        long = group(between(flights, day - 45 * DAY, day + 2 * DAY), window(day - DAY, 3))
        inside = pl.col("event_timestamp").is_between(day, day + DAY, closed=group.closed)
        assert alone.height > 0
        assert alone.equals(long.filter(inside))


# What the numbers mean


@pytest.mark.parametrize("group", some(features.GROUPS, 4), ids=by_name)
def test_rows_are_as_declared(group: FeatureGroup, flights: pl.DataFrame) -> None:
    day = datetime(2013, 5, 5, tzinfo=UTC)
    sources = {
        "flights": between(flights, day - 32 * DAY, day + DAY),
        "weather": data.read_weather(day, day + DAY),
        "planes": data.read_planes(),
    }
    upstream = [sources[name] for name in group.upstream]
    rows = group(*upstream, window(day, 1)) if group.partitions else group(*upstream)
    keys = [*group.entity.join_keys, group.timestamp]
    assert set(rows.columns) == {*keys, *group.feature_names}
    assert not rows.select(keys).is_duplicated().any()
    assert rows.select(keys).null_count().sum_horizontal().item() == 0
    for feature in group.features:
        values = rows[feature.name].drop_nulls()
        assert feature.description.endswith(".")
        assert feature.derived_from
        assert feature.ge is None or (values >= feature.ge).all()
        assert feature.le is None or (values <= feature.le).all()


def test_rolling_delays_sum_up_what_landed_in_the_days_before(flights: pl.DataFrame) -> None:
    day = datetime(2013, 5, 5, tzinfo=UTC)
    rows = features.carrier_delays(between(flights, day - 32 * DAY, day + DAY), window(day, 1))
    row = rows.filter(carrier="UA").row(0, named=True)
    last = pl.col("landed_at").is_between(day - 6 * DAY, day + DAY, closed="right")
    delays = flights.filter(last, carrier="UA")["arr_delay"]
    assert row["event_timestamp"] == day + DAY
    assert row["carrier_flights_7d"] == delays.len()
    assert row["carrier_delay_7d"] == delays.mean()
    assert row["carrier_late_7d"] == (delays > 15).mean()


def test_congestion_counts_what_was_due_and_still_waits(flights: pl.DataFrame) -> None:
    day = datetime(2013, 7, 22, tzinfo=UTC)
    rows = features.airport_congestion(between(flights, day - DAY, day + DAY), window(day, 1))
    assert rows.height == 3 * 96
    t = day + timedelta(hours=22, minutes=45)
    row = rows.filter(event_timestamp=t, origin="LGA").row(0, named=True)
    due = flights.filter(
        pl.col("scheduled_departure").is_between(t - timedelta(hours=3), t, closed="left"),
        origin="LGA",
    )
    assert row["due_3h"] == due.height
    assert row["waiting_3h"] == due.filter((pl.col("departed_at") <= t).not_()).height + (
        due["departed_at"].null_count()
    )
    waits = [
        each["dep_delay"]
        if each["departed_at"] is not None and each["departed_at"] <= t
        else (t - each["scheduled_departure"]) // timedelta(minutes=1)
        for each in due.iter_rows(named=True)
    ]
    assert row["delay_3h"] == sum(waits) / len(waits)
    assert row["worst_3h"] == max(waits)


def test_a_plane_s_day_is_that_of_new_york(flights: pl.DataFrame) -> None:
    day = datetime(2013, 5, 5, tzinfo=UTC)
    some = between(flights, day - 3 * DAY, day + DAY)
    rows = features.plane_day(some, window(day, 1))
    midnight = day + timedelta(hours=4)
    first = rows.filter(pl.col("event_timestamp") >= midnight).row(0, named=True)
    assert first["plane_landings"] == 1
    since = rows.filter(pl.col("event_timestamp") >= midnight)
    last = since.sort("plane_landings", "tailnum").row(-1, named=True)
    today = some.filter(
        pl.col("landed_at").is_between(midnight, last["event_timestamp"]),
        tailnum=last["tailnum"],
    ).sort("landed_at")
    assert last["plane_landings"] == today.height
    assert last["plane_delay"] == today["arr_delay"].mean()
    assert last["plane_worst_delay"] == today["arr_delay"].max()
    assert last["plane_last_dest"] == today["dest"][-1]
    assert last["plane_last_landing"] == last["event_timestamp"]


# The model


def joined(spine: pl.DataFrame, sources: dict[str, pl.DataFrame], wanted: Window) -> pl.DataFrame:
    """The newest row known at each departure, group by group."""
    spine = spine.sort(training.TIMESTAMP)
    for group in features.GROUPS:
        upstream = [sources[name] for name in group.upstream]
        rows = group(*upstream, wanted) if group.partitions else group(*upstream)
        spine = spine.join_asof(
            rows.sort(group.timestamp),
            left_on=training.TIMESTAMP,
            right_on=group.timestamp,
            by=list(group.entity.join_keys),
            tolerance=group.ttl,
            check_sortedness=False,
        ).drop(group.timestamp, strict=False)
    minutes = ground_minutes(spine["plane_last_landing"], spine[training.TIMESTAMP])
    return spine.with_columns(plane_ground_minutes=minutes)


def taught(frame: pl.DataFrame) -> training.Trained:
    """A model that learned from the months up to September."""
    return training.train(frame.filter(pl.col("month") <= 9), frame.filter(pl.col("month") > 9))


def test_the_spine_holds_the_timetable_and_no_feature(flights: pl.DataFrame) -> None:
    spine = training.spine(flights)
    assert spine.height == 327_346
    assert not set(spine.columns) & set(features.arrival_delay.feature_names)
    assert set(training.KEYS) >= {
        key for group in features.GROUPS for key in group.entity.join_keys
    }
    assert spine[training.LABEL].mean() == pytest.approx(0.237, abs=0.001)
    assert spine.filter(pl.col("departure_minute").is_between(0, 1439).not_()).is_empty()


@pytest.mark.slow
def test_three_weeks_of_features_beats_the_timetable(flights: pl.DataFrame) -> None:
    start = datetime(2013, 9, 20, tzinfo=UTC)
    wanted = window(start, 20)
    some = between(flights, start - 10 * DAY, start + 20 * DAY)
    weather = data.read_weather(start, start + 20 * DAY)
    sources = {"flights": some, "weather": weather, "planes": data.read_planes()}
    spine = training.spine(between(some, start + DAY, start + 20 * DAY))
    frame = joined(spine, sources, wanted)
    assert frame.height == spine.height

    trained = taught(frame)
    named = set(features.arrival_delay.feature_names)
    assert set(trained.features) == named - {"plane_last_landing"}
    assert trained.rows + trained.test_rows == frame.height
    assert trained.auc > trained.schedule_auc + 0.03
    unlabelled = frame.drop(training.LABEL).head(10)
    assert training.score(trained, unlabelled).is_between(0, 1).all()


@pytest.mark.slow
def test_a_year_of_features_reaches_what_the_example_promises(flights: pl.DataFrame) -> None:
    wanted = window(datetime(2013, 1, 1, tzinfo=UTC), 365)
    sources = {"flights": flights, "weather": data.read_weather(), "planes": data.read_planes()}
    frame = joined(training.spine(flights), sources, wanted)
    trained = taught(frame)
    assert trained.schedule_auc == pytest.approx(0.636, abs=0.005)
    assert trained.auc > 0.775
    lost = training.importances(trained, frame.filter(pl.col("month") > 9))
    assert set(lost["column"]) == {*training.SCHEDULE, *trained.features}
    assert lost["auc_lost"][0] > 0.01


@pytest.mark.slow
def test_reading_data_and_scoring_load_no_dagster() -> None:
    script = (
        "import sys; from feature_store_assets.examples.flights import data, training; "
        "sys.exit('dagster' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

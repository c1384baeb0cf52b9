"""The feature groups of the example, and the view that the model reads.

The event timestamp of every row is the moment at which the fact was known: a flight's delay when
it has landed, an hour's weather when the hour is over. The latest landing of the year came 32.7
hours after the scheduled departure; the look-back of each group allows for two days.

Averages are exact sums of whole minutes divided once, so a day computed by itself and the same
day inside a year's run agree to the last bit.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from feature_store_assets import (
    Drift,
    Entity,
    Feature,
    FeatureGroup,
    FeatureView,
    RequestFeature,
    Window,
    expect,
    feature_group,
)
from feature_store_assets.examples.flights.data import LATE_MINUTES, NEW_YORK, ORIGINS
from feature_store_assets.examples.flights.sources import DAYS, WEATHER_DAYS
from feature_store_assets.examples.flights.timing import ground_minutes

airport = Entity("airport", {"origin": "string"}, "One of New York's three airports.")
destination = Entity("destination", {"dest": "string"}, "An airport flown to from New York.")
airline = Entity("airline", {"carrier": "string"}, "An airline, by its two-letter code.")
route = Entity("route", {"origin": "string", "dest": "string"}, "From an airport to a destination.")
aircraft = Entity("aircraft", {"tailnum": "string"}, "One plane, by its tail number.")

# Source columns that features come from.
ARRIVED = ("flights.landed_at", "flights.arr_delay")
LANDED = ("flights.landed_at",)
LEFT = ("flights.scheduled_departure", "flights.departed_at", "flights.dep_delay")
# What a day of a few hundred landings is compared with.
LAST_MONTH: Any = {"against": "trailing:28", "min_rows": 400}


def look_back(days: int) -> dict[str, dg.AssetIn]:
    """Load the flights scheduled in the days before, too."""
    mapping = dg.TimeWindowPartitionMapping(start_offset=-days)
    return {"flights": dg.AssetIn(partition_mapping=mapping)}


def landed(flights: pl.DataFrame) -> pl.DataFrame:
    """The flights that arrived, in the order of landing."""
    return flights.filter(pl.col("landed_at").is_not_null()).sort("landed_at", "carrier", "flight")


def within(rows: pl.DataFrame, window: Window, group: FeatureGroup) -> pl.DataFrame:
    """The rows of the window, in one order whatever order the flights came in."""
    inside = pl.col(group.timestamp).is_between(
        pl.lit(window.start), pl.lit(window.end), closed=group.closed
    )
    return rows.filter(inside).sort(group.timestamp, *group.entity.join_keys)


def count() -> pl.Expr:
    """How many rows, as the int64 of the declared features."""
    return pl.len().cast(pl.Int64)


def mean(values: pl.Expr) -> pl.Expr:
    """The mean of whole numbers or truths, exact whatever the order; null where there are none."""
    return pl.when(values.count() > 0).then(values.sum() / values.count())


@feature_group(
    entity=airport,
    features=[
        Feature("temperature", "float64", "Degrees Fahrenheit.", derived_from=("weather.temp",)),
        Feature("dew_point", "float64", "Degrees Fahrenheit.", derived_from=("weather.dewp",)),
        Feature("humidity", "float64", "Percent.", ge=0, le=100, derived_from=("weather.humid",)),
        Feature("wind_direction", "int64", "Degrees.", le=360, derived_from=("weather.wind_dir",)),
        Feature(
            "wind_speed", "float64", "Mph.", ge=0, le=200, derived_from=("weather.wind_speed",)
        ),
        Feature("wind_gust", "float64", "Mph.", ge=0, le=250, derived_from=("weather.wind_gust",)),
        Feature("precipitation", "float64", "Inches.", ge=0, derived_from=("weather.precip",)),
        Feature("pressure", "float64", "Millibars.", ge=850, derived_from=("weather.pressure",)),
        Feature("visibility", "float64", "Miles.", ge=0, le=10, derived_from=("weather.visib",)),
    ],
    partitions=WEATHER_DAYS,
    expectations=[
        expect.column_values_to_be_between("temperature", min_value=-40, max_value=120),
        expect.column_values_to_not_be_null("temperature", mostly=0.9, severity="critical"),
        expect.table_row_count_to_be_between(min_value=66, max_value=72, severity="warning"),
    ],
    closed="right",
    ttl=timedelta(hours=6),
    freshness=timedelta(hours=26),
    online=True,
    owners=["team:weather"],
    tags={"domain": "weather"},
)
def airport_weather(weather: pl.DataFrame, window: Window) -> pl.DataFrame:
    """The weather at an airport, one row per hour, known when the hour is over."""
    rows = weather.select(
        "origin",
        "wind_speed",
        "wind_gust",
        "pressure",
        event_timestamp=pl.col("hour_start").dt.offset_by("1h"),
        temperature="temp",
        dew_point="dewp",
        humidity="humid",
        wind_direction="wind_dir",
        precipitation="precip",
        visibility="visib",
    )
    return within(rows, window, airport_weather)


def rolling_features(whose: str, days: int) -> list[Feature]:
    """The features that `rolling` computes over so many days."""
    last = f"in the last {days} days"
    flights, delay, share = (f"{whose}_{what}_{days}d" for what in ("flights", "delay", "late"))
    return [
        Feature(flights, "int64", f"Landings {last}.", ge=0, nullable=False, derived_from=LANDED),
        Feature(delay, "float64", f"Mean delay, minutes, {last}.", ge=-120, derived_from=ARRIVED),
        Feature(share, "float64", f"Share late {last}.", ge=0, le=1, derived_from=ARRIVED),
    ]


def rolling(flights: pl.DataFrame, keys: list[str], whose: str) -> pl.DataFrame:
    """What landed in the 7 and 30 days, `(end - d, end]`, before the end of each UTC day."""

    def over(days: int) -> pl.DataFrame:
        windows = landed(flights).group_by_dynamic(
            "landed_at",
            every="1d",
            period=f"{days}d",
            offset=f"-{days}d",
            closed="right",
            label="right",
            group_by=keys,
        )
        return windows.agg(
            count().alias(f"{whose}_flights_{days}d"),
            mean(pl.col("arr_delay")).alias(f"{whose}_delay_{days}d"),
            mean(pl.col("arr_delay") > LATE_MINUTES).alias(f"{whose}_late_{days}d"),
        )

    rows = over(30).join(over(7), on=[*keys, "landed_at"], how="left")
    rows = rows.with_columns(pl.col(f"{whose}_flights_7d").fill_null(0))
    return rows.rename({"landed_at": "event_timestamp"})


@feature_group(
    entity=airline,
    features=[*rolling_features("carrier", 7), *rolling_features("carrier", 30)],
    partitions=DAYS,
    ins=look_back(32),
    expectations=[
        expect.column_mean_to_be_between("carrier_delay_30d", min_value=-30, max_value=60),
        expect.column_values_to_be_unique("carrier"),
    ],
    closed="right",
    ttl=timedelta(days=7),
    freshness=timedelta(hours=26),
    online=True,
    owners=["team:operations"],
    tags={"domain": "delays"},
)
def carrier_delays(flights: pl.DataFrame, window: Window) -> pl.DataFrame:
    """How late a carrier's flights have been of late, one row per carrier and day."""
    return within(rolling(flights, ["carrier"], "carrier"), window, carrier_delays)


@feature_group(
    entity=route,
    features=[*rolling_features("route", 7), *rolling_features("route", 30)],
    partitions=DAYS,
    ins=look_back(32),
    expectations=[
        expect.column_mean_to_be_between("route_delay_30d", min_value=-30, max_value=60),
        expect.compound_columns_to_be_unique(column_list=["origin", "dest"]),
    ],
    closed="right",
    ttl=timedelta(days=7),
    freshness=timedelta(hours=26),
    online=True,
    owners=["team:operations"],
    tags={"domain": "delays"},
)
def route_delays(flights: pl.DataFrame, window: Window) -> pl.DataFrame:
    """How late the flights of a route have been of late, one row per route and day."""
    return within(rolling(flights, ["origin", "dest"], "route"), window, route_delays)


@feature_group(
    entity=destination,
    features=[
        Feature("dest_landings_6h", "int64", "Landings of 6 hours.", ge=1, derived_from=LANDED),
        Feature("dest_delay_6h", "float64", "Their mean delay, minutes.", derived_from=ARRIVED),
        Feature(
            "dest_lost_6h",
            "float64",
            "Mean minutes that they lost between departure and landing; below 0 is a gain.",
            derived_from=(*ARRIVED, "flights.dep_delay"),
        ),
        Feature("dest_late_6h", "float64", "Share late.", ge=0, le=1, derived_from=ARRIVED),
    ],
    partitions=DAYS,
    ins=look_back(2),
    expectations=[
        expect.column_values_to_be_between("dest_delay_6h", min_value=-120, max_value=1440),
        expect.column_mean_to_be_between(
            "dest_lost_6h", min_value=-40, max_value=40, severity="warning"
        ),
    ],
    ttl=timedelta(hours=12),
    freshness=timedelta(hours=26),
    online=True,
    owners=["team:operations"],
    tags={"domain": "delays"},
)
def destination_arrivals(flights: pl.DataFrame, window: Window) -> pl.DataFrame:
    """How the flights of the last 6 hours reached a destination, one row per landing."""
    recent = landed(flights).rolling("landed_at", period="6h", group_by="dest")
    rows = recent.agg(
        dest_landings_6h=count(),
        dest_delay_6h=mean(pl.col("arr_delay")),
        dest_lost_6h=mean(pl.col("arr_delay") - pl.col("dep_delay")),
        dest_late_6h=mean(pl.col("arr_delay") > LATE_MINUTES),
    )
    rows = rows.unique(["dest", "landed_at"]).rename({"landed_at": "event_timestamp"})
    return within(rows, window, destination_arrivals)


@feature_group(
    entity=aircraft,
    features=[
        Feature("plane_landings", "int64", "Landings today.", ge=1, le=12, derived_from=LANDED),
        Feature(
            "plane_air_time", "int64", "Minutes.", ge=0, le=1440, derived_from=("flights.air_time",)
        ),
        Feature("plane_delay", "float64", "Mean delay today, minutes.", derived_from=ARRIVED),
        Feature("plane_worst_delay", "int64", "Worst today, minutes.", derived_from=ARRIVED),
        Feature("plane_last_delay", "int64", "At the last landing.", derived_from=ARRIVED),
        Feature("plane_last_landing", "timestamp", "The last one.", derived_from=LANDED),
        Feature("plane_last_distance", "int64", "Miles.", derived_from=("flights.distance",)),
        Feature("plane_last_dest", "string", "Where it is.", derived_from=("flights.dest",)),
    ],
    partitions=DAYS,
    ins=look_back(3),
    expectations=[
        expect.table_row_count_to_be_between(min_value=120),
        expect.column_values_to_be_between("plane_last_delay", min_value=-120, max_value=1440),
        expect.column_mean_to_be_between(
            "plane_delay", min_value=-60, max_value=120, severity="warning"
        ),
        expect.max_missing_percentage("plane_air_time", 2.0),
        expect.max_missing_percentage("plane_delay", 2.0),
        expect.min_unique_values("plane_last_distance", 10),
        expect.max_outlier_percentage(
            "plane_last_distance", 3.0, method="reference", severity="warning"
        ),
    ],
    # A stormy day moves the delays by one and a half standard deviations, no day the distances.
    drift=[
        Drift("psi", 0.2, features=["plane_air_time", "plane_last_distance"], **LAST_MONTH),
        Drift("wasserstein", 2.0, features=["plane_delay", "plane_last_delay"], **LAST_MONTH),
        Drift("new_categories", 0.02, features=["plane_last_dest"], **LAST_MONTH),
    ],
    ttl=timedelta(days=30),
    freshness=timedelta(hours=26),
    online=True,
    owners=["team:operations"],
    tags={"domain": "planes"},
)
def plane_day(flights: pl.DataFrame, window: Window) -> pl.DataFrame:
    """What a plane has flown and landed so far today, New York's day; one row per landing."""
    arrived = landed(flights).filter(pl.col("tailnum").is_not_null())
    today = ["tailnum", pl.col("landed_at").dt.convert_time_zone(NEW_YORK).dt.date()]
    so_far = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(today)
    rows = arrived.select(
        "tailnum",
        event_timestamp="landed_at",
        plane_landings=so_far,
        plane_air_time=pl.col("air_time").cum_sum().over(today),
        plane_delay=pl.col("arr_delay").cum_sum().over(today) / so_far,
        plane_worst_delay=pl.col("arr_delay").cum_max().over(today),
        plane_last_delay="arr_delay",
        plane_last_landing="landed_at",
        plane_last_distance="distance",
        plane_last_dest="dest",
    )
    # The record has one tail number landing twice in a minute.
    rows = rows.unique(["tailnum", "event_timestamp"], keep="last", maintain_order=True)
    return within(rows, window, plane_day)


@feature_group(
    entity=airport,
    features=[
        Feature("due_1h", "int64", "Departures due, 1 hour.", ge=0, derived_from=LEFT[:1]),
        Feature("due_3h", "int64", "Departures due, 3 hours.", ge=0, derived_from=LEFT[:1]),
        Feature("waiting_1h", "int64", "Of these, not yet gone.", ge=0, derived_from=LEFT[:2]),
        Feature("waiting_3h", "int64", "Of these, not yet gone.", ge=0, derived_from=LEFT[:2]),
        Feature("delay_1h", "float64", "Mean delay so far, minutes.", derived_from=LEFT),
        Feature("delay_3h", "float64", "Mean delay so far, minutes.", derived_from=LEFT),
        Feature("late_3h", "float64", "Share late so far.", ge=0, le=1, derived_from=LEFT),
        Feature("worst_3h", "int64", "Longest delay so far, minutes.", derived_from=LEFT),
    ],
    partitions=DAYS,
    ins=look_back(1),
    expectations=[
        expect.column_values_to_be_between("delay_3h", min_value=-60, max_value=1440),
        expect.column_pair_values_a_to_be_greater_than_b("due_3h", "waiting_3h", or_equal=True),
        expect.table_row_count_to_equal(value=24 * 4 * len(ORIGINS)),
    ],
    ttl=timedelta(hours=1),
    freshness=timedelta(hours=26),
    online=True,
    owners=["team:operations"],
    tags={"domain": "delays"},
)
def airport_congestion(flights: pl.DataFrame, window: Window) -> pl.DataFrame:
    """How punctually an airport gets its flights away, one row per quarter of an hour.

    At `t` these are the flights that were due in the hours before, `[t - 3 h, t)`. The delay so
    far of one that has not left is its wait until `t`; a cancelled one waits on.
    """
    quarter = pl.datetime_range(pl.lit(window.start), pl.lit(window.end), "15m", closed="left")
    grid = pl.select(event_timestamp=quarter).join(pl.DataFrame({"origin": ORIGINS}), how="cross")
    due, at = pl.col("scheduled_departure"), pl.col("event_timestamp")
    seen = flights.select(
        "origin",
        "scheduled_departure",
        "departed_at",
        "dep_delay",
        event_timestamp=pl.concat_list(
            due.dt.truncate("15m") + timedelta(minutes=15 * n) for n in range(1, 13)
        ),
    ).explode("event_timestamp")
    waiting = (pl.col("departed_at") > at).fill_null(value=True)
    delay = pl.when(waiting).then((at - due).dt.total_minutes()).otherwise("dep_delay")
    hour = due >= at - timedelta(hours=1)
    rows = seen.group_by("origin", "event_timestamp").agg(
        due_1h=hour.sum().cast(pl.Int64),
        due_3h=count(),
        waiting_1h=(waiting & hour).sum().cast(pl.Int64),
        waiting_3h=waiting.sum().cast(pl.Int64),
        delay_1h=mean(delay.filter(hour)),
        delay_3h=mean(delay),
        late_3h=mean(delay > LATE_MINUTES),
        worst_3h=delay.max(),
    )
    rows = grid.join(rows, on=["origin", "event_timestamp"], how="left")
    counts = pl.col("due_1h", "due_3h", "waiting_1h", "waiting_3h").fill_null(0)
    return within(rows.with_columns(counts), window, airport_congestion)


@feature_group(
    entity=aircraft,
    features=[
        Feature("age", "int64", "Years.", ge=0, le=100, derived_from=("planes.year",)),
        Feature("seats", "int64", "Seats.", ge=1, le=900, derived_from=("planes.seats",)),
        Feature("maker", "string", "First word.", derived_from=("planes.manufacturer",)),
    ],
    expectations=[
        expect.column_values_to_be_unique("tailnum"),
        expect.column_values_to_not_be_null("age", mostly=0.95, severity="warning"),
        expect.table_row_count_to_be_between(min_value=3000, max_value=4000),
    ],
    online=True,
    owners=["team:operations"],
    tags={"domain": "planes"},
)
def plane(planes: pl.DataFrame) -> pl.DataFrame:
    """What the register says of a plane; known from the first day on."""
    registered = datetime(2013, 1, 1, tzinfo=UTC)
    return planes.filter(pl.col("tailnum").is_not_null()).select(
        "tailnum",
        "seats",
        event_timestamp=pl.lit(registered, dtype=pl.Datetime("us", "UTC")),
        age=registered.year - pl.col("year"),
        maker=pl.col("manufacturer").str.split(" ").list.first(),
    )


GROUPS = [
    airport_weather,
    airport_congestion,
    carrier_delays,
    route_delays,
    destination_arrivals,
    plane_day,
    plane,
]

arrival_delay = FeatureView(
    "arrival_delay",
    GROUPS,
    "Whether a flight will land over 15 minutes late, as known when it should leave.",
    request={"scheduled_departure": "timestamp"},
    computed=[RequestFeature("plane_ground_minutes", "float64", ground_minutes)],
    owners=["team:operations"],
)

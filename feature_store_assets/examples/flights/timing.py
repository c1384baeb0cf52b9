"""What the example computes when a prediction is asked for; this module loads no Dagster."""

import polars as pl


def ground_minutes(plane_last_landing: pl.Series, scheduled_departure: pl.Series) -> pl.Series:
    """Minutes between the plane's last known landing and this departure."""
    return (scheduled_departure - plane_last_landing).dt.total_seconds() / 60

"""`POST /v1/push`: rows into a pushed group, offline and online in one call."""

from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from feature_store_assets.errors import DataError
from feature_store_assets.server import metrics
from feature_store_assets.store import FeatureStore


class PushRequest(BaseModel):
    """Rows for a pushed group."""

    model_config = ConfigDict(extra="forbid")

    group: str = Field(description="A pushed group; an unknown one comes into being.")
    rows: list[dict[str, Any]] = Field(
        min_length=1,
        description="Keys, event timestamp and features of each; dates and times are ISO 8601.",
        examples=[[{"entity_id": "ann", "event_timestamp": "2024-06-03T00:00:00Z", "age": 41}]],
    )
    mode: Literal["append", "upsert", "overwrite"] = Field(
        default="append",
        description="append refuses to change stored facts, upsert writes newer revisions of "
        "them, overwrite replaces all rows.",
    )


class PushAnswer(BaseModel):
    """What was written; it is on disk and online."""

    feature_group: str
    rows_written: int
    rows_duplicate: int
    partitions: list[str]
    version: int


def pushing(store: FeatureStore) -> APIRouter:
    """The route that writes."""
    router = APIRouter(tags=["push"])

    @router.post("/v1/push", summary="Write rows to a pushed group, offline and online")
    def push(asked: PushRequest) -> PushAnswer:
        rows = _typed(store, asked.group, asked.rows)
        result = store.write_features(rows, asked.group, asked.mode)
        if store.config.enable_monitoring:
            metrics.PUSHED.labels(result.feature_group).inc(result.rows_written)
        return PushAnswer(**asdict(result))

    return router


def _typed(store: FeatureStore, name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, with the dates and times that JSON writes as text."""
    group = store.applied.find(name)
    times, days = {"event_timestamp"}, set()
    if group is not None:
        kinds = dict(zip(group.entity.join_keys, group.entity.key_types, strict=True))
        kinds |= {feature.name: feature.dtype for feature in group.features}
        times = {group.timestamp, *([group.created] if group.created else [])}
        times |= {column for column, kind in kinds.items() if kind == "timestamp[us, UTC]"}
        days = {column for column, kind in kinds.items() if kind == "date32"}
    return [
        {
            column: _instant(column, value)
            if column in times
            else _day(column, value)
            if column in days
            else value
            for column, value in row.items()
        }
        for row in rows
    ]


def _instant(column: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise DataError(
            f"'{column}' holds a time that is not ISO 8601, such as 2024-06-03T12:00:00Z."
        ) from None
    return instant.astimezone(UTC) if instant.tzinfo is not None else instant


def _day(column: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise DataError(
            f"'{column}' holds a date that is not ISO 8601, such as 2024-06-03."
        ) from None

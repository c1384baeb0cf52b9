"""`POST /v1/push`: rows into a pushed group, offline and online in one call."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from feature_store_assets.declaration.types import type_name
from feature_store_assets.errors import DataError
from feature_store_assets.json_values import reader
from feature_store_assets.server import metrics
from feature_store_assets.server.fast_routes import decoded
from feature_store_assets.store import FeatureStore


class PushRequest(BaseModel):
    """Rows for a pushed group."""

    model_config = ConfigDict(extra="forbid")

    group: str = Field(description="A pushed group.")
    rows: list[dict[str, Any]] = Field(
        min_length=1,
        description="Keys, event timestamp and features of each; dates and times are ISO 8601, "
        'floats that JSON lacks "NaN", "Infinity" and "-Infinity".',
        examples=[[{"entity_id": "ann", "event_timestamp": "2024-06-03T00:00:00Z", "age": 41}]],
    )
    mode: Literal["append", "upsert", "overwrite"] = Field(
        default="append",
        description="append refuses to change stored facts, upsert writes newer revisions of "
        "them, overwrite replaces all rows.",
    )
    new_features: Literal["refuse", "draft"] = Field(
        default="refuse",
        description="Whether columns that are not declared are refused, or become draft features; "
        "with draft an unknown group comes into being.",
    )
    types: dict[str, str] = Field(
        default={},
        description="Types of columns that are not declared yet and whose values are written as "
        "text, such as date32.",
        examples=[{"born": "date32"}],
    )


class PushAnswer(BaseModel):
    """What was written; it is on disk and online."""

    feature_group: str
    rows_written: int
    rows_updated: int
    rows_duplicate: int
    partitions: list[str]
    version: int
    warnings: list[str] = Field(
        default=[], description="What the rows break that is not critical; left out if nothing."
    )


class _Body(Request):
    """A request whose JSON is read as strictly as on the other routes.

    The standard library's reader takes NaN, and halves of characters that nothing can store.
    """

    async def json(self) -> Any:
        return decoded(msgspec.json.decode, await self.body())


class _Route(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()

        async def read(request: Request) -> Response:
            return await handle(_Body(request.scope, request.receive))

        return read


def pushing(store: FeatureStore) -> APIRouter:
    """The route that writes."""
    router = APIRouter(tags=["push"], route_class=_Route)

    @router.post(
        "/v1/push",
        summary="Write rows to a pushed group, offline and online",
        response_model_exclude_defaults=True,
    )
    def push(asked: PushRequest, request: Request) -> PushAnswer:
        rows, new = _typed(store, asked), asked.new_features
        acting = store.acting_as(request.state.actor)
        result = acting.write_features(rows, asked.group, asked.mode, new_features=new)
        if store.config.enable_monitoring:
            metrics.PUSHED.labels(result.feature_group).inc(result.rows_written)
        return PushAnswer(**asdict(result))

    return router


def _typed(store: FeatureStore, asked: PushRequest) -> list[dict[str, Any]]:
    """The rows, with values of their own types for those that JSON writes as text."""
    group = store.applied.find(asked.group)
    kinds = {column: type_name(kind) for column, kind in asked.types.items()}
    kinds |= {"event_timestamp": _TIME}
    if group is not None:
        entity = group.entity
        keys = zip(entity.join_keys, entity.key_types, strict=True)
        kinds |= {key: kind for key, kind in keys if kind is not None}
        kinds |= {feature.name: feature.dtype for feature in group.features}
        kinds |= dict.fromkeys(
            [group.timestamp, *([group.created] if group.created else [])], _TIME
        )
    readers = {column: read for column, kind in kinds.items() if (read := reader(kind))}

    def typed(number: int, column: str, value: Any) -> Any:
        try:
            return readers[column](value)
        except ValueError:
            raise DataError(
                f"'{column}' is {kinds[column]} and holds a text that is none, in row {number}. "
                f"{_WRITTEN}"
            ) from None

    return [
        {
            column: typed(number, column, value) if column in readers else value
            for column, value in row.items()
        }
        for number, row in enumerate(asked.rows)
    ]


_TIME = "timestamp[us, UTC]"
_WRITTEN = (
    "Dates and times are ISO 8601 of the years 1 to 9999 (UTC), such as 2024-06-03 and "
    "2024-06-03T12:00:00Z; floats that JSON "
    'lacks are "NaN", "Infinity" and "-Infinity".'
)

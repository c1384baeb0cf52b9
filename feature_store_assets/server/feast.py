"""`POST /get-online-features`: the format of Feast's feature server, so that its clients read here.

A feature view there is a group or a view here, a feature service a view. Statuses are honest:
``PRESENT``, ``NULL_VALUE``, ``NOT_FOUND``, ``OUTSIDE_MAX_AGE``. Source of the format: Feast 0.67,
``feast/feature_server.py`` and ``feast/infra/online_stores/remote.py``.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

from feature_store_assets.errors import FeatureStoreError, NotFound, suggestion
from feature_store_assets.online.row import instant
from feature_store_assets.server.errors import Problem, problem
from feature_store_assets.server.fast_routes import decoded
from feature_store_assets.server.online import named_floats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_store_assets.online.query import Query
    from feature_store_assets.online.result import Found
    from feature_store_assets.server.online import OnlineFeatures
    from feature_store_assets.store import FeatureStore

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_STATUSES = {"missing": "NOT_FOUND", "expired": "OUTSIDE_MAX_AGE"}


class FeastRequest(Struct):
    """Features by name, or a feature service, for columns of entities."""

    entities: Annotated[
        dict[str, list[Any]],
        Meta(description="A column per join key.", examples=[{"customer_id": ["a", "b"]}]),
    ]
    features: Annotated[list[str], Meta(examples=[["customer_spending:spend_7d"]])] | None = None
    feature_service: str | None = None
    full_feature_names: bool = False
    include_feature_view_version_metadata: bool = False


class FeastVector(Struct):
    """One column of the answer."""

    values: list[Any]
    statuses: list[str]
    event_timestamps: list[datetime]


class FeastAnswer(Struct):
    """The entities' columns, then the features' in the order asked."""

    results: list[FeastVector]
    metadata: dict[str, list[Any]]


class _Column(NamedTuple):
    """One feature of the answer: its name there, where it is found, and whose row it is of."""

    shown: str
    owner: str
    feature: str


_decode = msgspec.json.Decoder(FeastRequest).decode
_encode = msgspec.json.Encoder().encode


class FeastFeatures:
    """Answers requests in Feast's format.

    Parameters
    ----------
    store
        Where features are.
    online
        Reads them, and counts.
    """

    def __init__(self, store: FeatureStore, online: OnlineFeatures) -> None:
        self._store = store
        self._online = online

    async def answer(self, body: bytes, consumer: str) -> bytes:
        """The answer to a request, both JSON."""
        try:
            return _encode(await self._answer(decoded(_decode, body), consumer))
        except (FeatureStoreError, Problem) as error:
            raise _as_feast(error) from error

    async def _answer(self, asked: FeastRequest, consumer: str) -> FeastAnswer:
        queries = await self._queries(asked, consumer)
        columns = _columns(asked, queries)
        count = _length(asked.entities)
        found = dict(
            zip(
                queries,
                await asyncio.gather(
                    *(
                        self._online.find(query, _entities(query, asked.entities, count), None)
                        for query in queries.values()
                    )
                ),
                strict=True,
            )
        )
        for each in found.values():
            named_floats(each)
        known = [
            FeastVector(values, ["PRESENT"] * count, [_NEVER] * count)
            for values in asked.entities.values()
        ]
        vectors = [_vector(column.feature, found[column.owner], queries[column.owner])
                   for column in columns]  # fmt: skip
        metadata: dict[str, list[Any]] = {
            "feature_names": [*asked.entities, *(column.shown for column in columns)]
        }
        if asked.include_feature_view_version_metadata:
            views = dict.fromkeys(
                part.space.group for query in queries.values() for part in query.parts
            )
            metadata["feature_view_metadata"] = [{"name": name} for name in views]
        return FeastAnswer([*known, *vectors], metadata)

    async def _queries(self, asked: FeastRequest, consumer: str) -> dict[str, Query]:
        """One prepared read per feature view (or service)."""
        serving = self._store.serving
        if asked.feature_service is not None:
            name = asked.feature_service
            return {name: await serving.query_async(name, None, consumer)}
        wanted: dict[str, list[str]] = {}
        for feature in asked.features or ():
            view, colon, name = feature.partition(":")
            if not colon:
                raise Problem(422, f'Write "view:feature", not "{feature}".')
            wanted.setdefault(view, [])
            if name not in wanted[view]:
                wanted[view].append(name)
        if not wanted:
            raise Problem(422, 'Name "features" as "view:feature", or a "feature_service".')
        return {
            view: await serving.query_async(view, names, consumer) for view, names in wanted.items()
        }


def _columns(asked: FeastRequest, queries: Mapping[str, Query]) -> list[_Column]:
    """The features of the answer, in the order asked."""
    if asked.feature_service is not None:
        [(owner, query)] = queries.items()
        pairs = [(owner, name) for name in query.types]
    else:
        pairs = [(view, name) for view, _, name in
                 (feature.partition(":") for feature in asked.features or ())]  # fmt: skip
    if not asked.full_feature_names:
        names = [name for _, name in dict.fromkeys(pairs)]
        if len(set(names)) < len(names):
            raise Problem(422, "Features share a name: ask for full_feature_names.")
        return [_Column(name, owner, name) for owner, name in pairs]
    # A service's features are named after the views that it is made of.
    service = asked.feature_service is not None
    return [
        _Column(f"{(service and _home(queries[owner], name)) or owner}__{name}", owner, name)
        for owner, name in pairs
    ]


def _home(query: Query, feature: str) -> str | None:
    """The group that a feature is stored in, None for one that is computed."""
    for part in query.parts:
        if feature in part.features.values():
            return part.space.group
    return None


def _length(entities: Mapping[str, list[Any]]) -> int:
    lengths = {len(values) for values in entities.values()}
    if len(lengths) != 1:
        raise Problem(422, 'The columns of "entities" must be there, and equally long.')
    return lengths.pop()


def _entities(query: Query, columns: Mapping[str, list[Any]], count: int) -> list[Any]:
    """The entities as a read takes them."""
    names = [*query.key_types, *query.request]
    for name in names:
        if name not in columns:
            raise Problem(
                422, f"'{query.owner}' needs a column '{name}' of \"entities\"."
                + suggestion(name, columns)
            )  # fmt: skip
    if len(names) == 1:
        return columns[names[0]]
    return [{name: columns[name][at] for name in names} for at in range(count)]


def _vector(feature: str, found: Found, query: Query) -> FeastVector:
    home = _home(query, feature)
    at = list(found.types).index(feature)
    told = None if home is None else found.groups[home]
    statuses = found.statuses if told is None else told.statuses
    times = found.times if told is None else told.times
    values = [row[at] for row in found.rows]
    return FeastVector(
        values,
        [
            _STATUSES.get(status) or ("NULL_VALUE" if value is None else "PRESENT")
            for status, value in zip(statuses, values, strict=True)
        ],
        [_NEVER if time is None else instant(time) for time in times],
    )


def _as_feast(error: Exception) -> Problem:
    """The same problem, in the words that Feast's clients read."""
    told = problem(error)
    if told.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.BAD_REQUEST}:
        return told
    kind = "FeatureViewNotFoundException" if isinstance(error, NotFound) else "FeastError"
    detail = {"module": "feast.errors", "class": kind, "message": told.detail}
    return Problem(told.status_code, told.detail, _encode(_encode(detail).decode()))

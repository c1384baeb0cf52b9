"""`POST /v1/online-features`: the newest features of entities, as rows of values."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from feature_store_assets.errors import DataError
from feature_store_assets.json_values import named, reader
from feature_store_assets.online.row import instant
from feature_store_assets.server.errors import Problem
from feature_store_assets.server.fast_routes import decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from feature_store_assets.online.query import Query
    from feature_store_assets.online.result import Found
    from feature_store_assets.server.metrics import Observer
    from feature_store_assets.store import FeatureStore

Status = Literal["present", "missing", "expired"]


class OnlineRequest(Struct, forbid_unknown_fields=True):
    """Features of a group or a view, for entities."""

    entities: Annotated[
        list[Any],
        Meta(
            description="Values of the one join key; lists of several; or objects of join keys "
            "and request values. Dates and times are ISO 8601.",
            examples=[["user_1"], [["JFK", "LAX"]], [{"origin": "JFK", "dest": "LAX"}]],
        ),
    ]
    group: Annotated[str, Meta(description="A feature group.")] | UnsetType = UNSET
    view: Annotated[str, Meta(description="Or a feature view.")] | UnsetType = UNSET
    features: (
        Annotated[
            list[str],
            Meta(description='Only these; without group and view as "group.feature".'),
        ]
        | None
    ) = None
    at: (
        Annotated[
            datetime,
            Meta(tz=True, description="Count ages from this instant; by default from now."),
        ]
        | None
    ) = None


class OnlineAnswer(Struct):
    """Rows in the order of the entities, values in the order of the features."""

    features: list[str]
    types: Annotated[list[str], Meta(description="The features' types, such as int64.")]
    values: Annotated[
        list[list[Any]],
        Meta(
            description="null where missing, expired or null. Floats that JSON lacks are the "
            'strings "NaN", "Infinity" and "-Infinity"; dates and times are ISO 8601.'
        ),
    ]
    statuses: list[Status]
    event_timestamps: list[datetime | None]
    ages_seconds: list[float | None]
    stale: Annotated[
        bool, Meta(description="Out of a cache past its time: the online store does not answer.")
    ]


class _Encoded(Struct):
    """An `OnlineAnswer` whose names and types were encoded before."""

    features: msgspec.Raw
    types: msgspec.Raw
    values: list[list[Any]]
    statuses: Sequence[str]
    event_timestamps: list[datetime | None]
    ages_seconds: list[float | None]
    stale: bool


class _Noticed(_Encoded):
    """The same with what its readers should know: that something is deprecated."""

    notices: Sequence[str]


_decode = msgspec.json.Decoder(OnlineRequest).decode
_encode = msgspec.json.Encoder().encode


class OnlineFeatures:
    """Answers requests for online features.

    Parameters
    ----------
    store
        Where they are.
    observer
        Counts what is read, if anyone does.
    """

    def __init__(self, store: FeatureStore, observer: Observer | None) -> None:
        self._store = store
        self._observer = observer
        self._most = store.config.max_request_entities
        self._headings: dict[int, tuple[Query, msgspec.Raw, msgspec.Raw]] = {}

    async def answer(self, body: bytes, consumer: str) -> bytes:
        """The answer to a consumer's request, both JSON."""
        asked: OnlineRequest = decoded(_decode, body)
        what, features = _subject(asked)
        query = await self._store.serving.query_async(what, features, consumer)
        found = await self.find(query, asked.entities, asked.at)
        names, types = self._heading(query)
        times = found.times
        fields = (
            names,
            types,
            found.rows,
            found.statuses,
            [None if time is None else instant(time) for time in times],
            found.ages(times),
            found.stale,
        )
        answer = _Noticed(*fields, query.notices) if query.notices else _Encoded(*fields)
        encoded = _encode(answer)
        # msgspec writes what JSON lacks as null: look again only where there is one.
        if b"null" in encoded and named_floats(found):
            encoded = _encode(answer)
        return encoded

    async def find(self, query: Query, entities: list[Any], at: datetime | None) -> Found:
        """Read features, and count what was read."""
        if len(entities) > self._most:
            raise Problem(
                413,
                f"{len(entities):,} entities are more than {self._most:,} at once: ask in smaller "
                f"parts, or raise FEATURE_STORE_MAX_REQUEST_ENTITIES.",
            )
        start = time.perf_counter()
        if not query.is_plain(entities):
            entities = typed_entities(query, entities)
        found = await query.find(self._store.serving.rows, entities, at)
        if self._observer is not None:
            self._observer.read(query.owner, found, time.perf_counter() - start)
        return found

    def _heading(self, query: Query) -> tuple[msgspec.Raw, msgspec.Raw]:
        """Names and types of a prepared read, encoded; a read is prepared anew now and then."""
        known = self._headings.get(id(query))
        if known is None or known[0] is not query:
            if len(self._headings) > _HEADINGS:
                self._headings.clear()
            names, types = list(query.types), list(query.types.values())
            known = (query, msgspec.Raw(_encode(names)), msgspec.Raw(_encode(types)))
            self._headings[id(query)] = known
        return known[1], known[2]


_HEADINGS = 4_096


def _subject(asked: OnlineRequest) -> tuple[Any, list[str] | None]:
    """What is asked for, and which features of it."""
    if asked.group is not UNSET and asked.view is not UNSET:
        raise Problem(422, "Name a group or a view, not both.")
    name = asked.view if asked.group is UNSET else asked.group
    if name is not UNSET:
        return name, asked.features
    if not asked.features:
        raise Problem(422, 'Name a "group" or a "view", or "features" as "group.feature".')
    return asked.features, None


def typed_entities(query: Query, entities: list[Any]) -> list[Any]:
    """Entities as a read takes them: tuples of several keys, values of their own types."""
    if not entities:
        return entities
    keys = query.key_types
    if isinstance(entities[0], dict):
        readers = _readers({**keys, **query.request})
        if not readers or not all(isinstance(each, dict) for each in entities):
            return entities
        return [
            {
                name: _read(readers[name], value) if name in readers else value
                for name, value in each.items()
            }
            for each in entities
        ]
    if len(keys) > 1:
        if not all(isinstance(each, list) for each in entities):
            raise _misshapen(query, f"lists of {', '.join(keys)}")
        readers = _readers(dict(enumerate(keys.values())))
        # One that is too short or too long is told by the read.
        return [
            tuple(
                _read(readers[at], value) if at in readers else value
                for at, value in enumerate(each)
            )
            for each in entities
        ]
    if any(isinstance(each, dict | list) for each in entities):
        raise _misshapen(query, "values of its one join key")
    read = next(iter(_readers(keys).values()), None)
    return entities if read is None else [_read(read, each) for each in entities]


def _readers(kinds: Mapping[Any, str | None]) -> dict[Any, Callable[[Any], Any]]:
    """What reads the values that JSON writes as text."""
    return {name: read for name, kind in kinds.items() if kind and (read := reader(kind))}


def _misshapen(query: Query, form: str) -> DataError:
    names = ", ".join({**query.key_types, **query.request})
    return DataError(f"The entities of '{query.owner}' are {form}, or objects of {names}.")


def _read(read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError:
        return value  # told by the read, which knows the key's name


def named_floats(found: Found) -> bool:
    """Write NaN and infinities as text, in place; whether there were any."""
    places = [at for at, kind in enumerate(found.types.values()) if "float64" in kind]
    any_named = False
    for row in found.rows:
        for at in places:
            value = row[at]
            if isinstance(value, list):
                changed: Any = [named(each) for each in value]
            else:
                changed = named(value)
            if changed is not value and changed != value:
                row[at], any_named = changed, True
    return any_named

"""One online read, prepared: which keys to ask for, and what their values mean.

Preparing takes the applied declarations; asking is a few microseconds beside the store's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.request import RequestFeature, compute
from feature_store_assets.declaration.types import holds, polars_type
from feature_store_assets.errors import DataError, suggestion
from feature_store_assets.online.read import Answer, Reader
from feature_store_assets.online.row import KeySpace, RowCodec

if TYPE_CHECKING:
    from feature_store_assets.online import OnlineStore

# Worse comes later: the status of a row of several groups is its worst group's.
_SEVERITY = ("present", "expired", "missing")
_SCALARS = frozenset({str, int})

# How a request value of each type is written in Python.
_WANTED: Mapping[str, str] = {
    "int64": "an int of at most 64 bits",
    "float64": "a float, or an int up to 2**53",
    "bool": "a bool",
    "string": "a str",
    "date32": "a date",
    "timestamp[us, UTC]": "a datetime with a time zone",
}


@dataclass(frozen=True)
class Part:
    """One group's share of a read.

    Parameters
    ----------
    space, keys
        Where the group's rows are, and its join keys in order.
    columns
        The group's columns in stored order: (name, type).
    features
        Stored name -> name in the answer.
    ttl
        How old a row may be.
    """

    space: KeySpace
    keys: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    features: Mapping[str, str]
    ttl: timedelta | None

    @classmethod
    def of(cls, group: FeatureGroup, features: Mapping[str, str]) -> Self:
        """Return the share of a group, all of whose columns are stored together."""
        columns = tuple((feature.name, feature.dtype) for feature in group.features)
        return cls(KeySpace.of(group), group.entity.join_keys, columns, features, group.ttl)


class Query:
    """Features of one or several groups, for many entities at a time.

    Parameters
    ----------
    owner
        The view's or group's name, for messages.
    parts
        The groups' shares, with features that only computed ones need.
    computed, request
        What is computed of them, and the values that have to come with each entity for it, with
        their types.
    shown
        The names in the answer where some are computed.
    """

    def __init__(
        self,
        owner: str,
        parts: Sequence[Part],
        *,
        computed: Sequence[RequestFeature] = (),
        request: Mapping[str, str] = MappingProxyType({}),
        shown: Sequence[str] = (),
    ) -> None:
        self.owner = owner
        self._computed = computed
        self._request = request
        self._parts = parts
        self._keys = tuple(dict.fromkeys(key for part in parts for key in part.keys))
        self._same_keys = all(part.keys == parts[0].keys for part in parts)
        self._readers = [_reader(part) for part in parts]
        # One group with one join key, the most frequent read, takes a shorter way.
        alone = len(parts) == len(self._keys) == 1 and not computed
        self._direct = parts[0].space if alone else None
        inputs = {name for feature in computed for name in feature.inputs}
        self._inputs = {
            part.features[stored]: kind
            for part in parts
            for stored, kind in part.columns
            if part.features.get(stored) in inputs
        }
        self._hidden = [name for name in self._inputs if name not in shown]

    def ask(
        self, store: "OnlineStore", entity_ids: Sequence[Any], now: datetime | None, *, status: bool
    ) -> Any:
        """Read the features of entities in one round trip.

        Parameters
        ----------
        entity_ids
            Values of the one join key; tuples of several; or dicts by join key, with the request
            values.
        now
            The instant that ages are counted from; None: the present moment.
        status
            Tell values, status and event time of each entity, not just values.

        Returns
        -------
        A dict by entity, or a list in the order asked where the entities are dicts.
        """
        if not entity_ids:
            return {}
        if self._direct and not status and type(entity_ids[0]) in _SCALARS:
            rows = self._readers[0].rows(store.get(self._direct.keys(entity_ids)), now)
            return dict(zip(entity_ids, rows, strict=True))
        dicts = isinstance(entity_ids[0], Mapping)
        if self._computed:
            given = self._given(entity_ids, dicts=dicts)
            found = self._stored(store, entity_ids, now, dicts=dicts, status=status)
            self._add_computed([row["values"] for row in found] if status else found, given)
        else:
            found = self._stored(store, entity_ids, now, dicts=dicts, status=status)
        return found if dicts else dict(zip(entity_ids, found, strict=True))

    def _stored(
        self,
        store: "OnlineStore",
        entity_ids: Sequence[Any],
        now: datetime | None,
        *,
        dicts: bool,
        status: bool,
    ) -> list[Any]:
        """Read the stored features, in the order asked."""
        count = len(entity_ids)
        if not self._readers:
            # What is computed of request values alone lacks nothing.
            return [Answer({}, "present", None)._asdict() if status else {} for _ in entity_ids]
        keys = self._asked(entity_ids, dicts=dicts)
        values = store.get(keys[0] if len(keys) == 1 else [key for part in keys for key in part])
        if status:
            return self._answers(values, count, now)
        found = self._readers[0].rows(values[:count], now)
        for number, reader in enumerate(self._readers[1:], 1):
            more = reader.rows(values[number * count : (number + 1) * count], now)
            for row, other in zip(found, more, strict=True):
                row.update(other)
        return found

    def _given(self, entity_ids: Sequence[Any], *, dicts: bool) -> dict[str, list[Any]]:
        """Return the request values, a column each."""
        if self._request and not dicts:
            raise DataError(
                f"'{self.owner}' computes {', '.join(each.name for each in self._computed)} from "
                f"values that come with the request. Give each entity as a dict of "
                f"{', '.join(dict.fromkeys((*self._keys, *self._request)))}, or ask for other "
                f"features."
            )
        for name, kind in self._request.items():
            for entity in entity_ids:
                if name not in entity:
                    raise DataError(
                        f"An entity of '{self.owner}' lacks the request value '{name}' ({kind})."
                        + suggestion(name, entity)
                    )
                if not holds(kind, entity[name]):
                    raise DataError(
                        f"Request value '{name}' of '{self.owner}' is {kind}: give "
                        f"{_WANTED.get(kind, 'a list of such values')}, not "
                        f"a {type(entity[name]).__name__}."
                    )
        return {name: [entity[name] for entity in entity_ids] for name in self._request}

    def _add_computed(self, rows: Sequence[dict[str, Any]], given: Mapping[str, list[Any]]) -> None:
        """Compute features from the rows' stored ones, and take inputs out that were not asked."""
        import polars as pl

        columns = {
            name: pl.Series(name, values, polars_type(self._request[name]))
            for name, values in given.items()
        }
        for name, kind in self._inputs.items():
            columns[name] = pl.Series(name, [row[name] for row in rows], polars_type(kind))
        for name, found in compute(self._computed, columns).items():
            for row, value in zip(rows, found.to_list(), strict=True):
                row[name] = value
        for name in self._hidden:
            for row in rows:
                del row[name]

    def _answers(
        self, values: Sequence[bytes | None], count: int, now: datetime | None
    ) -> list[dict[str, Any]]:
        merged: list[dict[str, Any]] = []
        for number, reader in enumerate(self._readers):
            answers = reader.answers(values[number * count : (number + 1) * count], now)
            told = [answer._asdict() for answer in answers]
            merged = [_worst(*pair) for pair in zip(merged, told, strict=True)] if merged else told
        return merged

    def _asked(self, entity_ids: Sequence[Any], *, dicts: bool) -> list[list[bytes]]:
        """Return the store's keys, a list per part."""
        parts = self._parts
        if dicts:
            self._check_names(entity_ids)
            return [
                [part.space.key(*(entity[name] for name in part.keys)) for entity in entity_ids]
                for part in parts
            ]
        if not self._same_keys:
            raise DataError(
                f"'{self.owner}' joins groups with different keys. Give each entity as a dict of "
                f"{', '.join(self._keys)}."
            )
        if len(self._keys) == 1:
            return [part.space.keys(entity_ids) for part in parts]
        for entity in entity_ids:
            if not isinstance(entity, tuple) or len(entity) != len(self._keys):
                raise DataError(
                    f"An entity of '{self.owner}' is a tuple ({', '.join(self._keys)}), or a dict."
                )
        return [[part.space.key(*entity) for entity in entity_ids] for part in parts]

    def _check_names(self, entities: Sequence[Mapping[str, Any]]) -> None:
        for entity in entities:
            for name in self._keys:
                if name not in entity:
                    raise DataError(
                        f"An entity of '{self.owner}' lacks its join key '{name}'."
                        + suggestion(name, entity)
                    )


def _reader(part: Part) -> Reader:
    shown = [(part.features.get(name, name), kind) for name, kind in part.columns]
    return Reader(RowCodec(shown), list(part.features.values()), part.ttl)


def _worst(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Merge two groups' answers: all values, the worse status, the older event time."""
    times = [each["event_timestamp"] for each in (one, other) if each["event_timestamp"]]
    return {
        "values": {**one["values"], **other["values"]},
        "status": max(one["status"], other["status"], key=_SEVERITY.index),
        "event_timestamp": min(times, default=None),
    }

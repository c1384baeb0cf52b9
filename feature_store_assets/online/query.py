"""One online read, prepared: which keys to ask for, and what their values mean.

Preparing takes the applied declarations; asking is a few microseconds beside the store's own.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from numbers import Integral
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from uuid import UUID

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.instants import utc
from feature_store_assets.declaration.request import RequestFeature, compute
from feature_store_assets.declaration.types import holds, polars_type
from feature_store_assets.errors import DataError, suggestion
from feature_store_assets.online.cache import Rows, Stale
from feature_store_assets.online.decode import Reader, Told
from feature_store_assets.online.precomputed_views import JoinedReader, entity_part
from feature_store_assets.online.result import Found, Output
from feature_store_assets.online.row import KeySpace, RowCodec, micros

# How a request value of each type is written in Python.
_WANTED: Mapping[str, str] = {
    "int64": "an int of at most 64 bits",
    "float64": "a float, or an int up to 2**53",
    "bool": "a bool",
    "string": "a str",
    "date32": "a date",
    "timestamp[us, UTC]": "a datetime with a time zone",
}
# The Python type that most values of a key have; others are looked at one by one.
_USUAL: Mapping[str | None, frozenset[type]] = {
    None: frozenset({int, str}),
    "int64": frozenset({int}),
    "string": frozenset({str}),
    "bool": frozenset({bool}),
}
_NO_TYPES: frozenset[type] = frozenset()


@dataclass(frozen=True)
class Part:
    """One group's share of a read.

    Parameters
    ----------
    space, keys, key_types
        Where the group's rows are, its join keys in order, and their types where they are known.
    columns
        Name and type of the feature in each slot of a stored row.
    features
        Stored name -> name in the answer.
    ttl
        How old a row may be.
    """

    space: KeySpace
    keys: tuple[str, ...]
    key_types: tuple[str | None, ...]
    columns: tuple[tuple[str, str], ...]
    features: Mapping[str, str]
    ttl: timedelta | None

    @classmethod
    def of(cls, group: FeatureGroup, features: Mapping[str, str], generation: int) -> Self:
        """Return the share of a group, all of whose columns are stored together."""
        entity = group.entity
        space = KeySpace.of(group, generation)
        return cls(space, entity.join_keys, entity.key_types, group.fields, features, group.ttl)


class _Asking(NamedTuple):
    """What a read asks the store for; `given` holds the request values, a column each."""

    keys: list[bytes]
    entities: int
    dicts: bool
    given: dict[str, list[Any]]


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
    defaults
        What stands in place of None, by name in the answer.
    joined
        Where the parts stand joined under one key per entity, if they do.
    notices
        What its readers are told: that something is deprecated.
    """

    def __init__(
        self,
        owner: str,
        parts: Sequence[Part],
        *,
        computed: Sequence[RequestFeature] = (),
        request: Mapping[str, str] = MappingProxyType({}),
        shown: Sequence[str] = (),
        defaults: Mapping[str, Any] = MappingProxyType({}),
        joined: KeySpace | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        self.owner = owner
        self.notices = notices
        # How often it was asked and for how many entities, for statistics of usage.
        self.asks = self.entities = 0
        self._joined = joined
        self.parts = tuple(parts)
        self.request = request
        self._computed = computed
        self._defaults = defaults
        kinds = {
            key: kind for part in parts for key, kind in zip(part.keys, part.key_types, strict=True)
        }
        self.key_types: Mapping[str, str | None] = kinds
        self._keys = tuple(kinds)
        self._same_keys = all(part.keys == parts[0].keys for part in parts)
        self._readers = [_reader(part) for part in parts]
        self._whole = JoinedReader(self._readers)
        # In the order in which the readers give them.
        self._order: dict[str, str] = {}
        for part in parts:
            stored = dict(part.columns)
            self._order |= {shown: stored[name] for name, shown in part.features.items()}
        self._hidden = [name for name in self._order if computed and name not in shown]
        self.types = {
            name: kind for name, kind in self._order.items() if name not in self._hidden
        } | {feature.name: feature.dtype for feature in computed}
        # One group with one join key, the most frequent read, takes a shorter way.
        kind = kinds[self._keys[0]] if self._keys else None
        self._usual = _USUAL.get(kind, _NO_TYPES)
        alone = len(parts) == len(self._keys) == 1 and not computed and not defaults
        self._direct = parts[0].space if alone else None

    def ask(
        self,
        rows: Rows,
        entity_ids: Sequence[Any],
        at: datetime | None,
        *,
        status: bool,
        output: Output,
    ) -> Any:
        """Read the features of entities in one round trip.

        Parameters
        ----------
        rows
            Where they are read.
        entity_ids
            Values of the one join key; tuples of several; or dicts by join key, with the request
            values.
        at
            The instant that ages are counted from; None: the present moment.
        status
            Tell values, status, event time and age of each entity, not just values.
        output
            `dicts`, `arrow` or `numpy`.

        Returns
        -------
        A dict by entity, or a list in the order asked where the entities are dicts; or a
        `pyarrow.Table`; or an array.
        """
        self.asks += 1
        self.entities += len(entity_ids)
        if self._direct and not status and output == "dicts" and self.is_plain(entity_ids):
            values = rows.get(self._direct.keys(entity_ids))
            found = self._readers[0].rows(values, _moment(at))
            return dict(zip(entity_ids, found, strict=True))
        asking = self._asking(entity_ids)
        looks = self._looks(asking, at)
        keys = next(looks)
        try:
            while True:
                keys = looks.send(rows.get(keys))
        except StopIteration as done:
            answer: Found = done.value
        return self._shaped(answer, entity_ids, asking, status=status, output=output)

    async def ask_async(
        self,
        rows: Rows,
        entity_ids: Sequence[Any],
        at: datetime | None,
        *,
        status: bool,
        output: Output,
    ) -> Any:
        """The same without blocking the event loop."""
        self.asks += 1
        self.entities += len(entity_ids)
        if self._direct and not status and output == "dicts" and self.is_plain(entity_ids):
            values = await rows.aget(self._direct.keys(entity_ids))
            found = self._readers[0].rows(values, _moment(at))
            return dict(zip(entity_ids, found, strict=True))
        asking = self._asking(entity_ids)
        answer = await self._awaited(asking, rows, at)
        return self._shaped(answer, entity_ids, asking, status=status, output=output)

    async def find(self, rows: Rows, entity_ids: Sequence[Any], at: datetime | None) -> Found:
        """Read the features of entities as a server gives them on."""
        self.asks += 1
        self.entities += len(entity_ids)
        if self._direct and self.is_plain(entity_ids):
            values = await rows.aget(self._direct.keys(entity_ids))
            moment = _moment(at)
            told = self._readers[0].told(values, moment)
            groups = {self._direct.group: told}
            return Found(self.types, told.rows, groups, moment, type(values) is Stale)
        return await self._awaited(self._asking(entity_ids), rows, at)

    async def _awaited(self, asking: _Asking, rows: Rows, at: datetime | None) -> Found:
        looks = self._looks(asking, at)
        keys = next(looks)
        while True:
            values = await rows.aget(keys)
            try:
                keys = looks.send(values)
            except StopIteration as done:
                found: Found = done.value
                return found

    def _looks(
        self, asking: _Asking, at: datetime | None
    ) -> Generator[list[bytes], list[bytes | None], Found]:
        """The keys to look up, one list after the other; at last what was found."""
        moment, count = _moment(at), asking.entities
        if self._joined is None:
            values = yield asking.keys
            told = self._told(values, count, moment)
            rows = _merged(told, count)
            return self._found(rows, told, asking, moment, stale=type(values) is Stale)
        prefix = self._joined.prefix
        values = yield [prefix + entity_part(key) for key in asking.keys[:count]]
        stale = type(values) is Stale
        whole, told = self._whole.told(values, moment)
        alone = [place for place, row in enumerate(whole) if row is None]
        if alone:
            values = yield [
                asking.keys[part + place]
                for part in range(0, len(asking.keys), count)
                for place in alone
            ]
            stale = stale or type(values) is Stale
            parts = self._told(values, len(alone), moment)
            for place, row in zip(alone, _merged(parts, len(alone)), strict=True):
                whole[place] = row
            for all_, part in zip(told, parts, strict=True):
                for place, status, time in zip(alone, part.statuses, part.times, strict=True):
                    all_.statuses[place], all_.times[place] = status, time
        rows = [row for row in whole if row is not None]
        return self._found(rows, told, asking, moment, stale=stale)

    def _told(self, values: Sequence[bytes | None], count: int, moment: int) -> list[Told]:
        return [
            reader.told(values[number * count : (number + 1) * count], moment)
            for number, reader in enumerate(self._readers)
        ]

    def is_plain(self, entity_ids: Sequence[Any]) -> bool:
        """Whether these are values of the one join key, each of its very type."""
        return len(self._keys) == 1 and self._usual.issuperset(map(type, entity_ids))

    def _found(
        self,
        rows: list[list[Any]],
        told: Sequence[Told],
        asking: _Asking,
        moment: int,
        *,
        stale: bool,
    ) -> Found:
        if self._defaults:
            self._fill(rows)
        if self._computed:
            rows = self._with_computed(rows, asking.given)
        groups = {part.space.group: each for part, each in zip(self.parts, told, strict=True)}
        return Found(self.types, rows, groups, moment, stale)

    def _shaped(
        self,
        found: Found,
        entity_ids: Sequence[Any],
        asking: _Asking,
        *,
        status: bool,
        output: Output,
    ) -> Any:
        if output == "numpy":
            return found.numpy()
        if output == "arrow":
            return found.arrow(self._columns(entity_ids, dicts=asking.dicts), status=status)
        if output != "dicts":
            raise DataError(f"output is 'dicts', 'arrow' or 'numpy', not '{output}'.")
        told = found.detailed() if status else found.dicts()
        return told if asking.dicts else dict(zip(entity_ids, told, strict=True))

    def _columns(self, entity_ids: Sequence[Any], *, dicts: bool) -> dict[str, list[Any]]:
        """The join keys of entities, a column each."""
        if dicts:
            return {key: [entity[key] for entity in entity_ids] for key in self._keys}
        if len(self._keys) == 1:
            return {self._keys[0]: list(entity_ids)}
        return {key: [each[at] for each in entity_ids] for at, key in enumerate(self._keys)}

    def _fill(self, rows: list[list[Any]]) -> None:
        """Put the defaults where there is no value."""
        places = [(at, self._defaults[name]) for at, name in enumerate(self._order)
                  if name in self._defaults]  # fmt: skip
        for row in rows:
            for at, value in places:
                if row[at] is None:
                    row[at] = value

    # Asking

    def keys(self, entity_ids: Sequence[Any]) -> list[bytes]:
        """The keys of the rows of entities, part after part."""
        return self._asking(entity_ids).keys

    def _asking(self, entity_ids: Sequence[Any]) -> _Asking:
        dicts = bool(entity_ids) and isinstance(entity_ids[0], Mapping)
        given = self._given(entity_ids, dicts=dicts) if entity_ids and self.request else {}
        keys = self._asked(entity_ids, dicts=dicts) if entity_ids and self.parts else []
        return _Asking(keys, len(entity_ids), dicts, given)

    def _given(self, entity_ids: Sequence[Any], *, dicts: bool) -> dict[str, list[Any]]:
        """Return the request values, a column each."""
        if not dicts:
            raise DataError(
                f"'{self.owner}' computes {', '.join(each.name for each in self._computed)} from "
                f"values that come with the request. Give each entity as a dict of "
                f"{', '.join(dict.fromkeys((*self._keys, *self.request)))}, or ask for other "
                f"features."
            )
        self._check_names(entity_ids)
        for name, kind in self.request.items():
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
        return {name: [entity[name] for entity in entity_ids] for name in self.request}

    def _asked(self, entity_ids: Sequence[Any], *, dicts: bool) -> list[bytes]:
        """Return the store's keys, part after part."""
        self._check(entity_ids, dicts=dicts)
        if len(self._keys) == 1 and not dicts:
            return [key for part in self.parts for key in part.space.keys(entity_ids)]
        columns = self._columns(entity_ids, dicts=dicts)
        self._check_types(columns)
        return [
            part.space.key(*entity)
            for part in self.parts
            for entity in zip(*(columns[key] for key in part.keys), strict=True)
        ]

    def _check(self, entity_ids: Sequence[Any], *, dicts: bool) -> None:
        """Refuse entities of another form than the first, or without all their keys."""
        if dicts:
            self._check_names(entity_ids)
        elif not self._same_keys:
            raise DataError(
                f"'{self.owner}' joins groups with different keys. Give each entity as a dict of "
                f"{', '.join(self._keys)}."
            )
        elif len(self._keys) == 1:
            if not self.is_plain(entity_ids):
                self._check_types({self._keys[0]: entity_ids})
        elif not all(
            isinstance(each, tuple) and len(each) == len(self._keys) for each in entity_ids
        ):
            raise DataError(
                f"An entity of '{self.owner}' is a tuple ({', '.join(self._keys)}), or a dict."
            )

    def _check_names(self, entities: Sequence[Any]) -> None:
        for entity in entities:
            if not isinstance(entity, Mapping):
                raise DataError(
                    f"Some entities of '{self.owner}' are dicts and some are not: give all as "
                    f"dicts of {', '.join(self._keys)}."
                )
            for name in self._keys:
                if name not in entity:
                    raise DataError(
                        f"An entity of '{self.owner}' lacks its join key '{name}'."
                        + suggestion(name, entity)
                    )

    def _check_types(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Refuse keys of another type than the group's, which no row could have."""
        for key, values in columns.items():
            kind = self.key_types[key]
            if kind is None:
                continue
            for value in values:
                if not _fits(kind, value):
                    raise DataError(
                        f"Join key '{key}' of '{self.owner}' is {kind}: give {_WANTED[kind]}, not "
                        f"a {type(value).__name__}."
                    )

    # Computed features

    def _with_computed(
        self, rows: Sequence[Sequence[Any]], given: Mapping[str, list[Any]]
    ) -> list[list[Any]]:
        """Compute features from the rows' stored ones, and take inputs out that were not asked."""
        if not rows:
            return []
        import polars as pl

        places = {name: at for at, name in enumerate(self._order)}
        columns = {
            name: pl.Series(name, values, polars_type(self.request[name]))
            for name, values in given.items()
        }
        for name in {name for each in self._computed for name in each.inputs} & places.keys():
            values = [row[places[name]] for row in rows]
            columns[name] = pl.Series(name, values, polars_type(self._order[name]))
        computed = compute(self._computed, columns)
        kept = [at for name, at in places.items() if name not in self._hidden]
        new = zip(*(computed[each.name].to_list() for each in self._computed), strict=True)
        return [[*(row[at] for at in kept), *more] for row, more in zip(rows, new, strict=True)]


def _merged(told: Sequence[Told], count: int) -> list[list[Any]]:
    """The groups' rows side by side."""
    if len(told) == 1:
        return told[0].rows
    if not told:
        return [[] for _ in range(count)]
    return [[*chain.from_iterable(row)] for row in zip(*(each.rows for each in told), strict=True)]


def _moment(at: datetime | None) -> int:
    return time.time_ns() // 1000 if at is None else micros(utc(at, "at"))


def _fits(kind: str, value: Any) -> bool:
    """Whether a key's value is of a type; NumPy's own scalars and UUIDs are, too."""
    if kind == "string":
        return isinstance(value, str | UUID)
    if kind == "int64" and isinstance(value, Integral):
        return not isinstance(value, bool)
    if value is not None and not holds(kind, value) and hasattr(value, "item"):
        value = value.item()
    return value is not None and holds(kind, value)


def _reader(part: Part) -> Reader:
    shown = [(part.features.get(name, name), kind) for name, kind in part.columns]
    return Reader(RowCodec(shown), list(part.features.values()), part.ttl)

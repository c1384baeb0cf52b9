"""One online read, prepared: which keys to ask for, and what their values mean.

Preparing takes the applied declarations; asking is a few microseconds beside the store's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from feature_store_assets.errors import DataError, suggestion
from feature_store_assets.online.read import Reader
from feature_store_assets.online.row import KeySpace, RowCodec

if TYPE_CHECKING:
    from feature_store_assets.online import OnlineStore

# Worse comes later: the status of a row of several groups is its worst group's.
_SEVERITY = ("present", "expired", "missing")
_SCALARS = frozenset({str, int})


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


class Query:
    """Features of one or several groups, for many entities at a time.

    Parameters
    ----------
    owner
        The view's or group's name, for messages.
    parts
        The groups' shares.
    """

    def __init__(self, owner: str, parts: Sequence[Part]) -> None:
        self.owner = owner
        self._parts = parts
        self._keys = tuple(dict.fromkeys(key for part in parts for key in part.keys))
        self._same_keys = all(part.keys == parts[0].keys for part in parts)
        self._readers = [_reader(part) for part in parts]
        # One group with one join key, the most frequent read, takes a shorter way.
        self._direct = parts[0].space if len(parts) == len(self._keys) == 1 else None

    def ask(
        self, store: "OnlineStore", entity_ids: Sequence[Any], now: datetime | None, *, status: bool
    ) -> Any:
        """Read the features of entities in one round trip.

        Parameters
        ----------
        entity_ids
            Values of the one join key; tuples of several; or dicts by join key.
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
        keys = self._asked(entity_ids, dicts=dicts)
        values = store.get(keys[0] if len(keys) == 1 else [key for part in keys for key in part])
        count = len(entity_ids)
        if status:
            found: list[Any] = self._answers(values, count, now)
        else:
            found = self._readers[0].rows(values[:count], now)
            for number, reader in enumerate(self._readers[1:], 1):
                more = reader.rows(values[number * count : (number + 1) * count], now)
                for row, other in zip(found, more, strict=True):
                    row.update(other)
        return found if dicts else dict(zip(entity_ids, found, strict=True))

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

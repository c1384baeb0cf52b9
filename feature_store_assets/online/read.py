"""Raw values of the online store to plain dicts, with the ttl applied."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from time import time_ns
from typing import Any, Literal, NamedTuple

from feature_store_assets.online.row import HEAD, RowCodec, event_time, micros, sortable

Status = Literal["present", "missing", "expired"]


class Answer(NamedTuple):
    """What the online store knows of one entity.

    Attributes
    ----------
    values
        Feature values; all None unless `status` is ``"present"``.
    status
        ``present``, ``missing`` (no row) or ``expired`` (older than the ttl).
    event_timestamp
        When the fact was known, UTC; None when missing.
    """

    values: dict[str, Any]
    status: Status
    event_timestamp: datetime | None


class Reader:
    """Reads the wanted features of one group out of raw values.

    Parameters
    ----------
    codec
        The group's row codec.
    wanted
        Names of the features to give back.
    ttl
        How old a row may be: one of exactly this age is still present. None: any age.
    """

    def __init__(self, codec: RowCodec, wanted: Sequence[str], ttl: timedelta | None) -> None:
        self._decode = codec.decoder(wanted)
        self._nothing: dict[str, Any] = dict.fromkeys(wanted)
        self._ttl = None if ttl is None else ttl // timedelta(microseconds=1)

    def _oldest(self, now: datetime | None) -> bytes:
        """The first eight bytes of the oldest row that still counts."""
        if self._ttl is None:
            return b""
        moment = time_ns() // 1000 if now is None else micros(now)
        # Below the least int64 nothing can be too old.
        return sortable(max(moment - self._ttl, -(1 << 63)))

    def rows(self, values: Iterable[bytes | None], now: datetime | None) -> list[dict[str, Any]]:
        """One ``{feature: value}`` per raw value; all None where missing or expired.

        Ages are counted from `now`; None: the present moment.
        """
        decode, nothing, oldest = self._decode, self._nothing, self._oldest(now)
        # A row's bytes compare with its event time first, so no slice is needed.
        return [
            nothing.copy()
            if value is None or len(value) <= HEAD or value < oldest
            else decode(value)
            for value in values
        ]

    def answers(self, values: Iterable[bytes | None], now: datetime | None) -> list[Answer]:
        """The same with each entity's status and event time."""
        decode, nothing, oldest = self._decode, self._nothing, self._oldest(now)
        found = []
        for value in values:
            if value is None or len(value) <= HEAD:
                found.append(Answer(nothing.copy(), "missing", None))
            elif value < oldest:
                found.append(Answer(nothing.copy(), "expired", event_time(value)))
            else:
                found.append(Answer(decode(value), "present", event_time(value)))
        return found

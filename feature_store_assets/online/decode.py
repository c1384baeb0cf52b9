"""Raw values of the online store to features, with the ttl applied."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from feature_store_assets.online.row import HEAD, SIGN, RowCodec, event_micros

Status = Literal["present", "missing", "expired"]


class Told(NamedTuple):
    """What the online store knows of entities, in one group.

    Attributes
    ----------
    rows
        Values of the wanted features, a list per entity; all None unless it is present.
    statuses
        Per entity `present`, `missing` (no row) or `expired` (older than the ttl).
    times
        When each fact was known, microseconds since 1970 UTC; None when missing.
    """

    rows: list[list[Any]]
    statuses: list[Status]
    times: list[int | None]


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
        self.names = tuple(wanted)
        self.pick = codec.picker(wanted)
        self._decode = codec.decoder(wanted)
        self._nothing: dict[str, Any] = dict.fromkeys(wanted)
        self._ttl = None if ttl is None else ttl // timedelta(microseconds=1)

    def oldest(self, moment: int) -> int:
        """The time of the oldest row that still counts, as eight bytes tell it when unsigned."""
        # Below the least int64 nothing can be too old.
        return 0 if self._ttl is None else max(moment - self._ttl + SIGN, 0)

    def _oldest(self, moment: int) -> bytes:
        return b"" if self._ttl is None else self.oldest(moment).to_bytes(8, "big")

    def rows(self, values: Iterable[bytes | None], moment: int) -> list[dict[str, Any]]:
        """One ``{feature: value}`` per raw value; all None where missing or expired.

        Ages are counted from `moment`, microseconds since 1970.
        """
        decode, nothing, oldest = self._decode, self._nothing, self._oldest(moment)
        names = self.names
        # A row's bytes compare with its event time first, so no slice is needed.
        return [
            nothing.copy()
            if value is None or len(value) <= HEAD or value < oldest
            else dict(zip(names, decode(value), strict=False))
            for value in values
        ]

    def told(self, values: Iterable[bytes | None], moment: int) -> Told:
        """The same as lists, with each entity's status and event time."""
        decode, oldest, width = self._decode, self._oldest(moment), len(self.names)
        rows: list[list[Any]] = []
        statuses: list[Status] = []
        times: list[int | None] = []
        for value in values:
            if value is None or len(value) <= HEAD:
                rows.append([None] * width)
                statuses.append("missing")
                times.append(None)
            elif value < oldest:
                rows.append([None] * width)
                statuses.append("expired")
                times.append(event_micros(value))
            else:
                rows.append(decode(value))
                statuses.append("present")
                times.append(event_micros(value))
        return Told(rows, statuses, times)

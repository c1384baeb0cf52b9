"""Publishes partitions of an offline table into the online store.

However publishes of any number of processes interleave with commits, corrections, removals and
kills: once every partition has been published after its last change, and every killed publish has
been followed by another of its partitions, the online store holds the newest row per key of the
table. Rows dated after now are held back.

What keeps this true
--------------------
*Nothing online without a mark.* A mark says "rows of this partition at this version may stand
online". It is written before the rows are, also for the partitions that replacements come from,
and says ``putting`` until its publisher is done. A publisher copies the marks it builds upon under
its own token, so that nobody removes them meanwhile: what a killed one touched can be told from
the marks that it leaves.

*Every publisher answers for its own writes.* ``put`` keeps the greatest triple, so a slow
publisher can bring back what others took back already. It therefore looks at the table's version
after its last write and goes on while there is anything it wrote that a newer version contradicts.
Taken together: the last writer of a key has seen, after the write, a version in which it was right;
whatever changed later is published later, by someone who finds the mark.

*Doubtful keys are settled, not patched.* Keys of rows that went away, or that a killed publisher
may have touched, get what the whole table says at one version, whatever stands online, by
compare-and-swap. Where that fails, or a later version stands there, the key is another publisher's
to answer for. Keys once doubtful stay so until the last look; a publisher's own marks of every
version it looked at tell its follower which they were. The home of a row found right is marked,
too: for all who look later that key is settled.

Rows of a version that can no longer be read cannot be compared; then every online key of the
group is doubtful.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from feature_store_assets.errors import VersionExpired, WriteConflict
from feature_store_assets.online import OnlineStore
from feature_store_assets.online.row import (
    HEAD,
    KeySpace,
    encode_keys,
    encode_table,
    event_micros,
    instant,
    sortable,
    tombstone,
)

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


_DEAD = 24 * 3600.0  # seconds after which a publisher that left its mark is taken for killed
_SLOW = 3600.0  # seconds within which a publisher, once it has left its mark, has put its rows
_ROUNDS = 50
_TOLD = 20_000  # rows put between two calls of `wrote`

Wrote = Callable[[Sequence[bytes]], None]

_log = logging.getLogger(__name__)


class Source(Protocol):
    """What publishing asks of an offline table."""

    @property
    def keys(self) -> Sequence[str]:
        """Names of the join key columns."""
        ...

    @property
    def timestamp(self) -> str:
        """Name of the event timestamp column."""
        ...

    @property
    def created(self) -> str:
        """Name of the created timestamp column."""
        ...

    @property
    def slots(self) -> Sequence[str]:
        """The feature in each slot of an online row; no name where it was dropped."""
        ...

    def version(self) -> int:
        """The newest version of the table, looked up afresh."""
        ...

    def newest(
        self,
        *,
        version: int,
        until: datetime,
        partitions: Sequence[str] | None = None,
        keys: "pa.Table | None" = None,
    ) -> "pa.Table":
        """The row with the greatest (event, created) of each entity, dated `until` at the latest.

        Among the rows of those partitions (None: all) and of those keys (None: all). Columns:
        keys, timestamp, created, features, and ``partition``.
        """
        ...

    def rows(self, *, version: int, partitions: Sequence[str]) -> "pa.Table":
        """Keys, timestamp, created and ``partition`` of all rows of those partitions.

        Raises
        ------
        VersionExpired
            The table can no longer be read at that version.
        """
        ...


@dataclass(frozen=True, slots=True)
class Published:
    """What one publish did.

    Attributes
    ----------
    written
        Rows put online.
    older
        Rows left out because the store held one as new.
    taken_back
        Keys whose row went away and that hold another row of the table now.
    tombstones
        Keys whose row went away and that have none left.
    held_back
        Rows of these partitions dated after now.
    version
        The table version that the online rows were compared with last.
    swept
        Whether all online keys had to be compared, because a version published before can no
        longer be read.
    partitions
        What was published.
    """

    written: int
    older: int
    taken_back: int
    tombstones: int
    held_back: int
    version: int
    swept: bool
    partitions: tuple[str, ...]

    @classmethod
    def nothing(cls, version: int) -> Self:
        """Return what a publish of no partitions did."""
        return cls(0, 0, 0, 0, 0, version, swept=False, partitions=())

    def __add__(self, later: Self) -> Self:
        """Sum up what two publishes of one group did."""
        return type(self)(
            self.written + later.written,
            self.older + later.older,
            self.taken_back + later.taken_back,
            self.tombstones + later.tombstones,
            self.held_back + later.held_back,
            later.version,
            swept=self.swept or later.swept,
            partitions=(*self.partitions, *later.partitions),
        )


class _Mark(NamedTuple):
    partition: str
    state: str
    version: int
    token: str

    @classmethod
    def parse(cls, field: str) -> "_Mark":
        partition, _, rest = field.rpartition("\0")
        state, version, token = rest.split(":")
        return cls(partition, state, int(version), token)

    def __str__(self) -> str:
        return f"{self.partition}\0{self.state}:{self.version}:{self.token}"


def marked(store: OnlineStore, space: KeySpace) -> set[str]:
    """The partitions of which rows may stand online."""
    return {_Mark.parse(field).partition for field in store.marks(space.prefix)}


class Marks(NamedTuple):
    """What the marks of a generation say.

    Attributes
    ----------
    published
        The partitions of which rows may stand online, each with the version published last; -1
        where no publish has ended.
    unsettled
        Partitions that a publisher has begun and not ended. It may have been killed after it
        brought back a row that a later publish had taken back.
    """

    published: dict[str, int]
    unsettled: set[str]


def read_marks(store: OnlineStore, space: KeySpace) -> Marks:
    """Return what the marks of a generation say."""
    published: dict[str, int] = {}
    ended: dict[str, float] = {}
    begun: dict[str, float] = {}
    for field, moment in store.marks(space.prefix).items():
        mark = _Mark.parse(field)
        is_done = mark.state == "published"
        moments = ended if is_done else begun
        moments[mark.partition] = max(moment, moments.get(mark.partition, 0.0))
        version = mark.version if is_done else -1
        published[mark.partition] = max(version, published.get(mark.partition, -1))
    # A publish that ended long after has settled what any publisher did that began before.
    unsettled = {key for key, at in begun.items() if ended.get(key, 0.0) < at + _SLOW}
    return Marks(published, unsettled)


def publish(
    source: Source,
    store: OnlineStore,
    space: KeySpace,
    partitions: Sequence[str],
    *,
    now: datetime | None = None,
    wrote: Wrote | None = None,
) -> Published:
    """Make the online rows follow these partitions of the table.

    Parameters
    ----------
    space
        Where the group's rows stand online.
    partitions
        Partition keys; those that the table does not hold (any more) are taken back.
    now
        Rows dated later are held back; the present moment by default.
    wrote
        Told the keys of rows just put, every 20,000 of them: for caches, and to show progress.

    Raises
    ------
    WriteConflict
        The table changed faster than it could be followed. Publish again.
    OnlineStoreUnavailable
        The store went away. Publish again: nothing is lost, a part may be online already.
    """
    moment = now or datetime.now(UTC)
    return _Publisher(source, store, space, partitions, moment, wrote=wrote).run()


class _Publisher:
    def __init__(
        self,
        source: Source,
        store: OnlineStore,
        space: KeySpace,
        partitions: Sequence[str],
        now: datetime,
        *,
        wrote: Wrote | None,
    ) -> None:
        self._wrote = wrote
        self._source, self._store, self._space, self._now = source, store, space, now
        self._partitions = list(dict.fromkeys(partitions))
        self._token = secrets.token_hex(8)
        self._marked: set[_Mark] = set()
        self._sweeping = False
        # What settling wrote last to each key: whether it was a tombstone.
        self._settled: dict[bytes, bool] = {}

    def run(self) -> Published:
        source, partitions = self._source, self._partitions
        start = version = source.version()
        self._mark(partitions, version)
        former = self._former()
        self._mark_all(mark._replace(state="putting", token=self._token) for mark in former)
        fresh = self._encoded(
            source.newest(version=version, until=self._now, partitions=partitions), version
        )
        written = self._put(fresh)
        rows = self._rows(version, partitions)
        doubtful = self._doubtful(former, version, rows)
        for _ in range(_ROUNDS):
            clean = self._settle(doubtful, version)
            latest = source.version()
            if latest == version or (clean and version != start):
                break
            version = latest
            self._mark(partitions, version)
            doubtful = self._union([doubtful, self._gone(rows, self._rows(version, partitions))])
        else:
            raise WriteConflict(self._space.group, _ROUNDS)
        self._finish(former, version)
        import polars as pl

        tombstones = sum(self._settled.values())
        return Published(
            written=written,
            older=len(fresh) - written,
            taken_back=len(self._settled) - tombstones,
            tombstones=tombstones,
            held_back=rows.filter(pl.col(source.timestamp) > self._now).height,
            version=version,
            swept=self._sweeping,
            partitions=tuple(partitions),
        )

    def _put(self, rows: Sequence[tuple[bytes, bytes]]) -> int:
        written = 0
        for first in range(0, len(rows), _TOLD):
            part = rows[first : first + _TOLD]
            written += self._store.put(part)
            self._tell([key for key, _ in part])
        return written

    def _tell(self, keys: Sequence[bytes]) -> None:
        if self._wrote is not None:
            self._wrote(keys)

    # Marks

    def _mark(self, partitions: Iterable[str], version: int) -> None:
        self._mark_all(_Mark(home, "putting", version, self._token) for home in partitions)

    def _mark_all(self, marks: Iterable[_Mark]) -> None:
        new = set(marks) - self._marked
        if new:
            moment = time.time()
            self._store.mark(self._space.prefix, {str(mark): moment for mark in new})
            self._marked |= new

    def _former(self) -> dict[_Mark, float]:
        """Other publishers' marks of our partitions, with the moment each was written."""
        ours = set(self._partitions)
        found = self._store.marks(self._space.prefix)
        marks = {_Mark.parse(field): moment for field, moment in found.items()}
        return {
            mark: moment
            for mark, moment in marks.items()
            if mark.partition in ours and mark.token != self._token
        }

    def _finish(self, former: Mapping[_Mark, float], version: int) -> None:
        """Our marks say ``published``; those that they stand for now go away."""
        homes = {mark.partition for mark in self._marked}
        moment = time.time()
        done = [_Mark(home, "published", version, self._token) for home in homes]
        self._store.mark(self._space.prefix, {str(mark): moment for mark in done})
        # A living publisher removes its own. None is of a later version: the table's was looked up
        # after the marks.
        gone = [
            mark
            for mark, written in former.items()
            if mark.state == "published" or written < moment - _DEAD
        ]
        self._store.unmark(self._space.prefix, map(str, [*self._marked, *gone]))

    # Doubtful keys

    def _rows(self, version: int, partitions: Sequence[str]) -> "pl.DataFrame":
        import polars as pl

        return pl.DataFrame(self._source.rows(version=version, partitions=partitions))

    def _gone(self, then: "pl.DataFrame", now: "pl.DataFrame") -> "pl.DataFrame":
        """Keys of the rows that were there then and are not now."""
        source = self._source
        same = ["partition", *source.keys, source.timestamp, source.created]
        return then.join(now, on=same, how="anti").select(source.keys).unique()

    def _union(self, frames: Sequence["pl.DataFrame"]) -> "pl.DataFrame":
        import polars as pl

        return pl.concat(frames).unique()

    def _doubtful(
        self, former: Iterable[_Mark], version: int, rows: "pl.DataFrame"
    ) -> "pl.DataFrame":
        """Keys whose online row may be one that the table no longer holds."""
        import polars as pl

        frames = [rows.select(self._source.keys).clear()]
        homes: dict[int, dict[str, bool]] = {}
        for mark in former:
            if mark.version != version:
                unfinished = homes.setdefault(mark.version, {})
                unfinished[mark.partition] = (
                    unfinished.get(mark.partition, False) or mark.state == "putting"
                )
        for at, unfinished in homes.items():
            try:
                then = self._rows(at, list(unfinished))
            except VersionExpired:
                _log.warning(
                    "Version %d of '%s' can no longer be read, though its rows may be online: "
                    "comparing every online key.", at, self._space.group,
                )  # fmt: skip
                self._sweeping = True
                continue
            frames.append(self._gone(then, rows))
            killed = [home for home, putting in unfinished.items() if putting]
            if killed:
                # It may have settled keys of rows that were not there then and are back now.
                frames.append(self._gone(rows.filter(pl.col("partition").is_in(killed)), then))
        return self._union(frames)

    # Settling

    def _settle(self, doubtful: "pl.DataFrame", version: int) -> bool:
        """Give the doubtful keys what the whole table says at that version.

        True if all of them held it already, at home in partitions that were marked before.
        """
        if not doubtful.height and not self._sweeping:
            return True
        marked = len(self._marked)
        puts, swaps = self._repairs(doubtful, version)
        self._put(puts)
        self._store.replace(swaps)
        self._tell([key for key, _, _ in swaps])
        return not puts and not swaps and len(self._marked) == marked

    def _repairs(
        self, doubtful: "pl.DataFrame", version: int
    ) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes, bytes]]]:
        """Rows to put and rows to replace, their homes marked."""
        names, stored, table = self._compared(doubtful, version)
        wanted = dict(self._encoded(table, version))
        puts, swaps, right = [], [], []
        commit, nothing = sortable(version), tombstone(version)
        for name, old in zip(names, stored, strict=True):
            new = wanted.get(name, nothing)
            if old is None:
                if new is nothing:
                    continue
                puts.append((name, new))
            elif old[16:24] > commit or (old[:16] == new[:16] and old[24:] == new[24:]):
                right.append(name)  # or a later version's
                continue
            else:
                swaps.append((name, old, new))
            self._settled[name] = new is nothing
        # Also of rows that stand there already: what one has looked at, nobody looks at again.
        homes: list[Any] = table.column("partition").unique().to_pylist()
        self._mark(homes, version)
        self._tell(right)  # whoever put it may have been killed before telling
        return puts, swaps

    def _compared(
        self, doubtful: "pl.DataFrame", version: int
    ) -> tuple[list[bytes], list[bytes | None], "pa.Table"]:
        """The doubtful keys, what is online, and what the whole table holds for them."""
        source, keys = self._source, None
        if self._sweeping:
            names = list({name for chunk in self._store.scan(self._space.prefix) for name in chunk})
        else:
            keys = doubtful.to_arrow()
            names = encode_keys(self._space, keys, source.keys)
        stored = self._store.look(names)
        # What is online was due by the clock of whoever put it, if not by ours.
        due = max((value for value in stored if value and len(value) > HEAD), default=None)
        until = max(self._now, instant(event_micros(due))) if due else self._now
        return names, stored, source.newest(version=version, until=until, keys=keys)

    def _encoded(self, table: "pa.Table", version: int) -> list[tuple[bytes, bytes]]:
        source = self._source
        return encode_table(
            self._space,
            table,
            keys=source.keys,
            timestamp=source.timestamp,
            created=source.created,
            features=source.slots,
            commit=version,
        )

"""Which stored row answers each question of a spine, in one pass over keys and times.

The usual as-of join sorts the history. Here the questions are sorted, which are fewer: the
distinct (entity, time) pairs become slots, and each stored row is offered to the first slot of
its entity that may see it. A slot keeps the best offer; later slots of the entity inherit it. No
history is sorted or held, so memory follows the spine, however long the history is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from feature_store_assets.declaration.instants import earlier, instant
from feature_store_assets.offline.scan import ROW, ahead, windows
from feature_store_assets.offline.schema import CREATED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    import numpy.typing as npt
    import polars as pl

    from feature_store_assets.offline.scan import DataFile, Window

    Int64s = npt.NDArray[np.int64]

# Columns of the questions and of the plan; features may have these names, keys may not clash.
TIME, CODE, _LATEST = "__time", "__code", "__latest"
NONE = -1
_WORD = 63
_MICROSECOND = timedelta(microseconds=1)
_LONG_AGO = np.iinfo(np.int64).min
# Runs shorter than this on average are cheaper to sort than to merge one by one.
_RUN = 500


@dataclass(frozen=True)
class History:
    """The stored rows that may answer: their files, columns and what makes one eligible.

    Parameters
    ----------
    files
        In partition order; row numbers count over them.
    types
        The keys' and timestamps' declared types, by name.
    keys, event
        Names of the keys and of the event timestamp.
    ttl
        How old an answer may be.
    bitemporal
        A row counts only from the moment when it was recorded.
    recorded_by
        Only rows that were recorded by this instant.
    """

    files: Sequence[DataFile]
    types: dict[str, str]
    keys: list[str]
    event: str
    ttl: timedelta | None = None
    bitemporal: bool = False
    recorded_by: datetime | None = None


class Offers(NamedTuple):
    """Rows offered to slots: slot, event time, created time, row number."""

    slot: Int64s
    event: Int64s
    created: Int64s
    row: Int64s

    def take(self, chosen: Any) -> Offers:
        return Offers(*(values[chosen] for values in self))


def winners(
    questions: pl.DataFrame,
    history: History,
    *,
    batch_rows: int,
    advance: Callable[[int], None],
) -> Int64s:
    """Find the winning row of each question.

    Parameters
    ----------
    questions
        Keys typed as the table has them, and `__time`; nulls match nothing.
    history
        Where the rows are.
    batch_rows
        How many stored rows are looked at at once; `advance` is told of each batch.

    Returns
    -------
    The number of the winning row per question, -1 where there is none.
    """
    import polars as pl

    asked = questions.with_row_index(ROW).drop_nulls([*history.keys, TIME])
    found = np.full(questions.height, NONE, np.int64)
    if not asked.height:
        return found
    entities = (
        asked.group_by(history.keys)
        .agg(pl.col(TIME).max().alias(_LATEST))
        .sort(history.keys)
        .with_row_index(CODE)
    )
    slots = _Slots(asked.join(entities, on=history.keys, how="left", maintain_order="left"))

    def offers(window: Window) -> list[Offers]:
        return slots.offers(_read(window, history, entities, slots))

    parts = windows(history.files, batch_rows)
    for window, runs in zip(parts, ahead(offers, parts), strict=True):
        for run in runs:
            slots.keep(run)
        advance(window.rows)
    found[asked[ROW].to_numpy()] = slots.answer(history)
    return found


def _read(
    window: Window, history: History, entities: pl.DataFrame, slots: _Slots
) -> dict[str, Int64s]:
    """Read the rows that some question of their entity may see: codes, times, row numbers."""
    import polars as pl

    event, created = pl.col(history.event), pl.col(CREATED)
    rows = window.scan(history.types, numbered=True)
    # Files that lie wholly within the questions' times need no filter.
    oldest = None if history.ttl is None else earlier(slots.first, history.ttl)
    if oldest is not None and any(not file.first or file.first < oldest for file in window.files):
        rows = rows.filter(event >= oldest)
    if any(not file.last or file.last > slots.last for file in window.files):
        rows = rows.filter(event <= slots.last)
    if history.recorded_by is not None:
        rows = rows.filter(created <= history.recorded_by)
    # Unordered, which is cheaper; what belongs to no entity has no latest question.
    coded = rows.join(entities.lazy(), on=history.keys, how="left")
    visible = pl.max_horizontal(event, created) if history.bitemporal else event
    numbers = coded.filter(visible <= pl.col(_LATEST)).select(
        pl.col(CODE).cast(pl.Int64),
        visible.to_physical().alias("visible"),
        event.to_physical().alias("event"),
        created.to_physical().alias("created"),
        pl.col(ROW) + window.base,
    )
    frame = numbers.collect(engine="streaming")
    return {name: frame[name].to_numpy() for name in frame.columns}


class _Slots:
    """The distinct (entity, time) questions in order, and the best offer that each has had."""

    def __init__(self, asked: pl.DataFrame) -> None:
        import polars as pl

        coded = asked.select(pl.col(CODE).cast(pl.Int64), pl.col(TIME).to_physical())
        ordered = coded.with_row_index(ROW).sort(CODE, TIME)
        code, time = ordered[CODE].to_numpy(), ordered[TIME].to_numpy()
        starts = np.ones(len(code), bool)
        starts[1:] = (code[1:] != code[:-1]) | (time[1:] != time[:-1])
        self._of_question = np.empty(len(code), np.int64)
        self._of_question[ordered[ROW].to_numpy()] = np.cumsum(starts) - 1
        self._code, self._time = code[starts], time[starts]
        self._start = int(self._time.min())
        self._end = int(self._time.max())
        # Entity and time in one sortable number; where both do not fit, times are coarsened here
        # and compared exactly afterwards.
        bits = (self._end - self._start).bit_length()
        self._coarse = max(0, bits + int(self._code[-1]).bit_length() - _WORD)
        self._bits = bits - self._coarse
        self._packed = self._pack(self._code, self._time)
        self._event = np.full(len(self._code), _LONG_AGO)
        self._created = self._event.copy()
        self._row = np.full(len(self._code), NONE, np.int64)

    @property
    def first(self) -> datetime:
        return instant(self._start)

    @property
    def last(self) -> datetime:
        return instant(self._end)

    def _pack(self, code: Int64s, time: Int64s) -> Int64s:
        # Raised before it is subtracted: a time that was stored may be any number.
        since = np.maximum(time, self._start) - self._start
        return (code << self._bits) | (since >> self._coarse)

    def offers(self, rows: dict[str, Int64s]) -> list[Offers]:
        """Return which slot first sees each row: the last of each slot, in runs of rising slots.

        Each row must be visible to a question of its entity.
        """
        visible = rows["visible"]
        slot = np.searchsorted(self._packed, self._pack(rows[CODE], visible))
        if self._coarse:
            self._refine(slot, visible)
        offers = Offers(slot, rows["event"], rows["created"], rows[ROW])
        falls = _falls(offers)
        if len(falls) * _RUN > len(slot):
            offers = offers.take(np.lexsort((offers.created, offers.event, offers.slot)))
            falls = np.zeros(0, np.int64)
        edges = [0, *(falls + 1).tolist(), len(offers.slot)]
        return [
            _last_of_each_slot(offers.take(slice(start, stop)))
            for start, stop in pairwise(edges)
            if stop > start
        ]

    def _refine(self, slot: Int64s, visible: Int64s) -> None:
        """Move on from slots that only the coarse time took for late enough, in place."""
        early = np.flatnonzero(self._time[slot] < visible)
        while early.size:
            slot[early] += 1
            early = early[self._time[slot[early]] < visible[early]]

    def keep(self, run: Offers) -> None:
        """Let a run of offers win where they are newer than what their slots have."""
        event, created = self._event[run.slot], self._created[run.slot]
        newer = (run.event > event) | ((run.event == event) & (run.created > created))
        kept = run.take(newer)
        self._event[kept.slot] = kept.event
        self._created[kept.slot] = kept.created
        self._row[kept.slot] = kept.row

    def answer(self, history: History) -> Int64s:
        """Return the winning row of each question, once every offer was made."""
        best = self._newest() if history.bitemporal else self._latest()
        valid = (self._row[best] != NONE) & (self._code[best] == self._code)
        if history.ttl is not None:
            age = self._time - self._event[best]
            # Where there is no winner the age means nothing, and may have wrapped around.
            valid &= age <= history.ttl // _MICROSECOND
        return np.where(valid, self._row[best], NONE)[self._of_question]

    def _latest(self) -> Int64s:
        """The nearest slot at or before each that has an offer: what it saw is newest."""
        filled = np.where(self._row != NONE, np.arange(len(self._row)), 0)
        nearest: Int64s = np.maximum.accumulate(filled)
        return nearest

    def _newest(self) -> Int64s:
        """The slot at or before each with the newest offer: a late row may bring old news."""
        order = np.lexsort((self._created, self._event))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        # Ranks rise from entity to entity, so that no entity inherits from the one before.
        rank += self._code * len(order)
        newest = np.maximum.accumulate(rank) - self._code * len(order)
        slots: Int64s = order[newest]
        return slots


def _falls(offers: Offers) -> Int64s:
    """Where (slot, event, created) falls from one row to the next: files are sorted within."""
    slot, event, created = offers.slot, offers.event, offers.created
    same = slot[1:] == slot[:-1]
    older = (event[1:] < event[:-1]) | ((event[1:] == event[:-1]) & (created[1:] < created[:-1]))
    return np.flatnonzero((slot[1:] < slot[:-1]) | (same & older))


def _last_of_each_slot(run: Offers) -> Offers:
    last = np.ones(len(run.slot), bool)
    last[:-1] = run.slot[1:] != run.slot[:-1]
    return run.take(last)

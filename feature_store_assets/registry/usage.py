"""Who reads which features, how often and how many rows: counted in memory, kept in batches."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from feature_store_assets.errors import FeatureStoreError
from feature_store_assets.registry.database import usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from feature_store_assets.registry.database import Database

Path = Literal["online", "http", "training", "offline"]

# Seconds for which counts are kept in memory; a process that is killed loses them.
_KEPT = 60.0


@dataclass(frozen=True)
class Used:
    """How one feature was read by one consumer on one day.

    Attributes
    ----------
    consumer
        Who read: the actor's name.
    path
        `online`, `http`, `training` or `offline`.
    reads, rows
        Calls, and the rows that they asked for.
    """

    feature_group: str
    feature: str
    consumer: str
    path: str
    day: str
    reads: int
    rows: int


@dataclass(frozen=True)
class Reads:
    """How often one consumer read a feature of late.

    Attributes
    ----------
    feature
        `"group.feature"`.
    reads, rows
        Summed over the days; `last_day` is the last of them.
    """

    feature: str
    consumer: str
    path: str
    reads: int
    rows: int
    last_day: str


class Usage:
    """The table of usage.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, str, str, str], list[int]] = {}
        self._timer: threading.Timer | None = None

    def add(
        self,
        features: Iterable[tuple[str, Sequence[str]]],
        path: Path,
        reads: int,
        rows: int,
        consumer: str,
    ) -> None:
        """Count reads of features, by group; they are written within a minute, or by `flush`.

        Parameters
        ----------
        consumer
            Who read.
        """
        if not reads:
            return
        day = f"{datetime.now(UTC):%Y-%m-%d}"
        with self._lock:
            for group, names in features:
                for name in names:
                    counted = self._counts.setdefault((group, name, consumer, path, day), [0, 0])
                    counted[0] += reads
                    counted[1] += rows
            if self._timer is None:
                self._timer = threading.Timer(_KEPT, self._later)
                self._timer.daemon = True
                self._timer.start()

    def _later(self) -> None:
        try:
            self.flush()
        except FeatureStoreError:
            with self._lock:  # the registry is away: the next count starts another timer
                self._timer = None

    def flush(self) -> None:
        """Write what was counted."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            counts, self._counts = self._counts, {}
        if not counts or not self._database.exists:
            return
        try:
            with self._database.write() as connection:
                for place, (reads, rows) in counts.items():
                    _add(connection, place, reads, rows)
        except FeatureStoreError:
            with self._lock:
                for place, counted in counts.items():
                    kept = self._counts.setdefault(place, [0, 0])
                    kept[0] += counted[0]
                    kept[1] += counted[1]
            raise

    def forget(self, before: datetime, *, dry_run: bool) -> int:
        """Remove counts of days before an instant; return how many there are."""
        old = usage.c.day < f"{before.astimezone(UTC):%Y-%m-%d}"
        return self._database.remove(usage, old, dry_run=dry_run)

    def recent(self, feature_group: str | None = None, *, days: int = 30) -> list[Reads]:
        """Return what was read in the last days, today included, the most read first.

        Parameters
        ----------
        feature_group
            Only its features.
        """
        self.flush()
        before = f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}"
        found: dict[tuple[str, str, str], Reads] = {}
        for used in self.of(feature_group):  # the newest day first
            if used.day <= before:
                break
            place = f"{used.feature_group}.{used.feature}", used.consumer, used.path
            known = found.get(place, Reads(*place, 0, 0, used.day))
            found[place] = replace(
                known, reads=known.reads + used.reads, rows=known.rows + used.rows
            )
        return sorted(found.values(), key=lambda each: (-each.reads, each.feature))

    def of(self, feature_group: str | None = None) -> list[Used]:
        """Return what was read, the newest day first, then by how often."""
        query = sa.select(usage).order_by(
            usage.c.day.desc(), usage.c.reads.desc(), usage.c.feature_group, usage.c.feature
        )
        if feature_group is not None:
            query = query.where(usage.c.feature_group == feature_group)
        return [Used(**row) for row in self._database.rows(query)]


def _add(
    connection: sa.Connection, place: tuple[str, str, str, str, str], reads: int, rows: int
) -> None:
    names = ("feature_group", "feature", "consumer", "path", "day")
    named = dict(zip(names, place, strict=True))
    this = sa.and_(*(usage.c[name] == value for name, value in named.items()))
    more = {"reads": usage.c.reads + reads, "rows": usage.c.rows + rows}
    if not connection.execute(sa.update(usage).where(this).values(**more)).rowcount:
        connection.execute(sa.insert(usage).values(**named, reads=reads, rows=rows))

"""Leases: what only one process may do at a time, whatever host it runs on.

A lease expires unless its holder renews it. A holder that was killed loses it at once to others on
its own host, who see that the process is gone. The epoch grows with every holder: whoever was
taken over, say after its machine slept, finds another epoch and stops.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feature_store_assets.errors import FeatureStoreError, LeaseHeld, LeaseLost
from feature_store_assets.registry.database import leases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_store_assets.registry.database import Database

_LIFETIME = timedelta(seconds=60)
_RENEWED = 15.0  # seconds between two renewals
_LOOKS = 0.2  # seconds between two looks of somebody who waits


@dataclass(frozen=True)
class Lease:
    """A lease that this process holds; `epoch` is one more than that of the holder before."""

    name: str
    holder: str
    epoch: int
    database: Database

    def check(self) -> None:
        """Refuse to go on where somebody else holds the lease by now.

        Raises
        ------
        LeaseLost
            It expired and was taken over.
        """
        with self.database.read() as connection:
            found = connection.execute(sa.select(leases).where(self._this)).first()
        if found is None:
            raise LeaseLost(self.name)

    @property
    def _this(self) -> sa.ColumnElement[bool]:
        return sa.and_(
            leases.c.name == self.name,
            leases.c.holder == self.holder,
            leases.c.epoch == self.epoch,
        )

    def _set(self, **values: object) -> None:
        with self.database.write() as connection:
            connection.execute(sa.update(leases).where(self._this).values(**values))

    def _keep(self, ended: Event) -> None:
        """Renew the lease until it ends; a registry that is away is asked again."""
        while not ended.wait(_RENEWED):
            with suppress(FeatureStoreError):
                self._set(expires_at=datetime.now(UTC) + _LIFETIME)


class Leases:
    """The table of leases.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def hold(self, name: str, *, wait: bool = False) -> Iterator[Lease]:
        """Hold a lease for the length of a block.

        Parameters
        ----------
        name
            What is done alone: `"backup"`.
        wait
            Wait for another holder's end instead of refusing.

        Raises
        ------
        LeaseHeld
            Another live process, or another thread of this one, holds it.
        """
        lease = self._taken(name, wait=wait)
        ended = Event()
        keeping = Thread(target=lease._keep, args=(ended,), daemon=True)  # noqa: SLF001
        keeping.start()
        try:
            yield lease
        finally:
            ended.set()
            keeping.join()
            with suppress(FeatureStoreError):  # it expires by itself
                lease._set(holder="", expires_at=datetime.now(UTC))  # noqa: SLF001

    def _taken(self, name: str, *, wait: bool) -> Lease:
        waiting = Event()
        while True:
            try:
                return self._take(name)
            except LeaseHeld:
                if not wait:
                    raise
            waiting.wait(_LOOKS)

    def _take(self, name: str) -> Lease:
        now = datetime.now(UTC)
        with self._database.write() as connection:
            row = connection.execute(sa.select(leases).where(leases.c.name == name)).first()
            if row is not None and row.holder and now < row.expires_at and _lives(row.holder):
                raise LeaseHeld(name, row.holder)
            lease = Lease(name, _here(os.getpid()), (row.epoch if row else 0) + 1, self._database)
            values = {"holder": lease.holder, "epoch": lease.epoch, "expires_at": now + _LIFETIME}
            if row is None:
                connection.execute(sa.insert(leases).values(name=name, **values))
            else:
                connection.execute(sa.update(leases).where(leases.c.name == name).values(**values))
        return lease


def _here(pid: int) -> str:
    """Return what names a process of this host, and no later one of the same number."""
    return f"{_host()} {pid} {_began(pid)}"


def _host() -> str:
    """Return what names the host, and the container on it that numbers processes."""
    with suppress(OSError):
        return f"{socket.gethostname()}/{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    return socket.gethostname()


def _began(pid: int) -> str:
    """Return when a process began, as its kernel says; empty where that cannot be known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _lives(holder: str) -> bool:
    """Tell whether a holder may still be at work; of another host nobody here knows."""
    host, pid, began = (*holder.split(" "), "", "")[:3]
    if host != _host() or not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return _began(int(pid)) == began

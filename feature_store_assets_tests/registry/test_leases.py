"""Leases: one holder at a time; a killed one is followed at once, a lost one finds out."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from feature_store_assets.errors import LeaseHeld, LeaseLost
from feature_store_assets.registry.database import Database, leases
from feature_store_assets.registry.leases import Leases

HOLD = """
import signal, sys
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.leases import Leases
with Leases(Database(sys.argv[1])).hold("backup"):
    print("held", flush=True)
    signal.pause()
"""


def stored(database: Database) -> tuple[str, int]:
    with database.read() as connection:
        row = connection.execute(sa.select(leases)).one()
    return row.holder, row.epoch


def change(database: Database, **values: object) -> None:
    with database.write() as connection:
        connection.execute(sa.update(leases).values(**values))


def test_a_lease_has_one_holder_and_its_epoch_grows(database: Database) -> None:
    with Leases(database).hold("backup") as lease:
        assert lease.epoch == 1
        lease.check()
        with (
            pytest.raises(LeaseHeld, match=f"at 'backup' .*{os.getpid()}"),
            Leases(database).hold("backup"),
        ):
            pass
        with Leases(database).hold("export"):
            pass
    with Leases(database).hold("backup") as lease:
        assert lease.epoch == 2


def test_a_lease_is_let_go_of_by_an_error(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), Leases(database).hold("backup"):
        raise ZeroDivisionError
    assert stored(database) == ("", 1)


def test_a_killed_holder_is_followed_at_once(database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    child = subprocess.Popen([sys.executable, "-c", HOLD, url], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(LeaseHeld), Leases(database).hold("backup"):
            pass
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        with Leases(database).hold("backup") as lease:
            assert lease.epoch == 2


def test_a_holder_on_another_host_is_followed_once_its_lease_expired(database: Database) -> None:
    with Leases(database).hold("backup"):
        pass
    change(database, holder="elsewhere/pid:[1] 17 99", expires_at=datetime.now(UTC) + timedelta(1))
    with pytest.raises(LeaseHeld, match="elsewhere"), Leases(database).hold("backup"):
        pass
    change(database, expires_at=datetime.now(UTC) - timedelta(microseconds=1))
    with Leases(database).hold("backup") as lease:
        assert lease.epoch == 2


def test_who_was_taken_over_finds_out_and_lets_the_other_be(database: Database) -> None:
    with Leases(database).hold("backup") as lease:
        change(database, holder="elsewhere", epoch=2)
        with pytest.raises(LeaseLost, match="'backup' was taken over"):
            lease.check()
    assert stored(database) == ("elsewhere", 2)


def test_who_waits_comes_next(database: Database) -> None:
    order = list[str]()

    def wait() -> None:
        with Leases(database).hold("backup", wait=True):
            order.append("second")

    with Leases(database).hold("backup"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]

"""The audit log: nothing goes in twice or gets lost, nothing in it can be changed unseen."""

import multiprocessing
from pathlib import Path

import pytest
import sqlalchemy as sa

from feature_store_assets.errors import AuditBroken, DataError
from feature_store_assets.registry.actor import Actor
from feature_store_assets.registry.audit import Audit
from feature_store_assets.registry.database import Database, audit

_spawn = multiprocessing.get_context("spawn")


def filled(database: Database, count: int = 9) -> Audit:
    log = Audit(database.acting_as(Actor("ann")))
    for number in range(count):
        log.add("apply", f"group g{number}", {"features": number})
    return log


def change(database: Database, *statements: sa.Executable) -> None:
    with database.write() as connection:
        for statement in statements:
            connection.execute(statement)


def at(sequence: int) -> sa.ColumnElement[bool]:
    return audit.c.sequence == sequence


def test_entries_come_back_in_order_without_gaps(database: Database) -> None:
    log = filled(database)
    entries = log.entries()
    assert [entry.sequence for entry in entries] == list(range(1, 10))
    assert (entries[3].actor, entries[3].action, entries[3].subject) == ("ann", "apply", "group g3")
    assert entries[3].detail == {"features": 3}
    assert log.entries(after=7) == entries[7:]
    assert log.newest(2) == entries[7:]
    assert log.verify() == 9


def test_an_empty_log_is_sound(database: Database, tmp_path: Path) -> None:
    with database.write():  # brings the schema up to date
        log = Audit(database)
    assert (log.entries(), log.newest(5), log.verify()) == ([], [], 0)
    with pytest.raises(DataError, match="empty"):
        log.checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "bob"),
        ("action", "read"),
        ("subject", "group h"),
        ("detail", '{"features":7}'),
        ("at", "2024-01-01T00:00:00.000000+00:00"),
        ("digest", "0" * 64),
    ],
)
def test_an_edited_entry_is_named(database: Database, column: str, value: str) -> None:
    log = filled(database)
    change(database, sa.update(audit).where(at(4)).values({column: value}))
    with pytest.raises(AuditBroken, match=r"entry 4 \(.*\) was edited"):
        log.verify()


def test_an_edit_with_a_new_digest_breaks_the_chain(database: Database) -> None:
    log = filled(database)
    change(database, sa.update(audit).where(at(4)).values(actor="bob"))
    forged = log.entries()[3].computed()
    change(database, sa.update(audit).where(at(4)).values(digest=forged))
    with pytest.raises(AuditBroken, match="entry 5 does not follow entry 4"):
        log.verify()


@pytest.mark.parametrize(
    ("gone", "told"), [([1], "missing: 1"), ([4], "missing: 4"), ([4, 5, 6], "missing: 4 to 6")]
)
def test_removed_entries_are_named(database: Database, gone: list[int], told: str) -> None:
    log = filled(database)
    change(database, sa.delete(audit).where(audit.c.sequence.in_(gone)))
    with pytest.raises(AuditBroken, match=f"{told}[.;]"):
        log.verify()


def test_swapped_entries_are_named(database: Database) -> None:
    log = filled(database)
    for old, new in ((4, 100), (5, 4), (100, 5)):
        change(database, sa.update(audit).where(at(old)).values(sequence=new))
    with pytest.raises(AuditBroken, match=r"entry 4 .* was edited; entry 5 .* was edited"):
        log.verify()


def test_a_checkpoint_shows_a_cut_end_and_a_chain_made_anew(
    database: Database, tmp_path: Path
) -> None:
    log, kept = filled(database), tmp_path / "checkpoint.json"
    assert log.checkpoint(kept).sequence == 9
    log.add("apply", "group later")
    assert log.verify(kept) == 10
    change(database, sa.delete(audit).where(audit.c.sequence > 6))
    assert log.verify() == 6
    with pytest.raises(AuditBroken, match="entries 7 to 9 were cut off"):
        log.verify(kept)
    change(database, sa.delete(audit))
    filled(database)
    assert log.verify() == 9
    with pytest.raises(AuditBroken, match="entry 9 is not the one of the checkpoint"):
        log.verify(kept)


def _append(url: str, count: int) -> None:
    database = Database(url)
    for number in range(count):
        Audit(database).add("write", f"group g{number}")
    database.close()


@pytest.mark.slow
def test_writers_at_the_same_time_leave_one_chain(url: str, database: Database) -> None:
    filled(database, 1)
    writers = [_spawn.Process(target=_append, args=(url, 30)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 2
    assert Audit(database).verify() == 61

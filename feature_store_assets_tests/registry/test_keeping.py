"""Holds, removals and snapshots as the registry records them, over SQLite and PostgreSQL alike."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from feature_store_assets.errors import (
    HoldNotFound,
    NameTaken,
    SnapshotNotFound,
    VersionExpired,
)
from feature_store_assets.registry.actor import Actor
from feature_store_assets.registry.audit import Audit
from feature_store_assets.registry.database import _MIGRATIONS, Database, pins
from feature_store_assets.registry.holds import Holds
from feature_store_assets.registry.pins import Pins
from feature_store_assets.registry.removed_partitions import Removal, Removals
from feature_store_assets.registry.snapshots import SnapshotTable
from feature_store_assets.transfer.row_codec import in_schema

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)


def manifest(name: str, *groups: tuple[str, int, int], **given: Any) -> dict[str, Any]:
    held = [
        {"group": group, "version": number, "table_version": version}
        for group, number, version in groups
    ]
    told = {"tags": {}, "description": "", "created_by": "ann", "created_at": NOW.isoformat()}
    return {"name": name, "groups": held, **told, **given}


def removal(partition: str, **given: Any) -> Removal:
    return Removal("a", 1, partition, NOW, NOW, 3, 99, NOW, **given)


def test_a_hold_is_placed_replaced_and_lifted(database: Database) -> None:
    holds = Holds(database.acting_as(Actor("law")))
    holds.place("group", "a", "case 7")
    holds.place("snapshot", "a", "case 8")
    hold = holds.place("group", "a", "case 9")
    assert (holds.of("group", "a"), holds.of("group", "b")) == (hold, None)
    assert [(each.kind, each.reason) for each in holds.all()] == [
        ("group", "case 9"),
        ("snapshot", "case 8"),
    ]
    holds.lift("group", "a")
    with pytest.raises(HoldNotFound, match="no hold on snapshot 'b'"):
        holds.lift("snapshot", "b")
    said = [(each.action, each.subject, each.actor) for each in Audit(database).entries()]
    assert said[-1] == ("unhold", "group a", "law")


def test_removals_are_recorded_before_and_after(database: Database) -> None:
    removals = Removals(database)
    removals.intend([removal("p1"), removal("p2")])
    assert removals.of("a", 1) == [removal("p1"), removal("p2")]
    removals.committed([removal("p1")], 7)
    assert [each.table_version for each in removals.of("a", 1)] == [7, None]
    removals.freed([removal("p1")])
    freed = [each.freed_at is not None for each in removals.of("a", 1)]
    assert freed == [True, False]
    # Written again, and removed again.
    removals.intend([removal("p1")])
    assert removals.of("a", 1)[0] == removal("p1")
    assert removals.of("a", 2) == []


def test_a_snapshot_that_comes_too_late_is_refused(database: Database) -> None:
    table, removals = SnapshotTable(database), Removals(database)
    table.add(manifest("early", ("a", 1, 6), ("b", 1, 1)))
    removals.committed([removal("p1")], 7)
    with pytest.raises(VersionExpired, match="'a' can no longer be read as of version 6"):
        table.add(manifest("late", ("b", 1, 1), ("a", 1, 6)))
    assert [each.name for each in table.all()] == ["early"]
    assert {pin.owner for pin in Pins(database).all()} == {"early"}
    table.add(manifest("after", ("a", 1, 7), ("a", 2, 0)))
    # A floor never sinks.
    assert removals.raise_floor("a", 1, 3) == [6, 7]
    with pytest.raises(VersionExpired):
        table.add(manifest("late", ("a", 1, 6)))


def test_a_snapshot_is_recorded_once_and_removed_with_its_pins(database: Database) -> None:
    table = SnapshotTable(database.acting_as(Actor("ann")))
    made = table.add(manifest("s", ("a", 1, 6), tags={"keep": "forever"}))
    with pytest.raises(NameTaken):
        table.add(manifest("s", ("b", 1, 1)))
    assert table.get("s") == made
    assert table.manifest("s")["groups"][0]["table_version"] == 6
    table.remove("s")
    with pytest.raises(SnapshotNotFound, match="There are none yet"):
        table.get("s")
    assert Pins(database).all() == []
    last = Audit(database).entries()[-1]
    assert (last.action, last.subject, last.actor) == ("delete", "snapshot s", "ann")


def test_pins_of_an_older_schema_become_snapshots(database: Database) -> None:
    rows = [
        {
            "snapshot": name, "feature_group": group, "group_version": 1, "table_version": 3,
            "description": "d", "created_by": "ann", "created_at": NOW,
        }
        for name, group in [("old", "a"), ("old", "b"), ("training-set:t", "a")]
    ]  # fmt: skip
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    opened = database.engine.connect().execution_options(writes=True)
    with opened as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        connection.execute(sa.insert(in_schema(pins, "0006")), rows)
    table = SnapshotTable(database)
    Audit(database).add("look", "registry")  # the first write brings the schema up to date
    (found,) = table.all()
    assert (found.name, found.created_by, found.created_at) == ("old", "ann", NOW)
    held = table.manifest("old")
    assert [(each["group"], each["files"]) for each in held["groups"]] == [("a", None), ("b", None)]
    assert json.loads(json.dumps(held)) == held

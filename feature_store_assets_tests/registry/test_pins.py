"""Pins: which table versions a snapshot holds, over SQLite and PostgreSQL alike."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from feature_store_assets.errors import NameTaken, SnapshotNotFound
from feature_store_assets.registry.database import _MIGRATIONS, Database, pins
from feature_store_assets.registry.declarations import Applied
from feature_store_assets.registry.pins import OwnerKind, Pins
from feature_store_assets.transfer.row_codec import in_schema


def test_a_snapshot_pins_groups_at_versions(database: Database) -> None:
    table = Pins(database)
    before = datetime.now(UTC)
    table.add("s", [("a", 1, 7), ("b", 2, 9)], description="why", created_by="me")
    found = table.of("s")
    assert [(p.feature_group, p.group_version, p.table_version) for p in found] == [
        ("a", 1, 7),
        ("b", 2, 9),
    ]
    assert {(p.owner, p.description, p.created_by) for p in found} == {("s", "why", "me")}
    made = found[0].created_at
    assert timedelta(0) <= made - before < timedelta(minutes=1)


def test_a_name_is_given_once_and_the_second_pins_nothing(database: Database) -> None:
    table = Pins(database)
    table.add("s", [("a", 1, 7)], description="", created_by="")
    with pytest.raises(NameTaken, match="'s' exists already, and snapshots never change"):
        table.add("s", [("b", 1, 1)], description="", created_by="")
    assert len(table.all()) == 1


def test_pins_are_found_by_group_and_version(database: Database) -> None:
    table = Pins(database)
    for table_version, name in enumerate(["first", "second"]):
        table.add(name, [("a", 1, table_version)], description="", created_by="")
    table.add("third", [("a", 2, 0)], description="", created_by="")
    assert [pin.owner for pin in table.of_group("a", 1)] == ["first", "second"]
    assert [pin.owner for pin in table.all()] == ["first", "second", "third"]


def test_an_unknown_snapshot_gets_a_suggestion(database: Database) -> None:
    table = Pins(database)
    table.add("churn-2024", [("a", 1, 0)], description="", created_by="")
    with pytest.raises(SnapshotNotFound, match=r"'churn-2023'. Did you mean 'churn-2024'"):
        table.of("churn-2023")


def test_before_there_is_a_registry_there_are_no_pins(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'registry.db'}")
    assert Pins(database).all() == []
    with pytest.raises(SnapshotNotFound, match="There are none yet"):
        Pins(database).of("s")


def test_owners_of_different_kinds_may_have_one_name(database: Database) -> None:
    table = Pins(database)
    kinds: tuple[OwnerKind, ...] = ("snapshot", "training_set", "export", "backup")
    for version, kind in enumerate(kinds):
        table.add("s", [("a", 1, version)], kind=kind, description="", created_by="")
    with pytest.raises(NameTaken, match="A training set named 's' exists"):
        table.add("s", [("b", 1, 1)], kind="training_set", description="", created_by="")
    assert [pin.table_version for pin in table.of("s")] == [0]
    assert [pin.table_version for pin in table.of("training-set:s")] == [1]
    table.remove("s", "training_set")
    assert [pin.owner_kind for pin in table.all()] == ["snapshot", "export", "backup"]
    with pytest.raises(SnapshotNotFound, match="There are: 's'"):
        table.of("training-set:s")


def test_owners_named_by_a_prefix_get_their_kind_from_a_migration(database: Database) -> None:
    names = ["backup:b", "export:e", "s", "training-set:t"]
    made = {"feature_group": "a", "group_version": 1, "description": "d", "created_by": "ann",
            "created_at": datetime(2024, 1, 1, 12, tzinfo=UTC)}  # fmt: skip
    rows = [{"snapshot": name, "table_version": at, **made} for at, name in enumerate(names)]
    scripts = Config()
    scripts.set_main_option("script_location", str(_MIGRATIONS))
    opened = database.engine.connect().execution_options(writes=True)
    with opened as connection, connection.begin():
        scripts.attributes["connection"] = connection
        command.upgrade(scripts, "0008")
        connection.execute(sa.insert(in_schema(pins, "0008")), rows)
    Applied(database).apply([])  # the first write brings the schema up to date
    found = Pins(database).all()
    assert [(pin.owner_kind, pin.owner, pin.table_version) for pin in found] == [
        ("backup", "b", 0), ("export", "e", 1), ("snapshot", "s", 2), ("training_set", "t", 3),
    ]  # fmt: skip
    assert {pin.created_at for pin in found} == {made["created_at"]}

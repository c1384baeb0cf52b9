"""Pins: which table versions a snapshot holds, over SQLite and PostgreSQL alike."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_store_assets.errors import NameTaken, SnapshotNotFound
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.pins import Pins


def test_a_snapshot_pins_groups_at_versions(database: Database) -> None:
    pins = Pins(database)
    before = datetime.now(UTC)
    pins.add("s", [("a", 1, 7), ("b", 2, 9)], description="why", created_by="me")
    found = pins.of("s")
    assert [(p.feature_group, p.group_version, p.table_version) for p in found] == [
        ("a", 1, 7),
        ("b", 2, 9),
    ]
    assert {(p.snapshot, p.description, p.created_by) for p in found} == {("s", "why", "me")}
    made = found[0].created_at
    assert timedelta(0) <= made - before < timedelta(minutes=1)


def test_a_name_is_given_once_and_the_second_pins_nothing(database: Database) -> None:
    pins = Pins(database)
    pins.add("s", [("a", 1, 7)], description="", created_by="")
    with pytest.raises(NameTaken, match="'s' exists already, and snapshots never change"):
        pins.add("s", [("b", 1, 1)], description="", created_by="")
    assert len(pins.all()) == 1


def test_pins_are_found_by_group_and_version(database: Database) -> None:
    pins = Pins(database)
    for table_version, name in enumerate(["first", "second"]):
        pins.add(name, [("a", 1, table_version)], description="", created_by="")
    pins.add("third", [("a", 2, 0)], description="", created_by="")
    assert [pin.snapshot for pin in pins.of_group("a", 1)] == ["first", "second"]
    assert [pin.snapshot for pin in pins.all()] == ["first", "second", "third"]


def test_an_unknown_snapshot_gets_a_suggestion(database: Database) -> None:
    pins = Pins(database)
    pins.add("churn-2024", [("a", 1, 0)], description="", created_by="")
    with pytest.raises(SnapshotNotFound, match=r"'churn-2023'. Did you mean 'churn-2024'"):
        pins.of("churn-2023")


def test_before_there_is_a_registry_there_are_no_pins(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'registry.db'}")
    assert Pins(database).all() == []
    with pytest.raises(SnapshotNotFound, match="There are none yet"):
        Pins(database).of("s")

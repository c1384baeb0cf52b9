"""Which training sets there are, over SQLite and PostgreSQL alike."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from feature_store_assets.errors import RegistryUnusable, TrainingSetNotFound
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.training_sets import Recorded, TrainingSetTable

MADE = datetime(2024, 6, 1, 12, 30, 15, 123456, UTC)
CHURN = Recorded("churn-2024.06", "ab" * 32, "churn", 5_000_000_000, "why", "me", MADE)


def test_what_is_recorded_comes_back_as_it_was(database: Database) -> None:
    table = TrainingSetTable(database)
    table.add(CHURN)
    assert table.get(CHURN.name) == CHURN
    assert table.all() == [CHURN]
    assert table.get(CHURN.name).created_at.tzinfo is not None


def test_an_instant_of_another_zone_stays_the_same_instant(database: Database) -> None:
    table = TrainingSetTable(database)
    there = MADE.astimezone(timezone(timedelta(hours=-7)))
    table.add(replace(CHURN, created_at=there.astimezone(UTC)))
    assert table.get(CHURN.name).created_at == there


def test_they_come_by_name(database: Database) -> None:
    table = TrainingSetTable(database)
    for name in ("b", "c", "a"):
        table.add(replace(CHURN, name=name))
    assert [recorded.name for recorded in table.all()] == ["a", "b", "c"]


def test_a_name_is_recorded_once(database: Database) -> None:
    table = TrainingSetTable(database)
    table.add(CHURN)
    with pytest.raises(RegistryUnusable, match=r"UNIQUE|unique"):
        table.add(replace(CHURN, rows=1))
    assert table.all() == [CHURN]


def test_an_unknown_name_gets_a_suggestion(database: Database) -> None:
    table = TrainingSetTable(database)
    table.add(CHURN)
    with pytest.raises(TrainingSetNotFound, match=r"'churn-2024'\. Did you mean 'churn-2024.06'"):
        table.get("churn-2024")


def test_before_there_is_a_registry_there_are_none(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'registry.db'}")
    assert TrainingSetTable(database).all() == []
    with pytest.raises(TrainingSetNotFound, match="There are none yet: make one with"):
        TrainingSetTable(database).get("churn")
    assert not database.exists

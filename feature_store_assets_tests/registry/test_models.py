"""Which models were logged, over SQLite and PostgreSQL alike."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_store_assets.errors import DataError, DeclarationError, ModelNotFound, NameTaken
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.models import Model, Models

LOGGED = datetime(2024, 6, 1, 12, 30, 15, 123456, UTC)
CHURN = Model(
    "churn-v1",
    "churn-2024",
    "churn",
    ("spending.spent", "people.age"),
    ("team:churn", "ann@example.org"),
    "https://churn.example.org",
    "First try.",
    "ann",
    LOGGED,
)


def test_what_is_logged_comes_back_as_it_was(database: Database) -> None:
    models = Models(database)
    assert models.add(CHURN)
    assert models.get("churn-v1") == CHURN
    assert models.all() == [CHURN]


def test_models_come_by_name(database: Database) -> None:
    models = Models(database)
    for name in ("b", "c", "a"):
        models.add(replace(CHURN, name=name))
    assert [model.name for model in models.all()] == ["a", "b", "c"]


def test_the_same_again_changes_nothing_whoever_logs_it(database: Database) -> None:
    models = Models(database)
    models.add(CHURN)
    later = replace(CHURN, logged_at=LOGGED + timedelta(days=1), logged_by="bob")
    assert not models.add(later)
    assert models.get("churn-v1") == CHURN


@pytest.mark.parametrize(
    "other", [{"training_set": "other"}, {"endpoint": ""}, {"owners": ()}, {"description": "?"}]
)
def test_a_name_is_given_once(database: Database, other: dict[str, object]) -> None:
    models = Models(database)
    models.add(CHURN)
    with pytest.raises(NameTaken, match="A model named 'churn-v1' exists already"):
        models.add(replace(CHURN, **other))  # type: ignore[arg-type]  # one field each
    assert models.all() == [CHURN]


def test_an_unknown_name_gets_a_suggestion(database: Database) -> None:
    models = Models(database)
    models.add(CHURN)
    with pytest.raises(ModelNotFound, match="Did you mean 'churn-v1'"):
        models.get("churn-v2")


def test_names_and_owners_are_checked() -> None:
    with pytest.raises(DataError, match="'no/name' cannot name a model"):
        replace(CHURN, name="no/name")
    with pytest.raises(DeclarationError, match="'nobody' cannot own 'churn-v1'"):
        replace(CHURN, owners=("nobody",))


def test_before_there_is_a_registry_there_are_none(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'registry.db'}")
    assert Models(database).all() == []
    with pytest.raises(ModelNotFound, match="There are none yet: training code calls `log_model`"):
        Models(database).get("churn-v1")
    assert not database.exists

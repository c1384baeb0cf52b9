"""Which models were trained on which training set, and where they answer."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from feature_store_assets.declaration.feature import checked_label, checked_owners
from feature_store_assets.errors import ModelNotFound, NameTaken
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.database import models

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_store_assets.registry.database import Database

_LISTS = ("features", "owners")


@dataclass(frozen=True)
class Model:
    """One trained model.

    Parameters
    ----------
    name
        Up to 100 letters, digits, '_', '-' and '.', starting with a letter.
    training_set, view, features
        What it was trained on; features as `"group.feature"`.
    owners
        E-mail addresses or `team:name`.
    endpoint
        Where it answers, or "".
    """

    name: str
    training_set: str
    view: str
    features: tuple[str, ...]
    owners: tuple[str, ...]
    endpoint: str
    description: str
    logged_by: str
    logged_at: datetime

    def __post_init__(self) -> None:
        checked_label(self.name, "model")
        checked_owners(self.owners, self.name)


class Models:
    """The table of models.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, model: Model) -> bool:
        """Record a model; return whether it is new.

        Raises
        ------
        NameTaken
            A model of that name was logged with other content.
        """
        query = sa.select(models).where(models.c.name == model.name)
        with self._database.write() as connection:
            row = connection.execute(query).mappings().first()
            if row is None:
                connection.execute(sa.insert(models).values(_row(model)))
                told = {"training_set": model.training_set, "endpoint": model.endpoint}
                append(connection, "log", f"model {model.name}", told)
                return True
        known = _model(row)
        if replace(model, logged_by=known.logged_by, logged_at=known.logged_at) != known:
            raise NameTaken(model.name, "model")
        return False

    def all(self) -> list[Model]:
        """Return every model, by name."""
        query = sa.select(models).order_by(models.c.name)
        return [_model(row) for row in self._database.rows(query)]

    def get(self, name: str) -> Model:
        """Return one model."""
        every = {model.name: model for model in self.all()}
        if name not in every:
            raise ModelNotFound(name, every)
        return every[name]


def _row(model: Model) -> dict[str, Any]:
    return {**asdict(model), **{name: json.dumps(getattr(model, name)) for name in _LISTS}}


def _model(row: Mapping[Any, Any]) -> Model:
    return Model(**{**row, **{name: tuple(json.loads(row[name])) for name in _LISTS}})

"""Which training sets there are, and what each must look like."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feature_store_assets.errors import TrainingSetNotFound
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.database import training_sets

if TYPE_CHECKING:
    from feature_store_assets.registry.database import Database


@dataclass(frozen=True)
class Recorded:
    """One training set; `digest` is the SHA-256 of its manifest."""

    name: str
    digest: str
    view: str
    rows: int
    description: str
    created_by: str
    created_at: datetime


class TrainingSetTable:
    """The table of training sets.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, recorded: Recorded) -> None:
        """Record a training set; its name must be new."""
        with self._database.write() as connection:
            told = {"view": recorded.view, "rows": recorded.rows, "digest": recorded.digest}
            append(connection, "create", f"training set {recorded.name}", told)
            connection.execute(sa.insert(training_sets).values(asdict(recorded)))

    def all(self) -> list[Recorded]:
        """Return every training set, by name."""
        query = sa.select(training_sets).order_by(training_sets.c.name)
        return [Recorded(**row) for row in self._database.rows(query)]

    def get(self, name: str) -> Recorded:
        """Return one training set."""
        every = {recorded.name: recorded for recorded in self.all()}
        if name not in every:
            raise TrainingSetNotFound(name, every)
        return every[name]

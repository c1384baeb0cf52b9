"""Legal holds: what nobody may remove, whatever its age."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from feature_store_assets.errors import HoldNotFound
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.database import holds

if TYPE_CHECKING:
    from feature_store_assets.registry.database import Database

Held = Literal["group", "snapshot"]


@dataclass(frozen=True)
class Hold:
    """A group or snapshot that must stay, and why."""

    kind: str
    name: str
    reason: str
    placed_by: str
    placed_at: datetime


class Holds:
    """The table of legal holds.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def place(self, kind: Held, name: str, reason: str) -> Hold:
        """Hold a group or snapshot; a second hold replaces the first one's reason."""
        hold = Hold(kind, name, reason, self._database.actor.name, datetime.now(UTC))
        with self._database.write() as connection:
            append(connection, "hold", f"{kind} {name}", {"reason": reason})
            connection.execute(sa.delete(holds).where(*_this(kind, name)))
            connection.execute(sa.insert(holds).values(asdict(hold)))
        return hold

    def lift(self, kind: Held, name: str) -> None:
        """Let go of what was held.

        Raises
        ------
        HoldNotFound
            Nothing of that name is held.
        """
        with self._database.write() as connection:
            if not connection.execute(sa.delete(holds).where(*_this(kind, name))).rowcount:
                known = connection.execute(
                    sa.select(holds.c.name).where(holds.c.kind == kind)
                ).scalars()
                raise HoldNotFound(kind, name, known)
            append(connection, "unhold", f"{kind} {name}", {})

    def all(self) -> list[Hold]:
        """Return every hold, by kind and name."""
        query = sa.select(holds).order_by(holds.c.kind, holds.c.name)
        return [Hold(**row) for row in self._database.rows(query)]

    def of(self, kind: Held, name: str) -> Hold | None:
        """Return the hold on a group or snapshot, if there is one."""
        found = (each for each in self.all() if (each.kind, each.name) == (kind, name))
        return next(found, None)


def _this(kind: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (holds.c.kind == kind, holds.c.name == name)

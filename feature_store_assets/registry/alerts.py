"""An outbox of alerts: written where something happens, sent by whoever can, lost by none."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from feature_store_assets.registry.database import alerts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from feature_store_assets.config import AlertKind, Severity
    from feature_store_assets.registry.database import Database

_KEPT = timedelta(days=90)
_AT_ONCE = 10_000


@dataclass(frozen=True)
class Alert:
    """Something that people should know.

    Parameters
    ----------
    kind, severity
        What happened, and how bad it is.
    title, body
        One line, and what more there is to say.
    key
        What happened, up to 255 characters; told once while an alert of that key waits.
    group, owners
        The feature group that it is about, and who owns that.
    """

    kind: AlertKind
    severity: Severity
    title: str
    body: str
    key: str
    group: str | None = None
    owners: tuple[str, ...] = ()


@dataclass(frozen=True)
class Waiting:
    """An alert that somebody has not been told yet; `told` are the places that have."""

    id: int
    alert: Alert
    told: frozenset[str]


class Heard(NamedTuple):
    """Something like this was told somewhere."""

    place: str
    kind: str
    severity: str
    group: str | None


class Alerts:
    """The table of alerts.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, *new: Alert) -> None:
        """Put alerts into the outbox, all or none; those whose key waits there are left out."""
        by_key = {alert.key: alert for alert in reversed(new)}
        if not by_key:
            return
        waiting = sa.select(alerts.c.key).where(alerts.c.sent_at.is_(None))
        now = datetime.now(UTC)
        with self._database.write() as connection:
            known = set(connection.scalars(waiting))
            rows = [_row(alert, now) for key, alert in reversed(by_key.items()) if key not in known]
            if rows:
                connection.execute(sa.insert(alerts), rows)

    def pending(self) -> list[Waiting]:
        """Return the oldest alerts that are not sent, up to 10,000."""
        query = sa.select(alerts).where(alerts.c.sent_at.is_(None)).order_by(alerts.c.id)
        rows = self._database.rows(query.limit(_AT_ONCE))
        return [Waiting(row["id"], _alert(row), frozenset(_told(row))) for row in rows]

    def told_since(self, since: datetime) -> set[Heard]:
        """Return what was told where since an instant."""
        recent = sa.or_(alerts.c.sent_at.is_(None), alerts.c.sent_at > since)
        shown = (alerts.c.kind, alerts.c.severity, alerts.c.feature_group, alerts.c.told)
        query = sa.select(*shown).where(recent)
        with self._database.read() as connection:
            return {
                Heard(place, row["kind"], row["severity"], row["feature_group"])
                for row in connection.execute(query).mappings()
                for place, when in _told(row).items()
                if when > since
            }

    def mark_told(self, ids: Sequence[int], place: str, now: datetime) -> None:
        """Remember that a place was told of alerts."""
        query = sa.select(alerts.c.id, alerts.c.told).where(alerts.c.id.in_(ids))
        update = sa.update(alerts).where(alerts.c.id == sa.bindparam("which"))
        with self._database.write() as connection:
            rows = [
                {"which": row["id"], "told": _json({**_told(row), place: now})}
                for row in connection.execute(query).mappings()
            ]
            if rows:
                connection.execute(update, rows)

    def mark_sent(self, ids: Sequence[int], now: datetime) -> None:
        """Take alerts out of the outbox; what left it 90 days ago is removed."""
        sent = sa.update(alerts).where(alerts.c.id.in_(ids)).values(sent_at=now)
        with self._database.write() as connection:
            connection.execute(sent)
            connection.execute(sa.delete(alerts).where(alerts.c.sent_at < now - _KEPT))


def _row(alert: Alert, now: datetime) -> dict[str, Any]:
    row = asdict(alert)
    return {
        **row,
        "feature_group": row.pop("group"),
        "owners": json.dumps(alert.owners),
        "told": "{}",
        "created_at": now,
    }


def _alert(row: Mapping[Any, Any]) -> Alert:
    return Alert(
        row["kind"],
        row["severity"],
        row["title"],
        row["body"],
        row["key"],
        row["feature_group"],
        tuple(json.loads(row["owners"])),
    )


def _told(row: Mapping[Any, Any]) -> dict[str, datetime]:
    told: Iterable[tuple[str, str]] = json.loads(row["told"]).items()
    return {place: datetime.fromisoformat(when) for place, when in told}


def _json(told: Mapping[str, datetime]) -> str:
    return json.dumps({place: when.isoformat() for place, when in told.items()})

"""The outbox of alerts, over SQLite and PostgreSQL alike."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from feature_store_assets.errors import RegistryUnusable
from feature_store_assets.registry.alerts import Alert, Alerts
from feature_store_assets.registry.database import Database, alerts

NOW = datetime(2024, 1, 6, 12, tzinfo=UTC)
STALE = Alert(
    "freshness", "critical", "g is stale", "why", "freshness:g", "g", ("team:a", "ann@example.org")
)
RUN = Alert("run", "critical", "a run failed", "", "run:1")


def test_alerts_come_back_as_they_were_put_and_in_that_order(database: Database) -> None:
    outbox = Alerts(database)
    outbox.add(STALE)
    outbox.add(RUN, replace(STALE, key="other"))
    found = outbox.pending()
    assert [each.alert for each in found] == [STALE, RUN, replace(STALE, key="other")]
    assert {each.told for each in found} == {frozenset()}
    assert len({each.id for each in found}) == 3


def test_before_there_is_a_registry_nothing_waits(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'registry.db'}")
    assert Alerts(database).pending() == []
    Alerts(database).add()
    assert not database.exists


def test_an_alert_that_waits_is_not_added_again_but_one_that_was_sent_is(
    database: Database,
) -> None:
    outbox = Alerts(database)
    outbox.add(RUN, RUN)
    outbox.add(RUN, replace(RUN, body="told otherwise"))
    (waiting,) = outbox.pending()
    assert waiting.alert == RUN
    outbox.mark_sent([waiting.id], NOW)
    assert outbox.pending() == []
    outbox.add(RUN)
    assert [each.alert for each in outbox.pending()] == [RUN]


def test_alerts_are_added_all_or_none(database: Database) -> None:
    outbox = Alerts(database)
    outbox.add(STALE)
    unfit = replace(RUN, key="unfit", title=None)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(RegistryUnusable):
        outbox.add(RUN, unfit)
    assert [each.alert for each in outbox.pending()] == [STALE]


def test_who_was_told_is_remembered_by_place(database: Database) -> None:
    outbox = Alerts(database)
    outbox.add(STALE, RUN)
    first, second = (each.id for each in outbox.pending())
    outbox.mark_told([first], "a", NOW)
    outbox.mark_told([first, second], "b", NOW + timedelta(minutes=5))
    assert [each.told for each in outbox.pending()] == [{"a", "b"}, {"b"}]
    stale, run = ("freshness", "critical", "g"), ("run", "critical", None)
    before = outbox.told_since(NOW - timedelta(minutes=1))
    assert before == {("a", *stale), ("b", *stale), ("b", *run)}
    # Leaving the outbox makes it neither sooner nor later.
    outbox.mark_sent([first, second], NOW + timedelta(hours=1))
    after = outbox.told_since(NOW + timedelta(minutes=1))
    assert after == {("b", *stale), ("b", *run)}


def test_sent_alerts_are_kept_for_ninety_days(database: Database) -> None:
    outbox = Alerts(database)
    for number in range(3):
        outbox.add(replace(RUN, key=str(number)))
        (waiting,) = outbox.pending()
        outbox.mark_sent([waiting.id], NOW + timedelta(days=60 * number))
    with database.read() as connection:
        kept = connection.execute(sa.select(alerts.c.key).order_by(alerts.c.id)).scalars().all()
    assert kept == ["1", "2"]

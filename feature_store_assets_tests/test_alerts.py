"""Alerts reach those who want them, once, in digests, and never with a secret."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_store_assets.alerts import Delivery, Message, deliver, wants
from feature_store_assets.config import FeatureStoreConfig, Route
from feature_store_assets.registry.alerts import Alert, Alerts
from feature_store_assets.registry.database import Database
from feature_store_assets_tests.inboxes import Inbox, mailbox, webhook

NOW = datetime(2024, 1, 6, 12, tzinfo=UTC)
STALE = Alert("freshness", "critical", "g is stale", "It is late.", "stale", "g", ("team:a",))
SOON = Alert("freshness", "warning", "h will be stale soon", "", "soon", "h", ("team:b",))
NOTE = Alert("drift", "info", "g drifts a bit", "", "note", "g", ("team:a",))
RUN = Alert("run", "critical", "Run of orders failed", "Why.", "run:1")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Alerts]:
    database = Database(f"sqlite:///{tmp_path / 'registry.db'}")
    yield Alerts(database)
    database.close()


@pytest.fixture
def hook() -> Iterator[Inbox]:
    with webhook() as inbox:
        yield inbox


@pytest.fixture
def other() -> Iterator[Inbox]:
    with webhook("another") as inbox:
        yield inbox


@pytest.fixture
def mails() -> Iterator[Inbox]:
    with mailbox() as inbox:
        yield inbox


def routes(*given: Any) -> tuple[Route, ...]:
    return FeatureStoreConfig(notify=given).notify


# Who is told


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, [STALE, SOON, RUN]),
        ({"severity": "info"}, [STALE, SOON, NOTE, RUN]),
        ({"severity": "critical"}, [STALE, RUN]),
        ({"owners": ["team:b", "team:c"]}, [SOON]),
        ({"groups": ["g"]}, [STALE]),
        ({"groups": ["g"], "severity": "info"}, [STALE, NOTE]),
        ({"kinds": ["run", "drift"]}, [RUN]),
        ({"owners": ["team:a"], "groups": ["h"]}, []),
    ],
)
def test_a_route_takes_what_it_asks_for(given: dict[str, Any], wanted: list[Alert]) -> None:
    (route,) = routes({"url": "json://host", **given})
    assert [alert for alert in (STALE, SOON, NOTE, RUN) if wants(route, alert)] == wanted


def test_everyone_gets_one_message_of_what_is_theirs(
    outbox: Alerts, hook: Inbox, mails: Inbox
) -> None:
    outbox.add(SOON, STALE, RUN)
    to = routes(hook.url, {"url": mails.url, "owners": ["team:a"]})
    done = deliver(outbox, to, now=NOW)
    assert done == Delivery(3, ("route 1 (json://***)", "route 2 (mailto://***)"))
    (told,) = hook.received
    counts = "1 critical (freshness), 1 critical (run), 1 warning (freshness)"
    assert told.title == f"Feature store: {counts}"
    assert told.kind == "failure"
    assert told.body.splitlines() == [
        "CRITICAL",
        "- Run of orders failed",
        "  Why.",
        "CRITICAL g",
        "- g is stale",
        "  It is late.",
        "WARNING h",
        "- h will be stale soon",
    ]
    (mail,) = mails.received
    assert mail.title == "Feature store: g is stale"
    assert mail.body.split("\n")[:3] == ["CRITICAL g", "- g is stale", "  It is late."]


def test_what_nobody_wants_is_done_with_at_once(outbox: Alerts, hook: Inbox) -> None:
    outbox.add(NOTE, SOON)
    done = deliver(outbox, routes({"url": hook.url, "severity": "critical"}), now=NOW)
    assert done == Delivery(2)
    assert deliver(outbox, (), now=NOW) == Delivery()
    assert hook.received == []


def test_several_routes_to_one_place_make_one_message(outbox: Alerts, hook: Inbox) -> None:
    outbox.add(STALE, SOON)
    by_group = [{"url": hook.url, "groups": [name]} for name in ("g", "h")]
    deliver(outbox, routes(*by_group, hook.url), now=NOW)
    assert hook.titles == ["Feature store: 1 critical (freshness), 1 warning (freshness)"]


# Storms


def test_five_hundred_alerts_are_one_message(outbox: Alerts, hook: Inbox) -> None:
    every = [f"g{n}" for n in range(500)]
    outbox.add(*(replace(STALE, key=each, group=each, title=f"{each} is stale") for each in every))
    assert deliver(outbox, routes(hook.url), now=NOW).done == 500
    (told,) = hook.received
    assert told.title == "Feature store: 500 critical (freshness)"
    lines = told.body.splitlines()
    assert len(lines) <= 31
    assert lines[-1] == f"and {500 - sum(line.startswith('- ') for line in lines)} more"


def test_alerts_alike_are_one_entry_with_their_number() -> None:
    runs = [replace(RUN, key=str(n), body=f"Day {n}.") for n in range(365)]
    assert Message.of(runs).body.splitlines() == [
        "CRITICAL", "- Run of orders failed (365 times)", "  Day 364."
    ]  # fmt: skip


def test_of_states_that_came_and_went_unsent_only_the_newest_is_told() -> None:
    again = replace(STALE, title="g is fresh again", body="")
    message = Message.of([STALE, again, SOON, replace(STALE, body="Anew."), RUN])
    assert message.body.splitlines() == [
        "CRITICAL", "- Run of orders failed", "  Why.",
        "CRITICAL g", "- g is stale", "  Anew.",
        "WARNING h", "- h will be stale soon",
    ]  # fmt: skip


def test_long_texts_are_cut() -> None:
    many = replace(RUN, body="\n".join("x" * 1000 for _ in range(100)))
    lines = Message.of([many]).body.splitlines()
    assert len(lines) == 30
    assert max(map(len, lines)) == 300


def test_failures_that_go_on_are_told_together_every_ten_minutes(
    outbox: Alerts, hook: Inbox
) -> None:
    to = routes(hook.url)
    for tick in range(60):  # half an hour
        outbox.add(replace(RUN, key=f"run:{tick}"))
        deliver(outbox, to, now=NOW + tick * timedelta(seconds=30))
    titles = ["Feature store: Run of orders failed", *["Feature store: 20 critical (run)"] * 2]
    assert hook.titles == titles
    # What is not alike waits for nothing.
    outbox.add(replace(RUN, key="soft", severity="warning"))
    deliver(outbox, to, now=NOW + timedelta(minutes=29, seconds=45))
    assert hook.titles[3:] == ["Feature store: Run of orders failed"]
    outbox.add(replace(RUN, key="g", group="g"), replace(STALE, key="again"))
    deliver(outbox, to, now=NOW + timedelta(minutes=30))
    assert hook.titles[-1] == "Feature store: 1 critical (freshness), 20 critical (run)"


# Places that fail


def test_a_place_that_fails_is_tried_again_and_the_others_hear_nothing_twice(
    outbox: Alerts, hook: Inbox, other: Inbox, mails: Inbox
) -> None:
    to = routes(hook.url, other.url, mails.url)
    outbox.add(STALE)
    other.shut = mails.shut = True
    for tick in range(3):
        done = deliver(outbox, to, now=NOW + timedelta(seconds=30 * tick))
        assert done.done == 0
        assert [each[:7] for each in done.failed] == ["route 2", "route 3"]
    assert (len(hook.received), other.refused, mails.refused) == (1, 3, 3)
    outbox.add(SOON)
    other.shut = False
    assert deliver(outbox, to, now=NOW).done == 0
    assert hook.titles == ["Feature store: g is stale", "Feature store: h will be stale soon"]
    assert other.titles == ["Feature store: 1 critical (freshness), 1 warning (freshness)"]
    mails.shut = False
    assert deliver(outbox, to, now=NOW).done == 2
    assert [len(each.received) for each in (hook, other, mails)] == [2, 1, 1]
    assert deliver(outbox, to, now=NOW) == Delivery()


def test_it_is_remembered_over_a_restart_and_without_the_url(
    tmp_path: Path, hook: Inbox, other: Inbox
) -> None:
    other.shut = True
    for shut in (True, False):
        other.shut = shut
        database = Database(f"sqlite:///{tmp_path / 'registry.db'}")
        Alerts(database).add(STALE)
        deliver(Alerts(database), routes(hook.url, other.url), now=NOW)
        database.close()
    assert [len(each.received) for each in (hook, other)] == [1, 1]
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("registry.db*"))
    assert b"127.0.0.1" not in kept


def test_a_place_taken_out_of_the_settings_holds_nothing_back(outbox: Alerts, hook: Inbox) -> None:
    hook.shut = True
    outbox.add(STALE)
    deliver(outbox, routes(hook.url), now=NOW)
    assert deliver(outbox, (), now=NOW) == Delivery(1)


# Secrets


@pytest.mark.parametrize(
    "url",
    [
        "nosuch://hunter2/S3cr3tS3cr3t",
        "slack://hunter2",
        "json://me:hunter2@127.0.0.1:1/S3cr3tS3cr3t?token=hunter2",
        "mailto://me:hunter2@127.0.0.1:1?from=a@example.org&to=b@example.org",
        "https://hooks.slack.com/services/hunter2",
    ],
)
def test_no_part_of_a_url_is_told_when_it_cannot_be_used(
    outbox: Alerts, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.add(STALE)
    with caplog.at_level(logging.DEBUG):
        done = deliver(outbox, routes(url), now=NOW)
    assert done.told == ()
    assert done.failed[0].startswith(f"route 1 ({url.partition(':')[0]}://***): ")
    shown = [record.getMessage() for record in caplog.records]
    assert any("was not told of 1 alert(s)" in each for each in shown)
    for text in (*shown, *done.failed, caplog.text):
        assert "hunter2" not in text.lower()
        assert "S3cr3t" not in text


def test_a_url_that_apprise_refuses_is_told_and_the_alert_waits(outbox: Alerts) -> None:
    outbox.add(STALE)
    done = deliver(outbox, routes("nosuch://hunter2"), now=NOW)
    assert done == Delivery(0, (), ("route 1 (nosuch://***): Apprise takes no such URL",))
    assert len(outbox.pending()) == 1


def test_secrets_of_places_that_work_are_in_no_log_either(
    outbox: Alerts, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.add(STALE)
    with webhook("S3cr3tS3cr3t") as inbox, caplog.at_level(logging.DEBUG):
        deliver(outbox, routes(inbox.url), now=NOW)
        assert len(inbox.received) == 1
    assert "S3cr3t" not in caplog.text
    logging.getLogger("apprise").warning("others may say S3cr3tS3cr3t")
    assert "others may say S3cr3tS3cr3t" in caplog.text


# A dry run


def test_a_dry_run_only_logs_the_digest(outbox: Alerts, caplog: pytest.LogCaptureFixture) -> None:
    outbox.add(STALE)
    with caplog.at_level(logging.INFO, "feature_store_assets.alerts"):
        done = deliver(outbox, routes("dry-run://"), now=NOW)
    assert done == Delivery(1, ("route 1 (dry-run://***)",))
    assert caplog.messages == ["Feature store: g is stale\nCRITICAL g\n- g is stale\n  It is late."]

"""Alerts reach people: routed by severity, kind, owner and group, a digest for each route."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, get_args
from urllib.parse import unquote

from feature_store_assets.config import Severity
from feature_store_assets.registry.alerts import Heard

if TYPE_CHECKING:
    from datetime import datetime

    from feature_store_assets.config import Route
    from feature_store_assets.registry.alerts import Alert, Alerts, Waiting

_log = logging.getLogger(__name__)
_SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # the worst first
# What comes in storms: the first is told at once, further ones together.
_STORMS = frozenset({"run", "quality", "drift"})
_CALM = timedelta(minutes=10)
_LINES = 30
_WIDTH = 300
_SENDERS = 8
# Whose messages may hold a URL.
_TALKERS = ("apprise", "urllib3.connectionpool")
_TYPES: Mapping[Severity, str] = {"critical": "failure", "warning": "warning", "info": "info"}


@dataclass(frozen=True)
class Delivery:
    """What became of the outbox: alerts that are done with, and places told or not, masked."""

    done: int = 0
    told: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Place:
    """A URL with all routes that lead there: it is told everything in one message."""

    url: str
    routes: tuple[Route, ...]
    shown: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()

    def wants(self, alert: Alert) -> bool:
        return any(wants(route, alert) for route in self.routes)


@dataclass(frozen=True)
class Message:
    """A digest of alerts, as people get it."""

    title: str
    body: str
    severity: Severity

    @classmethod
    def of(cls, alerts: Sequence[Alert]) -> Message:
        """Sum alerts up, the worst first, those alike in one entry.

        Of a group's freshness only the newest state is told: others were late to be sent.
        """
        newest = {alert.group: alert for alert in alerts if alert.kind == "freshness"}
        alerts = [
            alert for alert in alerts if alert.kind != "freshness" or newest[alert.group] is alert
        ]
        worst = min((alert.severity for alert in alerts), key=_SEVERITIES.index)
        told = alerts[0].title if len(alerts) == 1 else ", ".join(_counts(alerts))
        return cls(f"Feature store: {told}", "\n".join(_lines(alerts)), worst)


def wants(route: Route, alert: Alert) -> bool:
    """Tell whether an alert goes a route; without owners, groups or kinds it takes all."""
    return (
        _SEVERITIES.index(alert.severity) <= _SEVERITIES.index(route.severity)
        and (not route.owners or not set(route.owners).isdisjoint(alert.owners))
        and (not route.groups or alert.group in route.groups)
        and (not route.kinds or alert.kind in route.kinds)
    )


def deliver(alerts: Alerts, routes: Sequence[Route], *, now: datetime) -> Delivery:
    """Send what waits in the outbox, one message for each place.

    Who was told is remembered place by place, so one that fails is tried again at the next call
    and the others hear nothing twice. An alert that every place took, or none wants, is done with.

    Parameters
    ----------
    alerts
        The outbox.
    routes
        Where to; their URLs appear nowhere.
    """
    waiting = alerts.pending()
    if not waiting:
        return Delivery()
    places = _places(routes)
    calm = alerts.told_since(now - _CALM)
    told = {each.id: set(each.told) for each in waiting}
    due = {
        place: found
        for place in places
        if (found := [each for each in waiting if _is_due(each, place, calm)])
    }
    reached, failed = [], []
    for place, problem in _send_all({place: _digest(found) for place, found in due.items()}):
        if problem is None:
            ids = [each.id for each in due[place]]
            alerts.mark_told(ids, place.digest, now)
            for number in ids:
                told[number].add(place.digest)
            reached.append(place.shown)
        else:
            _log.warning(
                "%s was not told of %d alert(s): %s", place.shown, len(due[place]), problem
            )
            failed.append(f"{place.shown}: {problem}")
    done = [
        each.id
        for each in waiting
        if all(place.digest in told[each.id] for place in places if place.wants(each.alert))
    ]
    if done:
        alerts.mark_sent(done, now)
    return Delivery(len(done), tuple(sorted(reached)), tuple(sorted(failed)))


def _places(routes: Sequence[Route]) -> list[_Place]:
    by_url: dict[str, list[Route]] = {}
    for route in routes:
        by_url.setdefault(route.url.get_secret_value(), []).append(route)
    return [
        _Place(url, tuple(found), f"route {number} ({url.partition('://')[0]}://***)")
        for number, (url, found) in enumerate(by_url.items(), 1)
    ]


def _is_due(each: Waiting, place: _Place, calm: set[Heard]) -> bool:
    alert = each.alert
    like = Heard(place.digest, alert.kind, alert.severity, alert.group)
    held = alert.kind in _STORMS and like in calm
    return not held and place.digest not in each.told and place.wants(alert)


def _digest(found: Sequence[Waiting]) -> Message:
    return Message.of([each.alert for each in found])


def _counts(alerts: Sequence[Alert]) -> list[str]:
    """How many of what, the worst first."""
    counted = Counter((_SEVERITIES.index(alert.severity), alert.kind) for alert in alerts)
    return [
        f"{count} {_SEVERITIES[rank]} ({kind})" for (rank, kind), count in sorted(counted.items())
    ]


def _lines(alerts: Sequence[Alert]) -> list[str]:
    """The body of a digest: by severity, then by group; alerts of one title are one entry."""
    entries: dict[tuple[int, str, str], list[Alert]] = {}
    for alert in alerts:
        place = (_SEVERITIES.index(alert.severity), alert.group or "", alert.title)
        entries.setdefault(place, []).append(alert)
    room = max(_LINES // len(entries) - 2, 0)
    lines: list[str] = []
    heading, left = None, len(alerts)
    for (rank, group, title), same in sorted(entries.items()):
        new = [] if (rank, group) == heading else [_heading(rank, group)]
        heading = (rank, group)
        count = f" ({len(same)} times)" if len(same) > 1 else ""
        body = same[-1].body.splitlines()[:room]
        new += [f"- {title}{count}", *(f"  {line}" for line in body)]
        if len(lines) + len(new) > _LINES:
            break
        lines += [line[:_WIDTH] for line in new]
        left -= len(same)
    return [*lines, f"and {left} more"] if left else lines


def _heading(rank: int, group: str) -> str:
    return f"{_SEVERITIES[rank].upper()} {group}".rstrip()


def _send_all(messages: Mapping[_Place, Message]) -> Iterator[tuple[_Place, str | None]]:
    """Send side by side, so that a place that hangs keeps no other waiting; say why one failed."""
    if not messages:
        return
    with (
        _masked([place.url for place in messages]),
        ThreadPoolExecutor(min(_SENDERS, len(messages))) as pool,
    ):
        sending = {
            pool.submit(_send, place.url, message): place for place, message in messages.items()
        }
        for done in as_completed(sending):
            yield sending[done], done.result()


def _send(url: str, message: Message) -> str | None:
    """Send one message; return what went wrong, without anything of the URL."""
    if url.startswith("dry-run://"):
        _log.info("%s\n%s", message.title, message.body)
        return None
    import apprise

    sender = apprise.Apprise()
    try:
        service = apprise.Apprise.instantiate(url)
        if service is None:
            return "Apprise takes no such URL"
        if "overflow=" not in url:  # or a digest that is too long for a service would never arrive
            service.overflow_mode = apprise.OverflowMode.SPLIT
        sender.add(service)
        sent = sender.notify(
            title=message.title,
            body=message.body,
            notify_type=apprise.NotifyType(_TYPES[message.severity]),
            body_format=apprise.NotifyFormat.TEXT,
        )
    except Exception as error:  # noqa: BLE001 - one service's fault is no other's
        return type(error).__name__
    return None if sent else "it did not take the message; the log of apprise tells why"


@contextmanager
def _masked(urls: Sequence[str]) -> Iterator[None]:
    """Keep every part of the URLs out of what the libraries log."""
    parts = {
        form
        for url in urls
        for part in re.split(r"[/@:?&=#,;+\s]+", url.partition("://")[2])
        for form in (part, unquote(part))
        if len(form) > 2  # noqa: PLR2004  # shorter ones are no secrets
    }
    longest = sorted(parts, key=len, reverse=True)
    secret = re.compile("|".join(map(re.escape, longest)) or r"(?!)", re.IGNORECASE)

    def mask(record: logging.LogRecord) -> bool:
        record.msg, record.args = secret.sub("***", record.getMessage()), ()
        record.exc_info = record.exc_text = None
        return True

    talkers = [logging.getLogger(name) for name in _TALKERS]
    for talker in talkers:
        talker.addFilter(mask)
    try:
        yield
    finally:
        for talker in talkers:
            talker.removeFilter(mask)

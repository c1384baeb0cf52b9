"""Tells when too many answers of this process are errors, and when they are few again."""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime

from feature_store_assets.registry.alerts import Alert

_ENOUGH = 20


class ErrorAlarm:
    """Compares this process's errors with all its answers, from look to look.

    Parameters
    ----------
    limit
        The share of errors above which it tells.
    counts
        Gives how many answers were errors so far, and how many there were.
    tell
        Takes an alert.
    """

    def __init__(
        self,
        limit: float,
        counts: Callable[[], tuple[int, int]],
        tell: Callable[[Alert], None],
    ) -> None:
        self._limit = limit
        self._counts = counts
        self._tell = tell
        self._errors, self._answers = counts()
        self._raised = False

    def look(self) -> None:
        """Tell if the share went over the limit since the last look, or came back under it.

        Few answers say nothing: fewer than 20 change nothing.
        """
        errors, answers = self._counts()
        bad, asked = errors - self._errors, answers - self._answers
        self._errors, self._answers = errors, answers
        if asked < _ENOUGH:
            return
        over = bad / asked > self._limit
        if over != self._raised:
            self._tell(_alert(over, bad, asked))
            self._raised = over


def _alert(over: bool, bad: int, asked: int) -> Alert:
    who = f"{socket.gethostname()}:{os.getpid()}"
    title = "Serving fails too often" if over else "Serving is well again"
    body = f"{bad} of {asked} answers of server process {who} within a minute were errors (5xx)."
    when = datetime.now(UTC).isoformat()
    return Alert("serving", "critical", title, body, f"serving:{who}:{when}"[:255])

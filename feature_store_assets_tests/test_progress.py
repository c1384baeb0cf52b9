"""The progress bar: where someone is watching, for work that takes long."""

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO

import pytest

import feature_store_assets.progress as module
from feature_store_assets.progress import progress

Seen = Callable[[], str]


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """Make stderr a terminal; gives what was shown there so far.

    No fixture: pytest takes stderr for itself when the test begins.
    """
    master, slave = os.openpty()
    for name in ("NO_COLOR", "COLUMNS", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown: list[bytes] = []

    def seen() -> str:
        os.set_blocking(master, False)
        try:
            while part := os.read(master, 1 << 16):
                shown.append(part)
        except BlockingIOError:
            pass
        return b"".join(shown).decode()

    with os.fdopen(slave, "w") as stderr, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stderr)
        yield seen
    os.close(master)


def uncounted() -> int:
    raise AssertionError("nobody is watching, so nothing needs to be counted")


def test_nothing_is_shown_where_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(module, "_PATIENCE", -1.0)
    with progress("Joining", uncounted) as advance:
        for _ in range(10):
            advance(1)
    assert stderr.getvalue() == ""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", -1.0)


def test_long_work_shows_a_bar_that_goes_away(
    impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal(monkeypatch) as seen:
        with progress("Joining", lambda: 4) as advance:
            advance(1)
            assert "Joining" in seen()
            assert "25%" in seen()
            advance(3)
        assert "100%" in seen()
        # The line is cleared, and the cursor shown again.
        ending = seen().rpartition("100%")[2]
        assert "\x1b[?25h" in ending
        assert "\x1b[2K" in ending


def test_short_work_shows_nothing_on_a_terminal_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 1e9)
    with terminal(monkeypatch) as seen:
        with progress("Joining", lambda: 4) as advance:
            for _ in range(4):
                advance(1)
        with progress("Joining", lambda: 0):
            pass
        assert seen() == ""


def test_work_that_fails_takes_its_bar_away(
    impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        with progress("Joining", lambda: 4) as advance:
            advance(1)
            raise ValueError("it broke")

    with terminal(monkeypatch) as seen:
        with pytest.raises(ValueError, match="it broke"):
            work()
        assert "Joining" in seen()
        assert seen().count("\x1b[?25h") == 1


def test_threads_advance_one_bar(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as seen:
        with progress("Joining", lambda: 1000) as advance, ThreadPoolExecutor(8) as pool:
            list(pool.map(advance, [1] * 1000))
        assert "100%" in seen()
        assert seen().count("\x1b[?25l") == 1


def test_what_the_work_prints_stays_on_its_stdout(
    impatient: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with terminal(monkeypatch) as seen, progress("Joining", lambda: 2) as advance:
        advance(1)
        print("an answer")
        assert "an answer" not in seen()
    assert capsys.readouterr().out == "an answer\n"

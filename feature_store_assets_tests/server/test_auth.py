"""Who may use the HTTP server: tokens of the settings and of a real registry."""

import base64
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from feature_store_assets.errors import ConfigError
from feature_store_assets.registry.actor import Actor
from feature_store_assets.registry.tokens import hashed
from feature_store_assets.server.auth import Guard
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.stores import new_store

NEVER_AGAIN = 3600.0
ALWAYS = 0.0


def holder(name: str) -> Actor:
    """Who presents the token of that name."""
    return Actor(name, source="token")


def nothing() -> Mapping[str, str]:
    return {}


def always_asking(store: FeatureStore) -> Guard:
    """A guard that asks the registry at every refresh."""
    return Guard({}, store.tokens.digests, refresh=ALWAYS)


@contextmanager
def outage(store: FeatureStore) -> Iterator[None]:
    """The registry's file is there, but cannot be opened."""
    store.close()
    registry = store.config.root / "registry.db"
    aside = registry.rename(registry.with_name("aside"))
    registry.mkdir()
    yield
    registry.rmdir()
    aside.rename(registry)


# Who is let in


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        ("Bearer sesame", None),
        ("bearer sesame", None),
        ("BEARER   sesame ", None),
        (None, "sesame"),
        ("Bearer wrong", "sesame"),
        ("Basic dXNlcjpwYXNz", "sesame"),
    ],
)
def test_a_token_is_presented_as_bearer_or_as_api_key(
    authorization: str | None, api_key: str | None
) -> None:
    guard = Guard({"ci": hashed("other"), "app": hashed("sesame")}, nothing)
    assert guard.admit(authorization, api_key) == holder("app")


def basic(text: str | bytes) -> str:
    return f"Basic {base64.b64encode(text.encode() if isinstance(text, str) else text).decode()}"


@pytest.mark.parametrize(
    "authorization", [basic("ann:sesame"), basic(":sesame"), basic("x:sesame").replace("B", "b", 1)]
)
def test_a_browser_presents_a_token_as_password(authorization: str) -> None:
    guard = Guard({"app": hashed("sesame")}, nothing)
    assert guard.admit(authorization, None, browser=True) == holder("app")
    # Where something is written a browser must not be let in by what it sends by itself.
    assert guard.admit(authorization, None) is None


@pytest.mark.parametrize(
    "authorization",
    [
        basic("sesame"),
        basic("sesame:"),
        basic("ann:sesame "),
        basic("ann:ann:sesame"),
        basic(b"ann:\xff"),
        "Basic",
        "Basic sesame",
        "Basic s\u00e9same",
        "Basic ann:sesame",
        "Digest " + basic("ann:sesame").partition(" ")[2],
    ],
)
def test_any_other_password_is_nobodys(authorization: str) -> None:
    assert (
        Guard({"app": hashed("sesame")}, nothing).admit(authorization, None, browser=True) is None
    )


def test_a_password_may_hold_colons() -> None:
    guard = Guard({"app": hashed("open:sesame")}, nothing)
    assert guard.admit(basic("ann:open:sesame"), None, browser=True) == holder("app")


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        (None, None),
        ("", ""),
        ("Bearer", None),
        ("Bearer ", ""),
        ("sesame", None),
        ("Basic sesame", None),
        ("Token sesame", None),
        ("Bearer sesam", "Sesame"),
        ("Bearer sésame", "сезам"),
        (None, "Bearer sesame"),
    ],
)
def test_whoever_presents_anything_else_is_nobody(
    authorization: str | None, api_key: str | None
) -> None:
    assert Guard({"app": hashed("sesame")}, nothing).admit(authorization, api_key) is None


def test_a_digest_is_no_token() -> None:
    assert Guard({"app": hashed("sesame")}, nothing).admit(None, hashed("sesame")) is None


def test_an_empty_token_lets_nobody_in_even_where_its_digest_is_configured() -> None:
    guard = Guard({"app": hashed("")}, nothing)
    assert guard.admit("Bearer ", "") is None
    assert not guard.open


def test_one_name_may_stand_in_the_settings_and_in_the_registry(store: FeatureStore) -> None:
    made = store.tokens.create("app")
    guard = Guard({"app": hashed("sesame")}, store.tokens.digests)
    assert [guard.admit(None, token) for token in ("sesame", made)] == [holder("app")] * 2


def test_it_shows_neither_tokens_nor_digests() -> None:
    assert hashed("sesame") not in repr(Guard({"app": hashed("sesame")}, nothing))


# Of a store


def test_a_store_is_guarded_by_its_settings_and_its_registry(tmp_path: Path) -> None:
    with new_store(tmp_path, api_tokens=f"ci={hashed('sesame')}") as store:
        made = store.tokens.create("app")
        guard = Guard.of(store)
        assert guard.admit("Bearer sesame", None) == holder("ci")
        assert guard.admit(f"Bearer {made}", None) == holder("app")


def test_a_name_given_twice_is_refused_where_one_token_would_be_lost(tmp_path: Path) -> None:
    twice = f"ci={hashed('old')},ci={hashed('new')}"
    with (
        new_store(tmp_path, api_tokens=twice) as store,
        pytest.raises(ConfigError, match=r"gives 2 tokens only 1 names \(ci\): name each"),
    ):
        Guard.of(store)


# Open


def test_a_store_without_any_token_is_open_even_before_its_registry_exists(
    store: FeatureStore,
) -> None:
    assert Guard.of(store).open
    assert not (store.config.root / "registry.db").exists()


def test_any_token_closes_it(store: FeatureStore) -> None:
    assert not Guard({"ci": hashed("sesame")}, nothing).open
    guard = always_asking(store)
    assert guard.open
    store.tokens.create("app")
    guard.refresh()
    assert not guard.open


def test_a_server_that_asked_for_tokens_never_stops_while_it_runs(store: FeatureStore) -> None:
    store.tokens.create("app")
    revoked, lost = always_asking(store), always_asking(store)
    store.tokens.revoke("app")
    revoked.refresh()
    assert not revoked.open
    (store.config.root / "registry.db").unlink()
    lost.refresh()
    assert not lost.open


def test_it_stays_closed_until_the_registry_has_answered_once(store: FeatureStore) -> None:
    store.apply()
    with outage(store):
        guard = Guard({"ci": hashed("sesame")}, store.tokens.digests, refresh=ALWAYS)
        assert guard.admit(None, "sesame") == holder("ci")  # the settings are known all the same
        unsure = always_asking(store)
        assert not unsure.open
        assert unsure.admit(None, "sesame") is None
    unsure.refresh()
    assert unsure.open


# Refresh


def test_a_new_token_works_and_a_revoked_one_stops_after_the_next_refresh(
    store: FeatureStore,
) -> None:
    guard = always_asking(store)
    token = store.tokens.create("app")
    assert guard.admit(None, token) is None
    guard.refresh()
    assert guard.admit(None, token) == holder("app")
    store.tokens.revoke("app")
    assert guard.admit(None, token) == holder("app")
    guard.refresh()
    assert guard.admit(None, token) is None


def test_the_registry_is_asked_once_in_a_period() -> None:
    asked: list[str] = []

    def recorded() -> Mapping[str, str]:
        asked.append("once")
        return {}

    guard = Guard({}, recorded, refresh=NEVER_AGAIN)
    assert not guard.due
    guard.refresh()
    assert asked == ["once"]


def test_only_one_thread_asks_while_the_registry_takes_its_time() -> None:
    begun, end, asked = threading.Event(), threading.Event(), list[str]()

    def recorded() -> Mapping[str, str]:
        asked.append(threading.current_thread().name)
        if len(asked) > 1:
            begun.set()
            end.wait()
        return {}

    guard = Guard({}, recorded, refresh=ALWAYS)
    assert guard.due
    slow = threading.Thread(target=guard.refresh, name="slow")
    slow.start()
    begun.wait()
    guard.refresh()
    end.set()
    slow.join()
    assert asked == ["MainThread", "slow"]


def test_while_the_registry_cannot_be_read_what_was_known_stays_and_each_outage_is_told_once(
    store: FeatureStore, caplog: pytest.LogCaptureFixture
) -> None:
    token = store.tokens.create("app")
    guard = always_asking(store)
    for outages in (1, 2):
        with outage(store):
            for _ in range(3):
                guard.refresh()
                assert guard.admit(None, token) == holder("app")
        guard.refresh()
        told = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(told) == outages
        assert "Tokens stay as they were known last: The registry at" in told[-1].getMessage()
    assert token not in caplog.text

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from feature_store_assets.errors import ConfigError, OnlineStoreUnavailable
from feature_store_assets.online import OnlineStore, open_store
from feature_store_assets.online.connection import masked
from feature_store_assets.online.redis import RedisStore
from feature_store_assets.online.row import KeySpace, sortable, tombstone
from feature_store_assets_tests.servers import cluster, free_port, sentinel, tcp_server

SPACE = KeySpace("spending", 1, 0)


def row(number: int) -> bytes:
    return sortable(number) * 3 + b"\0\1\x91\x01"


def uses(store: OnlineStore) -> None:
    """Everything a publisher does, over keys of many slots."""
    keys = [SPACE.key(number) for number in range(300)]
    assert store.put([(key, row(2)) for key in keys]) == 300
    assert store.put([(key, row(1)) for key in keys]) == 0
    assert store.replace([(key, row(2), tombstone(3)) for key in keys[:100]]) == 100
    assert store.get(keys) == [tombstone(3)] * 100 + [row(2)] * 200
    store.mark(SPACE.prefix, {"p": 1.0})
    assert store.marks(SPACE.prefix) == {"p": 1.0}
    store.unmark(SPACE.prefix, ["p"])
    assert {key for chunk in store.scan(SPACE.prefix) for key in chunk} == set(keys)
    assert store.delete(SPACE.prefix) == 300
    assert store.get(keys) == [None] * 300
    store.close()


def test_a_cluster_is_used_slot_by_slot(tmp_path: Path) -> None:
    with cluster(tmp_path) as uri:
        uses(open_store(uri))


def test_a_sentinel_leads_to_its_server(tmp_path: Path) -> None:
    with sentinel(tmp_path) as uri:
        uses(open_store(uri))


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """A server with a user who may not load or call functions."""
    with tcp_server(tmp_path) as port:
        admin: Any = redis.Redis(port=port)
        admin.execute_command(
            "ACL", "SETUSER", "app", "on", ">hunter2", "~*", "+@all", "-fcall", "-function"
        )
        yield f"redis://app:hunter2@127.0.0.1:{port}/0", admin
        admin.close()


def test_scripts_serve_where_functions_are_forbidden(
    guarded: tuple[str, Any],
) -> None:
    uri, admin = guarded
    uses(open_store(uri))
    assert admin.execute_command("FUNCTION", "LIST") == []
    store = open_store(uri)
    assert store.put([(SPACE.key(1), row(1))]) == 1
    admin.script_flush()
    assert store.put([(SPACE.key(1), row(2))]) == 1
    store.close()


def test_functions_that_a_restart_lost_are_loaded_again(valkey_uri: str) -> None:
    store = open_store(valkey_uri)
    store.delete(SPACE.prefix)
    store.put([(SPACE.key(1), row(1))])
    with redis.Redis.from_url(valkey_uri) as admin:
        admin.function_flush()
    assert store.put([(SPACE.key(1), row(2))]) == 1
    store.close()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "redis+sentinel"])
def test_an_unreachable_server_fails_at_first_use_within_a_second(scheme: str) -> None:
    port = free_port()
    store = open_store(f"{scheme}://app:hunter2@127.0.0.1:{port}/0")
    start = time.monotonic()
    with pytest.raises(OnlineStoreUnavailable, match="does not answer") as caught:
        store.get([SPACE.key("secret_person")])
    assert time.monotonic() - start < 2
    text = str(caught.value)
    assert f"{scheme}://app:***@127.0.0.1:{port}/0" in text
    assert "hunter2" not in text
    assert "secret_person" not in text
    assert isinstance(caught.value, ConnectionError)
    store.close()


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        store = open_store(f"redis://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(OnlineStoreUnavailable, match="imeout"):
            store.put([(SPACE.key(1), row(1))])
        store.close()


def test_a_wrong_password_is_reported_and_not_shown(guarded: tuple[str, Any]) -> None:
    store = open_store(guarded[0].replace("hunter2", "hunter3"))
    with pytest.raises(OnlineStoreUnavailable) as caught:
        store.marks(SPACE.prefix)
    assert "hunter" not in str(caught.value)
    store.close()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("redis://:p@ss@host:1/0", "redis://:***@host:1/0"),
        ("redis://user:pass@host", "redis://user:***@host"),
        ("redis://host:6379/0?password=p&db=1", "redis://host:6379/0?password=***&db=1"),
        ("redis+sentinel://u:p@a:1,b:2/name", "redis+sentinel://u:***@a:1,b:2/name"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_passwords_are_masked(uri: str, shown: str) -> None:
    assert masked(uri) == shown


@pytest.mark.parametrize(
    "uri",
    [
        "redis://u:hunter2@host:port",
        "redis+sentinel://u:hunter2@host/service",
        "redis+sentinel://u:hunter2@host:1",
        "redis+sentinel://u:hunter2@host:1/service/db",
    ],
)
def test_a_uri_that_says_too_little_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisStore(uri)
    assert "hunter2" not in str(caught.value)

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from feature_store_assets.online import OnlineStore, open_store
from feature_store_assets_tests.counts import some
from feature_store_assets_tests.online.history import History
from feature_store_assets_tests.servers import redis_server

# redis-server is a second server beside the wheel's Valkey, for `make test-all`.
BACKENDS = some(["lmdb", "valkey", "redis"], 2)


@pytest.fixture(scope="session")
def valkey_uri() -> Iterator[str]:
    with redis_server("valkey") as uri:
        yield uri


@pytest.fixture(scope="session")
def redis_uri() -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is NOT installed: the store is not tested against it")
    with redis_server("redis") as uri:
        yield uri


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture(params=BACKENDS)
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "lmdb":
        return f"lmdb://{tmp_path / 'online'}"
    return str(request.getfixturevalue(f"{request.param}_uri"))


@pytest.fixture
def store(uri: str) -> Iterator[OnlineStore]:
    if not uri.startswith("lmdb:"):
        with redis.Redis.from_url(uri) as server:
            server.flushall()
    opened = open_store(uri)
    yield opened
    opened.close()

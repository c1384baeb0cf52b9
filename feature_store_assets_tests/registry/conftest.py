"""Each test gets an empty registry in SQLite and, in `make test-all`, in a real PostgreSQL."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from feature_store_assets.registry.database import Database
from feature_store_assets_tests.servers import postgres_server

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def schema(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes an empty schema in PostgreSQL and gives its URL."""

    def make() -> str:
        server = sa.make_url(str(request.getfixturevalue("postgres")))
        name = f"registry_{next(_NUMBERS)}"
        engine = sa.create_engine(server)
        with engine.begin() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA {name}"))
        engine.dispose()
        own = server.update_query_dict({"options": f"-csearch_path={name}"})
        return own.render_as_string(hide_password=False)

    return make


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path, schema: Callable[[], str]) -> str:
    return f"sqlite:///{tmp_path / 'registry.db'}" if request.param == "sqlite" else schema()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    yield opened
    opened.close()

"""Tokens of the HTTP server, over SQLite and PostgreSQL alike."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from feature_store_assets.errors import DataError, NameTaken, TokenNotFound
from feature_store_assets.registry.database import Database, api_tokens
from feature_store_assets.registry.tokens import Tokens, hashed


def test_a_token_is_long_random_and_told_from_other_secrets_by_its_beginning(
    database: Database,
) -> None:
    made = {Tokens(database).create(name) for name in ("a", "b")}
    assert len(made) == 2
    assert all(re.fullmatch(r"fs_[\w-]{43}", token) for token in made)


def test_only_the_digest_of_a_token_is_kept(database: Database) -> None:
    token = Tokens(database).create("app")
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert hashed(token) == digest
    assert Tokens(database).digests() == {"app": digest}
    with database.read() as connection:
        (row,) = connection.execute(sa.select(api_tokens)).all()
    assert token not in map(str, row)


def test_who_has_a_token_comes_by_name_and_without_a_digest(database: Database) -> None:
    tokens = Tokens(database)
    before = datetime.now(UTC)
    for name in ("b", "c", "a"):
        tokens.create(name)
    found = tokens.names()
    assert [token.name for token in found] == ["a", "b", "c"]
    assert all(timedelta(0) <= token.created_at - before < timedelta(minutes=1) for token in found)
    assert not any(digest in repr(found) for digest in tokens.digests().values())


def test_a_name_is_given_once_and_the_first_token_stays(database: Database) -> None:
    tokens = Tokens(database)
    first = tokens.create("app")
    with pytest.raises(NameTaken, match=r"A token named 'app' exists already.* Revoke it first"):
        tokens.create("app")
    assert tokens.digests() == {"app": hashed(first)}


def test_a_revoked_token_is_gone_and_its_name_is_free_again(database: Database) -> None:
    tokens = Tokens(database)
    first = tokens.create("app")
    kept = tokens.create("ci")
    tokens.revoke("app")
    assert tokens.digests() == {"ci": hashed(kept)}
    assert tokens.create("app") != first


def test_an_unknown_name_gets_a_suggestion_and_revokes_nothing(database: Database) -> None:
    tokens = Tokens(database)
    tokens.create("recommender")
    with pytest.raises(TokenNotFound, match=r"'recomender'\. Did you mean 'recommender'"):
        tokens.revoke("recomender")
    assert [token.name for token in tokens.names()] == ["recommender"]


@pytest.mark.parametrize("name", ["", "7up", "a b", "ci=", "a,b", "é", "a" * 129])
def test_a_name_is_one_word_that_settings_and_columns_can_hold(
    database: Database, name: str
) -> None:
    with pytest.raises(DataError, match="cannot name a token: use up to 128 letters, digits"):
        Tokens(database).create(name)


def test_before_there_is_a_registry_there_are_none(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'registry.db'}")
    assert (Tokens(database).names(), Tokens(database).digests()) == ([], {})
    with pytest.raises(TokenNotFound, match="There are none yet: run `feature-store token create`"):
        Tokens(database).revoke("app")
    assert not database.exists

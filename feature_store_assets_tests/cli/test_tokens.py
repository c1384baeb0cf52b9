"""`feature-store token`: who may use the HTTP server."""

from datetime import UTC, datetime

import pytest

from feature_store_assets import FeatureStore
from feature_store_assets.registry.tokens import hashed
from feature_store_assets_tests.cli.commands import cells, refused, run


def test_create_prints_the_token_alone_for_a_file_or_a_pipe() -> None:
    made = run("token", "create", "app")
    with FeatureStore.from_env() as store:
        assert store.tokens.digests() == {"app": hashed(made.stdout.removesuffix("\n"))}
    assert "shown only now" in made.stderr
    assert "Authorization: Bearer" in made.stderr
    assert made.stdout.strip() not in made.stderr


def test_list_shows_who_has_one_and_since_when() -> None:
    assert cells(run("token", "list")) == [["name", "created"]]
    secrets = [run("token", "create", name).stdout.strip() for name in ("b", "a")]
    answer = run("token", "list")
    header, *lines = cells(answer)
    assert header == ["name", "created"]
    assert [line[0] for line in lines] == ["a", "b"]
    assert {line[1][:10] for line in lines} == {str(datetime.now(UTC).date())}
    assert not any(token in answer.output or hashed(token) in answer.output for token in secrets)


def test_revoke_says_when_no_token_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("a", "b", "c"):
        run("token", "create", name)
    assert run("token", "revoke", "a").stderr == "The token of 'a' no longer counts.\n"
    assert run("token", "revoke", "b").exit_code == 0
    monkeypatch.setenv("FEATURE_STORE_API_TOKENS", f"ci={hashed('sesame')}")
    assert "last" not in run("token", "revoke", "c").stderr
    run("token", "create", "c")
    monkeypatch.delenv("FEATURE_STORE_API_TOKENS")
    assert "It was the last: a server that is started now" in run("token", "revoke", "c").stderr
    assert cells(run("token", "list")) == [["name", "created"]]


def test_names_that_are_taken_unknown_or_none_are_refused_as_one_line() -> None:
    run("token", "create", "app")
    assert refused("token", "create", "app").endswith("Revoke it first, or take another name.")
    assert refused("token", "revoke", "ap").endswith("Did you mean 'app'?")
    assert refused("token", "create", "a b").startswith("'a b' cannot name a token: use up to 128")

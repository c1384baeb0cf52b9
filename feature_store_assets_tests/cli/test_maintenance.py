"""`feature-store snapshot`, `hold`, `retain` and `compact`."""

import json
from datetime import timedelta

import pytest

from feature_store_assets import Feature, FeatureStore
from feature_store_assets_tests.cli.commands import cells, refused, run
from feature_store_assets_tests.stores import pushed, row


@pytest.fixture(autouse=True)
def spending(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that keeps 60 days; all of its rows are older."""
    monkeypatch.setenv("FEATURE_STORE_REMOVAL_GRACE_SECONDS", "0")
    with FeatureStore.from_env() as store:
        kept = timedelta(days=60)
        store.apply(pushed("spending", Feature("x", "int64"), retention=kept, ttl=kept))
        store.write_features([row("ann", 0, x=1), row("bob", 0, x=2)], "spending")


def write(**features: int) -> None:
    with FeatureStore.from_env() as store:
        store.write_features([row("ann", 1, **features)], "spending")


def test_a_snapshot_is_made_listed_shown_verified_and_deleted() -> None:
    made = run(
        "snapshot", "create", "june", "spending", "--tag", "keep=forever", "--tag", "use=audit"
    )
    assert made.stderr == "'june' pins 2 rows of spending.\n"
    assert cells(run("snapshot", "list"))[1][3:] == ["spending", "keep=forever, use=audit"]
    (listed,) = json.loads(run("snapshot", "list", "--json").stdout)
    assert (listed["name"], listed["groups"], listed["tags"]["use"]) == (
        "june",
        ["spending"],
        "audit",
    )
    manifest = json.loads(run("snapshot", "show", "june").stdout)
    assert manifest["groups"][0]["rows"] == 2
    assert run("snapshot", "verify", "june").stderr == "1 files, all as they were pinned.\n"
    assert "snapshot named 'june' exists already" in refused(
        "snapshot", "create", "june", "spending"
    )
    assert run("snapshot", "delete", "june").stderr == "'june' is deleted.\n"
    assert "No snapshot is named 'june'" in refused("snapshot", "show", "june")


def test_two_snapshots_are_compared() -> None:
    run("snapshot", "create", "june", "spending")
    write(x=3)
    run("snapshot", "create", "july", "spending")
    groups, shift = cells(run("snapshot", "diff", "june", "july"))[1::2]
    assert groups == ["spending", "1", "2", "3", "1", "0", "0"]
    assert shift[:3] == ["spending", "x", "0"]
    found = json.loads(run("snapshot", "diff", "june", "july", "--json").stdout)
    assert found["groups"][0]["rows"]["added"] == 1


def test_retention_removes_nothing_until_it_is_told_to() -> None:
    dry = run("retain")
    assert cells(dry)[1][:3] == ["spending", "1", "2"]
    assert "this was a dry run" in dry.stderr
    with FeatureStore.from_env() as store:
        assert len(store.read_features("spending")) == 2
    answer = json.loads(run("retain", "--apply", "--json").stdout)
    assert answer["groups"][0]["partitions"] == ["2024-01"]
    assert answer["outdated"] == {"snapshots": [], "quarantined": 0, "statistics": 0, "usage": 0}
    assert "is outside retention" in refused("read", "spending", "--partition", "2024-01")


def test_what_is_held_stays_and_says_why() -> None:
    assert run("hold", "place", "group", "spending", "case 7").exit_code == 0
    assert cells(run("hold", "list"))[1][:3] == ["group", "spending", "case 7"]
    assert cells(run("retain", "spending", "--apply"))[1][-1] == "legal hold (case 7)"
    run("snapshot", "create", "june", "spending")
    assert "needed by the legal hold on group 'spending' (case 7)" in refused(
        "snapshot", "delete", "june"
    )
    assert run("hold", "lift", "group", "spending").exit_code == 0
    assert json.loads(run("hold", "list", "--json").stdout) == []
    assert "There is no hold on group 'spending'" in refused("hold", "lift", "group", "spending")


def test_small_files_are_written_together() -> None:
    write(x=5)
    assert cells(run("compact"))[1] == ["spending", "0", "0", "0", "0", "0"]
    done = json.loads(run("compact", "spending", "--at-least", "2", "--json").stdout)
    assert [done[0][each] for each in ("partitions", "files before", "after")] == [1, 2, 1]
    with FeatureStore.from_env() as store:
        assert len(store.read_features("spending")) == 3

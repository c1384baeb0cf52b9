"""Who acts: it stands in the audit log, in counts of reads, and in what was made."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from feature_store_assets import Feature, FeatureStore
from feature_store_assets.errors import DataError
from feature_store_assets.orchestration.definitions import build_definitions
from feature_store_assets.registry.actor import Actor
from feature_store_assets.registry.audit import Entry
from feature_store_assets.registry.database import Database, audit
from feature_store_assets.registry.tokens import hashed
from feature_store_assets.server.app import create_app
from feature_store_assets_tests.migrations import downgrade
from feature_store_assets_tests.server.apps import ONLINE, PUSH, post
from feature_store_assets_tests.stores import T0, new_store, once, pushed, row

PEOPLE = pushed("people", Feature("age", "int64"))
ME = Actor.of_process().name


@pytest.fixture
@once
def people(store: FeatureStore) -> FeatureStore:
    store.apply(PEOPLE)
    store.write_features([row("ann", 0, age=41)], "people")
    return store


def acts(store: FeatureStore) -> list[tuple[str, str, str]]:
    """Who did what, and how that is known."""
    return [(each.actor, each.source, each.action) for each in store.audit.entries()]


@pytest.mark.parametrize(
    "name", [5, b"ann", "", " ", "a\nb", "a\0b", "\ud800", "\u202eann", "a" * 129, ["ann"]]
)
def test_what_is_no_name_is_refused_before_anything_is_done(
    people: FeatureStore, name: Any
) -> None:
    before = acts(people)
    with pytest.raises(DataError, match=r"actor"):
        people.acting_as(name)
    with pytest.raises(DataError, match=r"actor"):
        FeatureStore(people.config, actor=name)
    assert acts(people) == before


def test_by_default_the_user_of_the_process_acts(people: FeatureStore) -> None:
    assert people.actor == Actor(ME)
    assert acts(people) == [(ME, "asserted", "apply"), (ME, "asserted", "write")]


def test_a_store_is_opened_by_somebody(tmp_path: Path) -> None:
    robot = Actor("robot", ("writer",), "oidc")
    with FeatureStore(new_store(tmp_path).config, actor=robot) as store:
        store.apply(PEOPLE)
        assert acts(store) == [("robot", "oidc", "apply")]


def test_whoever_acts_is_named_by_all_that_is_made(people: FeatureStore) -> None:
    ann = people.acting_as("ann")
    assert (ann.actor, people.actor) == (Actor("ann"), Actor(ME))
    ann.create_snapshot("people", "s")
    ann.hold("group", "people", "case 7")
    ann.set_stage("people", "deprecated")
    spine = [{"entity_id": "ann", "event_timestamp": T0, "label": 1}]
    ann.create_training_set("people", spine, "t", label="label")
    ann.log_model("m", training_set="t")
    ann.write_features([row("bob", 0, age=7)], "people")
    told = {who for who, _, _ in acts(people)[2:]}
    assert told == {"ann"}
    made = [
        people.list_snapshots()[0].created_by,
        people.holds.all()[0].placed_by,
        people.standing("people").changed_by,
        people.training_set_records()[0].created_by,
        people.models()[0].logged_by,
        people.applied.history("people")[0].changed_by,
    ]
    assert made == ["ann"] * 5 + [ME]


def test_reads_are_counted_for_whoever_reads(people: FeatureStore) -> None:
    spine = [{"entity_id": "ann", "event_timestamp": T0}]
    for name, times in (("ann", 1), ("bob", 2)):
        store = people.acting_as(name)
        for _ in range(times):
            store.get_online_features("people", ["ann"])
            store.read_features("people")
            store.get_historical_features("people", spine)
    people.serving.count()
    found = {(each["consumer"], each["path"]): each["reads"] for each in people.usage_statistics()}
    assert found == {
        (name, path): times
        for name, times in (("ann", 1), ("bob", 2))
        for path in ("online", "offline", "training")
    }


def test_acting_as_somebody_opens_nothing(people: FeatureStore) -> None:
    ann = people.acting_as("ann")
    assert ann.online is people.online
    assert ann.serving is people.serving
    assert ann.get_online_features("people", ["ann"]) == {"ann": {"age": 41}}


def test_over_http_the_token_says_who_acts(tmp_path: Path) -> None:
    with new_store(tmp_path, api_tokens=(f"app={hashed('sesame')}",)) as store:
        store.apply(PEOPLE)
        app = create_app(store)
        claims = {"X-API-Key": "sesame", "X-User": "root", "X-Forwarded-User": "root"}
        post(app, PUSH, {"group": "people", "rows": [_json_row("ann")]}, headers=claims)
        post(app, ONLINE, {"group": "people", "entities": ["ann"]}, headers=claims)
        assert acts(store)[-1] == ("app", "token", "write")
        store.serving.count()
        [used] = store.usage_statistics()
        assert (used["consumer"], used["path"]) == ("app", "http")


def test_while_a_server_is_open_its_own_user_acts(people: FeatureStore) -> None:
    app = create_app(people.acting_as("service"))
    post(app, PUSH, {"group": "people", "rows": [_json_row("bob")]})
    assert acts(people)[-1] == ("service", "asserted", "write")


def _json_row(entity: str) -> dict[str, object]:
    return {"entity_id": entity, "event_timestamp": T0.isoformat(), "age": 41}


@pytest.mark.parametrize(
    ("tags", "who"), [({"user": "ann@example.com"}, "ann@example.com"), ({}, ME)]
)
def test_a_run_acts_for_the_user_in_its_tags(
    people: FeatureStore, tags: dict[str, str], who: str
) -> None:
    defs = build_definitions([PEOPLE], config=people.config)
    job = defs.resolve_job_def("snapshot_job")
    config = {"ops": {"snapshot": {"config": {"features": ["people"], "name": "s"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(run_config=config, tags=tags, instance=instance).success
    assert {each[:2] for each in acts(people)[2:]} == {(who, "dagster")}


def test_entries_from_before_keep_their_digests(people: FeatureStore) -> None:
    bare = Entry(1, "2024-01-01T00:00:00.000000+00:00", "ann", "apply", "group people")
    old = {**vars(bare), "detail": "{}", "digest": bare.computed()}
    database = Database(people.config.registry)
    with database.write() as connection:
        connection.execute(sa.delete(audit))
        downgrade(connection, "0008")
        names = [name for name in old if name != "source"]
        table = sa.table("audit", *(sa.column(name, sa.Text) for name in names))
        connection.execute(sa.insert(table).values({name: old[name] for name in names}))
    database.close()
    people.close()
    with FeatureStore(people.config) as store:
        store.apply(pushed("others", Feature("x", "int64")))
        assert acts(store) == [("ann", "", "apply"), (ME, "asserted", "apply")]
        assert store.audit.verify() == 2

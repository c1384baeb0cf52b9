"""`POST /v1/push`: rows are on disk and online when it is answered, or nothing was written."""

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from starlette.types import ASGIApp

from feature_store_assets.declaration.expect import expect
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.server.app import create_app
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.server.apps import PUSH, ask, post
from feature_store_assets_tests.server.test_online import JSON
from feature_store_assets_tests.stores import T0, new_store, pushed, traces

WHEN = "2024-01-15T13:00:00+01:00"  # T0
PEOPLE = pushed(
    "people",
    Feature("age", "int64", ge=0),
    Feature("score", "float64"),
    Feature("born", "date32", pii=True),
    Feature("seen", "list<timestamp[us, UTC]>"),
    entity=Entity("user", {"user": "string", "since": "datetime"}),
    timestamp="known_at",
    created="recorded_at",
)
ROW: dict[str, Any] = {
    "user": "ann", "since": WHEN, "known_at": WHEN, "recorded_at": "2024-01-15T12:00:00.000001Z",
    "age": 41, "score": "-Infinity", "born": "1983-02-28", "seen": [WHEN, None],
}  # fmt: skip


@pytest.fixture
def app(store: FeatureStore) -> ASGIApp:
    store.apply(PEOPLE)
    return create_app(store)


def test_rows_are_offline_and_online_with_their_own_types(
    store: FeatureStore, app: ASGIApp
) -> None:
    answer = post(app, PUSH, {"group": "people", "rows": [ROW]})
    assert answer.pop("version") >= 0
    assert answer == {
        "feature_group": "people",
        "rows_written": 1,
        "rows_updated": 0,
        "rows_duplicate": 0,
        "partitions": ["2024-01"],
    }
    values = {
        "age": 41, "score": float("-inf"), "born": date(1983, 2, 28), "seen": [T0, None]
    }  # fmt: skip
    [stored] = store.read_features("people").to_arrow().to_pylist()
    assert stored == {"user": "ann", "since": T0, "known_at": T0, **values}
    assert store.get_online_features("people", [("ann", T0)]) == {("ann", T0): values}


def test_what_is_broken_and_not_critical_is_in_the_answer(
    store: FeatureStore, app: ASGIApp
) -> None:
    young = expect.column_values_to_be_between("age", max_value=17, severity="warning")
    store.apply(pushed("pupils", Feature("age", "int64"), expectations=[young]))
    rows = [{"entity_id": "u", "event_timestamp": WHEN, "age": 41}]
    with pytest.warns(UserWarning, match="at fault"):
        answer = post(app, PUSH, {"group": "pupils", "rows": rows})
    assert answer["rows_written"] == 1
    (warning,) = answer["warnings"]
    assert warning.startswith("'pupils' 2024-01: 'age': expected values to be between")


def test_an_unknown_group_comes_into_being_with_the_types_told(
    store: FeatureStore, app: ASGIApp
) -> None:
    rows = [{"entity_id": "u", "event_timestamp": WHEN, "born": "2000-02-29", "x": "NaN"}]
    types = {"born": "date", "x": "float"}
    with pytest.warns(UserWarning, match="did not declare"):
        post(app, PUSH, {"group": "new", "rows": rows, "types": types, "new_features": "draft"})
    kinds = {feature.name: feature.dtype for feature in store.applied.group("new").features}
    assert kinds == {"born": "date32", "x": "float64"}


@pytest.mark.filterwarnings("error")
def test_columns_that_are_not_declared_are_refused_unless_drafts_are_asked_for(
    store: FeatureStore, app: ASGIApp
) -> None:
    store.register_feature("age", feature_group="registered", data_type="int")
    row = {"entity_id": "u", "event_timestamp": WHEN, "age": 1, "aeg": 2}
    for group, status, message in (
        ("registered", 422, "declares no column 'aeg'.*Did you mean 'age'"),
        ("registerd", 404, "Did you mean 'registered'"),
    ):
        answer = ask(app, "POST", PUSH, json={"group": group, "rows": [row]})
        assert answer.status_code == status
        assert re.search(message, answer.json()["detail"])
    assert store.applied.group("registered").feature_names == ["age"]


def test_modes_append_upsert_and_overwrite(store: FeatureStore, app: ASGIApp) -> None:
    other = {**ROW, "age": 42, "recorded_at": "2024-01-16T00:00:00Z"}
    post(app, PUSH, {"group": "people", "rows": [ROW]})
    assert post(app, PUSH, {"group": "people", "rows": [ROW]})["rows_duplicate"] == 1
    post(app, PUSH, {"group": "people", "rows": [other], "mode": "upsert"})
    assert store.read_features("people").to_polars()["age"].to_list() == [42]
    fresh = {**other, "user": "bob"}
    post(app, PUSH, {"group": "people", "rows": [fresh], "mode": "overwrite"})
    assert store.read_features("people").to_polars()["user"].to_list() == ["bob"]


@pytest.mark.parametrize(
    ("changed", "status", "message"),
    [
        ({"rows": []}, 422, "body.rows: List should have at least 1 item"),
        ({"rows": {}}, 422, "body.rows: Input should be a valid list"),
        ({"mode": "replace"}, 422, "body.mode: Input should be 'append', 'upsert' or 'overwrite'"),
        ({"typo": 1}, 422, "body.typo: Extra inputs are not permitted"),
        ({"types": {"x": "number"}}, 422, "number"),
        ({"rows": [{**ROW, "known_at": "yesterday"}]}, 422, "'known_at' is timestamp[us, UTC] and"),
        (
            {"rows": [{**ROW, "born": "20th"}]},
            422,
            "'born' is date32 and holds a text that is none",
        ),
        ({"rows": [{**ROW, "score": "high"}]}, 422, "'score' is float64 and holds a text"),
        ({"rows": [{**ROW, "known_at": WHEN[:19]}]}, 422, "have no time zone"),
        ({"rows": [{**ROW, "known_at": "0001-01-01T00:00:00+01:00"}]}, 422, "a text that is none"),
        ({"rows": [{**ROW, "age": "old"}]}, 422, "'age' of 'people' is declared int64"),
        ({"rows": [{**ROW, "age": 1 << 64}]}, 422, "Columns ['age'] hold integers of more"),
        ({"rows": [{**ROW, "age": -1}]}, 422, "break the declared bounds"),
        ({"rows": [{**ROW, "user": None}]}, 422, "have no 'user'"),
        ({"rows": [ROW, {**ROW, "age": 1}]}, 422, "repeat another row's"),
        ({"group": "no such name!"}, 422, "no such name!"),
        ({"group": "computed"}, 409, "feature-store materialize computed"),
    ],
)
def test_what_cannot_be_written_is_told_and_nothing_was(
    store: FeatureStore, app: ASGIApp, changed: dict[str, Any], status: int, message: str
) -> None:
    store.apply(pushed("computed", Feature("x", "int64"), partitions=None))
    before = traces(store)
    answer = ask(app, "POST", PUSH, json={"group": "people", "rows": [ROW], **changed})
    assert (answer.status_code, list(answer.json())) == (status, ["detail"]), answer.text
    assert message in answer.json()["detail"]
    assert traces(store) == before


def test_no_answer_shows_keys_or_personal_values(app: ASGIApp) -> None:
    post(app, PUSH, {"group": "people", "rows": [ROW]})
    secret = {**ROW, "user": "hunter2", "born": "1983-02-27"}
    wrong = [
        [secret, secret],
        [secret, {**secret, "user": None}],
        [secret, {**secret, "age": -1}],
        [{**secret, "seen": "hunter2"}],
        [{**ROW, "born": "1983-02-27"}],
        [{**secret, "user": ["hunter2"]}],
    ]
    for rows in wrong:
        answer = ask(app, "POST", PUSH, json={"group": "people", "rows": rows})
        assert answer.status_code == 422, answer.text
        assert "hunter2" not in answer.text
        assert "1983" not in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 422),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b'{"group": "\\ud800"}', 400),
        (b'{"rows": NaN}', 400),
    ],
)
def test_a_body_that_is_no_json_is_the_clients_mistake(
    app: ASGIApp, body: bytes, status: int
) -> None:
    headers = {"content-type": "application/json"}
    answer = ask(app, "POST", PUSH, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


# Whatever is sent

VALUES = JSON | st.sampled_from(
    [WHEN, "NaN", "2024-01-15", 1 << 63, "\ud800", [[]], [None, None], {"\0": {}}]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        ROW | dict.fromkeys(ROW, VALUES), optional={"new": VALUES, "new\0": VALUES}
    )
    | JSON,
    max_size=2,
)
LIKELY = st.tuples(st.sampled_from(sorted(ROW)), VALUES).map(lambda it: [{**ROW, it[0]: it[1]}])
REQUESTS = st.fixed_dictionaries(
    {
        "group": st.sampled_from(["people", "new", "\ud800"]) | JSON,
        "rows": LIKELY | ROWS | JSON,
        "mode": st.sampled_from(["append", "upsert", "overwrite"]),
        "types": st.dictionaries(st.sampled_from(["new", *ROW]), VALUES, max_size=2),
    }
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    with new_store(tmp_path_factory.mktemp("fuzzed")) as store:
        store.apply(PEOPLE)
        yield create_app(store)


@pytest.mark.filterwarnings("ignore:.*did not declare:UserWarning")
@settings(max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(REQUESTS)
def test_any_json_is_answered(fuzzed: ASGIApp, asked: Any) -> None:
    headers = {"content-type": "application/json"}
    answer = ask(fuzzed, "POST", PUSH, content=json.dumps(asked).encode(), headers=headers)
    assert answer.status_code in {200, 400, 404, 409, 422}, answer.text
    assert answer.headers["content-type"] == "application/json"

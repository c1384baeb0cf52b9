"""The client gives what the store in process gives: values, shapes and kinds of errors."""

import asyncio
import itertools
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import example, given, settings, strategies as st

from feature_store_assets import FeatureStoreClient
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    ConfigError,
    DataError,
    FeatureStoreError,
    NotFound,
    StoreUnavailable,
    WriteRefused,
)
from feature_store_assets.registry.tokens import hashed
from feature_store_assets.server.app import create_app
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests import functions
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.server.apps import listening
from feature_store_assets_tests.stores import HOUR, T0, at, new_store, pushed, row

KINDS = ("int64", "float64", "bool", "string", "date32", "timestamp[us, UTC]")
EVERYTHING = pushed(
    "everything",
    *(Feature(f"one_{number}", kind) for number, kind in enumerate(KINDS)),
    *(Feature(f"many_{number}", f"list<{kind}>") for number, kind in enumerate(KINDS)),
    entity=Entity("user", {"entity_id": "string"}),
    ttl=10 * HOUR,
)
ROUTE = {"origin": "string", "number": "int64", "day": "date32", "since": "datetime", "long": bool}
ROUTES = pushed("routes", Feature("delay", "float64"), entity=Entity("route", ROUTE))
ASKED = FeatureView(
    "asked",
    [EVERYTHING["one_1", "one_4"].rename({"one_1": "x", "one_4": "day"})],
    request={"more": "float64", "until": "date32", "asked_at": "datetime", "tags": "list<string>"},
    computed=[
        RequestFeature("ratio", "float64", functions.ratio),
        RequestFeature("later", "date32", functions.later_day),
        RequestFeature("waited", "float64", functions.hours_since_t0),
        RequestFeature("longest", "int64", functions.longest),
    ],
)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(1 << 63), (1 << 63) - 1),
    "float64": st.floats(),
    "bool": st.booleans(),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    "date32": st.dates(),
    "timestamp[us, UTC]": st.datetimes(timezones=st.just(UTC)),
}
FEATURES = st.fixed_dictionaries(
    {f"one_{number}": st.none() | VALUES[kind] for number, kind in enumerate(KINDS)}
    | {
        f"many_{number}": st.none() | st.lists(st.none() | VALUES[kind], max_size=3)
        for number, kind in enumerate(KINDS)
    }
)
NOTHING = dict.fromkeys(EVERYTHING.feature_names)
numbers = itertools.count()


def fact(entity: object, hours: float, **features: object) -> dict[str, Any]:
    return row(entity, hours, **{**NOTHING, **features})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with new_store(tmp_path_factory.mktemp("client")) as opened:
        opened.apply(EVERYTHING, ROUTES, ASKED)
        yield opened


@pytest.fixture(scope="module")
def url(store: FeatureStore) -> Iterator[str]:
    with listening(create_app(FeatureStore(store.config))) as served:
        yield served


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[FeatureStoreClient]:
    with FeatureStoreClient(url) as opened:
        yield opened


def same(store: FeatureStore, client: FeatureStoreClient, *asked: Any, **more: Any) -> Any:
    """The answer, which is the same in process and over HTTP, sync and async."""

    async def over_http() -> Any:
        async with client:
            return await client.get_online_features_async(*asked, **more)

    answer = store.get_online_features(*asked, **more)
    # As text, so that 1 is not 1.0, a date no datetime, and NaN equals itself.
    assert repr(client.get_online_features(*asked, **more)) == repr(answer)
    assert repr(asyncio.run(over_http())) == repr(answer)
    return answer


# Reading


@settings(max_examples=examples(10))
@given(FEATURES, st.sampled_from([0, 10, 10.001]), st.booleans())
def test_values_of_every_type_come_back_as_they_are_in_process(
    store: FeatureStore,
    client: FeatureStoreClient,
    features: dict[str, Any],
    age: float,
    status: bool,
) -> None:
    entity = f"user {next(numbers)}"
    store.write_features([row(entity, 0, **features)], "everything")
    asked = [entity, "nobody", "ünï\u2028😀"]
    same(store, client, "everything", asked, at=at(age), include_status=status)
    same(store, client, "everything", [{"entity_id": each} for each in asked], at=at(age))


def test_each_status_is_told(store: FeatureStore, client: FeatureStoreClient) -> None:
    store.write_features([fact("early", 0, one_0=1), fact("late", 5, one_0=2)], "everything")
    ids = ["early", "late", "nobody"]
    answer = same(store, client, "everything", ids, ["one_0"], at=at(11), include_status=True)
    assert [each["status"] for each in answer.values()] == ["expired", "present", "missing"]
    assert answer["late"] == {
        "values": {"one_0": 2},
        "status": "present",
        "event_timestamp": at(5),
        "age_seconds": 6 * 3600.0,
        "stale": False,
    }


@settings(max_examples=examples(8))
@given(st.tuples(*(VALUES[kind] for kind in ROUTES.entity.key_types if kind)))
@example(("A,B", -1, date(1, 1, 1), datetime(9999, 12, 31, 23, tzinfo=UTC), False))
def test_composite_keys_are_tuples_or_dicts(
    store: FeatureStore, client: FeatureStoreClient, route: tuple[Any, ...]
) -> None:
    keys = dict(zip(ROUTE, route, strict=True))
    store.write_features([{**keys, "event_timestamp": T0, "delay": 2.5}], "routes", "upsert")
    other = (*route[:-1], not route[-1])
    answer = same(store, client, "routes", [route, other])
    assert answer[route] == {"delay": 2.5}
    same(store, client, "routes", [keys], include_status=True, at=T0)


@settings(max_examples=examples(8))
@given(
    st.fixed_dictionaries(
        {
            "more": st.floats(),
            "until": st.dates(),
            "asked_at": st.datetimes(timezones=st.just(UTC)),
            "tags": st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=2),
        }
    )
)
def test_request_values_of_every_kind_arrive(
    store: FeatureStore, client: FeatureStoreClient, request: dict[str, Any]
) -> None:
    asked = [{"entity_id": "nobody", **request}]
    same(store, client, "asked", asked, at=T0, include_status=True)


def test_views_lists_of_ids_and_parts_of_groups_are_asked_for(
    store: FeatureStore, client: FeatureStoreClient
) -> None:
    store.write_features([fact("eve", 0, one_1=0.5, one_4=date(2024, 2, 29))], "everything")
    same(store, client, "asked", ["eve"], ["day", "x"])
    same(store, client, ["everything.one_4", "everything.one_1"], ["eve"])
    assert same(store, client, "everything", ["eve"], []) == {"eve": {}}
    assert same(store, client, "everything", []) == {}


def test_keys_stay_what_was_given(store: FeatureStore, client: FeatureStoreClient) -> None:
    store.apply(pushed("shops", Feature("x", "int64"), entity=Entity("shop", {"shop": "int64"})))
    store.write_features([{"shop": 7, "event_timestamp": T0, "x": 1}], "shops")
    asked = [7, np.int64(7), 1 << 62]
    assert same(store, client, "shops", asked) == {7: {"x": 1}, 1 << 62: {"x": None}}
    person = UUID("6f2c1e0a-7b54-4c8f-9d3e-2a1b0c9d8e7f")
    store.write_features([fact(str(person), 0, one_0=3)], "everything")
    answer = same(store, client, "everything", [person], ["one_0"], at=T0)
    assert answer == {person: {"one_0": 3}}


# Writing


@pytest.mark.slow
@settings(max_examples=examples(8))
@given(FEATURES)
def test_rows_are_written_as_in_process(
    store: FeatureStore, client: FeatureStoreClient, features: dict[str, Any]
) -> None:
    here, there = (f"writer {next(numbers)}" for _ in range(2))
    told = client.write_features([row(there, 0, **features)], "everything")
    also = store.write_features([row(here, 0, **features)], "everything")
    assert (told.feature_group, told.rows_written, told.rows_duplicate, told.partitions) == (
        also.feature_group, also.rows_written, also.rows_duplicate, also.partitions
    )  # fmt: skip
    answer = store.get_online_features("everything", [here, there], at=T0)
    assert repr(answer[here]) == repr(answer[there])


def test_columns_that_are_not_declared_keep_their_types(
    store: FeatureStore, client: FeatureStoreClient
) -> None:
    new = {
        "born": date(2000, 2, 29),
        "seen": T0,
        "score": float("nan"),
        "days": [None, date(2024, 1, 1)],
    }
    with pytest.warns(UserWarning, match="did not declare 'born'"):
        store.write_features([row("u", 0, **new)], "drafts_here")
    with pytest.warns(UserWarning, match="did not declare 'born'"):
        client.write_features([row("u", 0, **new)], "drafts_there", new_features="draft")
    here, there = store.applied.group("drafts_here"), store.applied.group("drafts_there")
    assert [each.dtype for each in here.features] == [each.dtype for each in there.features]


@pytest.mark.parametrize("library", [pl.DataFrame, pd.DataFrame])
def test_frames_are_written(
    store: FeatureStore, client: FeatureStoreClient, library: type[Any]
) -> None:
    rows = [fact(f"{library.__module__} {n}", 0, one_1=x) for n, x in enumerate([1.5, None])]
    assert client.write_features(library(rows), "everything").rows_written == 2
    ids = [each["entity_id"] for each in rows]
    answer = store.get_online_features("everything", ids, ["one_1"], at=T0)
    assert list(answer.values()) == [{"one_1": 1.5}, {"one_1": None}]


def test_writing_can_be_awaited_and_repeated(client: FeatureStoreClient) -> None:
    async def written_twice() -> list[int]:
        rows = [fact("awaited", 0, one_0=1)]
        first = await client.write_features_async(rows, "everything")
        again = await client.write_features_async(rows, "everything", "upsert")
        await client.aclose()
        return [first.rows_written, first.rows_duplicate, again.rows_written, again.rows_duplicate]

    assert asyncio.run(written_twice()) == [1, 0, 0, 1]


# What there is


def test_groups_are_described_and_found(client: FeatureStoreClient) -> None:
    assert {"everything", "routes"} <= {each["name"] for each in client.groups()}
    card = client.group("routes")
    assert card["join_keys"] == {
        "origin": "string", "number": "int64", "day": "date32", "since": "timestamp[us, UTC]",
        "long": "bool",
    }  # fmt: skip
    assert [each["name"] for each in card["features"]] == ["delay"]
    assert client.search("delay")[0] == {
        "kind": "feature", "name": "routes.delay", "description": "", "score": 100,
        "stage": "active", "freshness": "unknown",
    }  # fmt: skip


# Errors


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        (("everythin", ["u"]), NotFound, "Did you mean 'everything'?"),
        (("everything", ["u"], ["one_9"]), NotFound, "No feature is named 'one_9'"),
        (("everything", [7]), DataError, "'entity_id' of 'everything' is string"),
        (("routes", [("A",)]), DataError, "is a tuple"),
        (("asked", ["u"]), DataError, "come with the request"),
    ],
)
def test_errors_are_those_of_the_store(
    store: FeatureStore,
    client: FeatureStoreClient,
    asked: Any,
    kind: type[FeatureStoreError],
    message: str,
) -> None:
    with pytest.raises(kind, match=re.escape(message)) as here:
        store.get_online_features(*asked)
    with pytest.raises(kind, match=re.escape(message)) as there:
        client.get_online_features(*asked)
    assert str(there.value) == str(here.value)


def test_other_refusals_have_their_kinds_too(
    store: FeatureStore, client: FeatureStoreClient
) -> None:
    with pytest.raises(NotFound, match="Did you mean 'routes'"):
        client.group("route")
    with pytest.raises(NotFound, match="No feature group is named 'a b\\?c'"):
        client.group("a b?c")
    with pytest.raises(DataError, match="declared int64"):
        client.write_features([fact("u", 0, one_0="x")], "everything")
    with pytest.raises(DataError, match="holds a text that is none"):
        client.write_features([row("u", 0, one_4="tomorrow")], "everything")
    with pytest.raises(DataError, match="a list of dicts"):
        client.write_features({"entity_id": "u"}, "everything")
    with pytest.raises(DataError, match="Name them once"):
        client.get_online_features(["everything.one_0"], ["u"], ["one_0"])
    with pytest.raises(FeatureStoreError, match="more than 10,000"):
        client.get_online_features("everything", ["u"] * 10_001)
    store.apply(pushed("computed", Feature("x", "int64"), partitions=None))
    with pytest.raises(WriteRefused, match="feature-store materialize computed"):
        client.write_features([row("u", 0, x=1)], "computed")


@pytest.mark.parametrize("value", [object(), "\ud800", {1j}])
def test_what_json_cannot_tell_is_refused_without_showing_it(
    client: FeatureStoreClient, value: object
) -> None:
    with pytest.raises(DataError, match="a value that JSON cannot tell") as refused:
        client.get_online_features("everything", [value])
    assert repr(value) not in str(refused.value)


@pytest.mark.parametrize("entities", [["u", {"entity_id": "u"}], [["u"]]])
def test_entities_of_mixed_form_are_refused(client: FeatureStoreClient, entities: Any) -> None:
    with pytest.raises(DataError, match="tuples of several"):
        client.get_online_features("everything", entities)


def test_a_token_is_presented_and_asked_for(tmp_path: Path) -> None:
    guarded = new_store(tmp_path, api_tokens=(f"app={hashed('sesame')}",))
    guarded.apply(EVERYTHING)
    with listening(create_app(guarded)) as url:
        with FeatureStoreClient(url, "sesame") as admitted:
            assert admitted.groups()[0]["name"] == "everything"
        for token in (None, "wrong"):
            with (
                FeatureStoreClient(url, token) as stranger,
                pytest.raises(ConfigError, match=r"Present a token.*FeatureStoreClient\("),
            ):
                stranger.get_online_features("everything", ["u"])


def test_a_server_that_is_not_there_or_silent_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        shown = f"http://127.0.0.1:{port}"
        with (
            FeatureStoreClient(f"http://me:secret@127.0.0.1:{port}", timeout=0.05) as client,
            pytest.raises(StoreUnavailable, match=f"{shown} does not answer .no answer") as late,
        ):
            client.groups()
        assert "secret" not in f"{late.value}{client!r}"
    with FeatureStoreClient(shown) as client:
        with pytest.raises(StoreUnavailable, match=f"{shown} does not answer .*refused"):
            client.groups()
        with pytest.raises(StoreUnavailable, match="Start it with `feature-store serve`"):
            asyncio.run(client.get_online_features_async("g", ["u"]))


def test_an_online_store_that_does_not_answer_is_told(tmp_path: Path) -> None:
    lost = new_store(tmp_path, online_store_uri=f"unix://{tmp_path / 'nobody'}")
    lost.apply(EVERYTHING)
    with (
        listening(create_app(lost)) as url,
        FeatureStoreClient(url) as client,
        pytest.raises(StoreUnavailable, match=f"{url} cannot answer now: The online store at"),
    ):
        client.get_online_features("everything", ["u"])


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (500, b"[]"), (404, b'{"error": {}}'), (302, b"")]
)
def test_what_is_no_feature_server_is_told_so(status: int, body: bytes) -> None:
    async def other(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": body})

    with listening(other) as url, FeatureStoreClient(url) as client:
        with pytest.raises(FeatureStoreError, match=rf"{url} \(HTTP {status}\) is no feature"):
            client.groups()
        with pytest.raises(FeatureStoreError, match="is no feature server"):
            client.get_online_features("g", ["u"])


@pytest.mark.parametrize("url", ["features:6566", "http://", "ftp://features", "http://a:b"])
def test_a_url_that_is_none_is_told_so(url: str) -> None:
    with FeatureStoreClient(url) as client, pytest.raises(ConfigError, match="http://host:port"):
        client.groups()


# Connections and weight


def test_connections_are_reused_and_each_event_loop_has_its_own(url: str) -> None:
    with FeatureStoreClient(url) as client:
        client.groups()
        kept = client._client
        client.groups()
        assert kept is not None
        assert client._client is kept

        async def connections() -> httpx.AsyncClient:
            await client.get_online_features_async("everything", ["u"])
            await client.get_online_features_async("everything", ["u"])
            [made] = client._of_loops.values()
            await client.aclose()
            return made

        assert asyncio.run(connections()) is not asyncio.run(connections())
        assert kept.is_closed
        client.groups()  # closing lets go of connections, not of the client


def test_importing_the_client_loads_no_library_of_the_store() -> None:
    heavy = {"polars", "pyarrow", "sqlalchemy", "redis", "lmdb", "dagster", "pandas", "numpy"}
    code = (
        "import sys; from feature_store_assets import FeatureStoreClient\n"
        "FeatureStoreClient('http://127.0.0.1:1').close()\n"
        f"print({heavy!r} & sys.modules.keys())"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "set()\n"


def test_ages_count_from_now_without_at(client: FeatureStoreClient, store: FeatureStore) -> None:
    now = datetime.now(UTC)
    fresh = fact("fresh", 0, one_0=1) | {"event_timestamp": now - timedelta(seconds=30)}
    store.write_features([fresh], "everything")
    answer = client.get_online_features("everything", ["fresh"], ["one_0"], include_status=True)
    assert answer["fresh"]["status"] == "present"
    assert 30 <= answer["fresh"]["age_seconds"] < 300

"""Entities as they are typed after `feature-store online`."""

import json

import pytest

from feature_store_assets_tests.cli.commands import cells, refused, run
from feature_store_assets_tests.stores import T0

NOON = T0.isoformat()


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize("entity", ["JFK,LAX", "origin=JFK,dest=LAX", "dest=LAX,origin=JFK"])
def test_several_keys_are_written_in_order_or_by_name(entity: str) -> None:
    assert cells(run("online", "route", entity))[1] == ["JFK", "LAX", "9"]


@pytest.mark.usefixtures("stocked")
def test_quotes_keep_a_comma_and_an_unknown_name_before_an_equals_sign_is_told() -> None:
    assert cells(run("online", "route", '"origin=A,B",dest=C=D'))[1] == ["A,B", "C=D", "1"]
    assert refused("online", "route", "orign=JFK,dest=LAX").endswith("Did you mean 'origin'?")
    assert refused("online", "route", "origin=JFK").endswith("lacks its join key 'dest'.")
    assert "write origin=...,dest=..." in refused("online", "route", "JFK")


@pytest.mark.usefixtures("stocked")
def test_keys_are_read_by_their_types() -> None:
    entity = f"true,2024-01-02,{NOON},7"
    answer = run("online", "visit", entity, "--at", NOON, "--json")
    assert json.loads(answer.stdout) == [
        {
            "entity": {"member": True, "day": "2024-01-02", "since": NOON, "shop_id": 7},
            "values": {"pages": 3},
            "status": "present",
            "event_timestamp": NOON,
            "age_seconds": 0.0,
            "stale": False,
        }
    ]
    assert "'shop_id' is int64: write a whole number" in refused(
        "online", "visit", entity.replace("7", "seven")
    )
    assert "'member' is bool: write true or false" in refused("online", "visit", f"yes{entity[4:]}")


@pytest.mark.usefixtures("stocked")
def test_a_view_takes_the_keys_of_all_its_groups() -> None:
    table = cells(run("online", "trip", "entity_id=u01,origin=JFK,dest=LAX"))
    assert table == [
        ["entity_id", "origin", "dest", "x", "delay"],
        ["u01", "JFK", "LAX", "0.3333333333", "9"],
    ]

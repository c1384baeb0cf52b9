"""Write, audit, publish through real Dagster runs: what is committed, recorded, kept out."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest

from feature_store_assets_tests.orchestration.shop import START, Shop, day, failure

LATER = START + timedelta(days=20)


def materializations(shop: Shop, name: str) -> list[str | None]:
    records = shop.instance.fetch_materializations(dg.AssetKey.from_user_string(name), limit=500)
    return sorted((record.partition_key for record in records.records), key=str)


def test_a_range_is_one_call_with_one_window_and_one_commit(shop: Shop) -> None:
    shop.deliver(0, 3)
    assert shop.run("spending", keys=(day(0), day(3))).success
    assert shop.stored() == {day(number): [1.0] for number in range(4)}
    with shop.store() as store:
        table = store.table(store.applied.group("spending"))
        assert [entry.partition for entry in table.files()] == [day(n) for n in range(4)]
        assert table.version() == 1


def test_each_partition_is_recorded_once_with_its_check(shop: Shop) -> None:
    shop.deliver(0, 2)
    result = shop.run("spending", "online/spending", keys=(day(0), day(2)))
    assert result.success, failure(result)
    days = [day(number) for number in range(3)]
    assert materializations(shop, "spending") == days
    assert materializations(shop, "online/spending") == days
    expected: dict[str | None, str] = dict.fromkeys([*days, None], "SUCCEEDED")
    assert shop.quality() == expected


@pytest.mark.slow
def test_a_range_of_one_day_and_a_single_partition_record_their_check(shop: Shop) -> None:
    shop.deliver(0, 1)
    assert shop.run("spending", keys=(day(0), day(0))).success
    assert shop.run("spending", partition=day(1)).success
    assert {key: state for key, state in shop.quality().items() if key} == {
        day(0): "SUCCEEDED",
        day(1): "SUCCEEDED",
    }
    # And once more: a second check of a partition is no conflict with the first.
    assert shop.run("spending", keys=(day(0), day(1))).success


def bad_day_in_a_range(shop: Shop, days: int, bad: int) -> None:
    shop.deliver(0, days - 1, bad=[day(bad)])
    result = shop.run("spending", "online/spending", keys=(day(0), day(days - 1)))
    assert not result.success
    told = failure(result)
    assert "1 partition(s) of 'spending' failed their checks" in told
    assert f"{day(bad)}: 'spent': expected values to be between (min_value=0): 1 of 2 rows" in told
    good = {day(number) for number in range(days)} - {day(bad)}
    assert shop.committed("spending") == good
    assert set(shop.stored()) == good
    assert shop.committed("online/spending") == set()
    states = shop.quality()
    assert states.pop(day(bad)) == "FAILED"
    assert states.pop(None) == "FAILED"
    assert states == dict.fromkeys(good, "SUCCEEDED")
    with shop.store() as store:
        (file,) = (store.config.root / "quarantine" / "spending" / "v1" / day(bad)).iterdir()
    rows = pl.read_parquet(file).sort("customer_id")
    assert rows["spent"].to_list() == [-1.0, 2.0]
    assert [len(reasons) for reasons in rows["reasons"]] == [1, 0]
    assert "between" in json.loads(pl.read_parquet_metadata(file)["reasons"])[0]


def test_one_bad_day_of_a_range_is_kept_out_and_the_others_are_committed(shop: Shop) -> None:
    bad_day_in_a_range(shop, 4, 2)


@pytest.mark.slow
def test_one_bad_day_of_365_is_kept_out_corrected_and_published(shop: Shop) -> None:
    bad_day_in_a_range(shop, 365, 200)
    shop.deliver(200, 200)
    assert shop.run("spending", "online/spending", partition=day(200)).success
    assert len(shop.committed("spending")) == 365
    assert shop.committed("online/spending") == {day(200)}
    assert shop.served(START + timedelta(days=202)) == 1.0


def test_a_rejected_day_keeps_its_old_value_offline_and_online(shop: Shop) -> None:
    shop.deliver(0, 0)
    shop.run("spending", "online/spending", partition=day(0))
    shop.deliver(0, 0, bad=[day(0)])
    assert not shop.run("spending", "online/spending", partition=day(0)).success
    assert (shop.stored(), shop.served(LATER)) == ({day(0): [1.0]}, 1.0)
    assert shop.quality()[day(0)] == "FAILED"
    shop.deliver(0, 0, factor=7.0)
    assert shop.run("spending", "online/spending", partition=day(0)).success
    assert (shop.stored(), shop.served(LATER)) == ({day(0): [7.0]}, 7.0)
    assert shop.quality()[day(0)] == "SUCCEEDED"


def test_a_warning_is_shown_and_does_not_block(shop: Shop) -> None:
    shop.deliver(0, 1, factor=80.0)
    result = shop.run("spending", keys=(day(0), day(1)))
    assert result.success
    (spent,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "spent"]
    assert (spent.passed, spent.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert spent.metadata["failed_partitions"].value == f"{day(0)}, {day(1)}"
    assert shop.stored() == {day(0): [80.0], day(1): [80.0]}


def test_a_day_without_rows_does_not_pass_silently(shop: Shop) -> None:
    shop.deliver(0, 1, empty=[day(1)])
    result = shop.run("spending", keys=(day(0), day(1)))
    assert not result.success
    assert "2024-01-02" in failure(result)
    assert set(shop.stored()) == {day(0)}


def test_personal_values_and_keys_never_reach_the_event_log(shop: Shop) -> None:
    shop.deliver(0, 2, bad=[day(1)])
    result = shop.run("spending", keys=(day(0), day(2)))
    logged = [
        repr(record.event_log_entry)
        for record in shop.instance.get_records_for_run(result.run_id).records
    ]
    assert any("sample" in entry for entry in logged)
    assert "example.org" not in "".join(logged)


def test_the_asset_shows_schema_lineage_and_distributions(shop: Shop) -> None:
    shop.deliver(0, 0)
    shop.run("spending", partition=day(0))
    spec = shop.definitions.resolve_asset_graph().get(dg.AssetKey(["spending"]))
    schema: Any = spec.metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == [
        "customer_id", "event_timestamp", "spent", "mail",
    ]  # fmt: skip
    lineage: Any = spec.metadata["dagster/column_lineage"]
    assert lineage.deps_by_column["spent"] == [dg.TableColumnDep(dg.AssetKey(["orders"]), "amount")]
    assert spec.owners == ["team:growth"]
    assert spec.kinds == {"polars", "deltalake"}
    event = shop.instance.get_latest_materialization_event(dg.AssetKey(["spending"]))
    assert event is not None
    assert event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    assert shown["dagster/row_count"].value == 2
    assert "| spent | 0.0% | 1.5 |" in str(shown["distributions"].value)
    assert {"first_event", "last_event", "sample", "table_version"} <= set(shown)


def test_the_code_version_follows_the_declaration(shop: Shop) -> None:
    (spec,) = [
        spec for spec in shop.definitions.resolve_all_asset_specs()
        if spec.key == dg.AssetKey(["spending"])
    ]  # fmt: skip
    assert spec.code_version
    assert len(spec.code_version) == 16


def test_nothing_is_written_when_another_definition_was_applied(shop: Shop) -> None:
    from dataclasses import replace

    from feature_store_assets_tests.orchestration.shop import spending

    with shop.store() as store:
        store.apply(replace(spending, ttl=timedelta(days=1)))
    shop.deliver(0, 0)
    result = shop.run("spending", partition=day(0))
    assert not result.success
    assert "The applied definition of 'spending' differs" in failure(result)
    assert shop.stored() == {}


def test_publishing_reports_what_it_wrote(shop: Shop) -> None:
    shop.deliver(0, 3)
    shop.run("spending", "online/spending", keys=(day(0), day(3)))
    event = shop.instance.get_latest_materialization_event(dg.AssetKey(["online", "spending"]))
    assert event is not None
    assert event.asset_materialization is not None
    metadata: Any = {
        name: each.value for name, each in event.asset_materialization.metadata.items()
    }
    assert (metadata["rows_written"], metadata["rows_older"]) == (2, 0)
    assert metadata["rows_per_second"] == pytest.approx(2 / metadata["seconds"])
    assert shop.served(datetime(2024, 1, 10, tzinfo=UTC)) == 1.0

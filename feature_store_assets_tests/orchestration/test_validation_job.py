"""`validate_job`: stored partitions judged by today's expectations, and nothing rewritten."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from feature_store_assets import Drift, Feature, FeatureGroup, FeatureStore, expect, feature_group
from feature_store_assets_tests.orchestration.shop import (
    START,
    Shop,
    customer,
    day,
    failure,
    spending,
)
from feature_store_assets_tests.stores import pushed, row

STRICTER = replace(spending, expectations=(expect.column_max_to_be_between("spent", max_value=50),))


def changed(shop: Shop, *groups: FeatureGroup) -> Shop:
    """The same shop after its code was changed."""
    return Shop(shop.config.root, shop.instance, groups)


def validate(shop: Shop, **config: Any) -> dg.ExecuteInProcessResult:
    quiet = {"console": {"config": {"log_level": "CRITICAL"}}}
    return shop.definitions.resolve_job_def("validate_job").execute_in_process(
        run_config={"loggers": quiet, "ops": {"validate": {"config": config}}},
        instance=shop.instance,
        raise_on_error=False,
    )


def history(shop: Shop, check: str, name: str = "spending") -> Sequence[Any]:
    """What was recorded of a check, the newest first."""
    key = dg.AssetCheckKey(dg.AssetKey([name]), check)
    return shop.instance.event_log_storage.get_asset_check_execution_history(key, 2000)


def evaluation(record: Any) -> Any:
    return record.event.dagster_event.event_specific_data


def judged(shop: Shop, result: dg.ExecuteInProcessResult, name: str = "spending") -> list[str]:
    """The partitions whose `quality` a run recorded, beside that of them all."""
    entries = history(shop, "quality", name)
    found = {each.partition for each in entries if each.run_id == result.run_id}
    return sorted(key for key in found if key)


def versions(shop: Shop, names: Sequence[str] = ("spending",)) -> list[int]:
    with shop.store() as store:
        return [store.table(store.applied.group(name)).version() for name in names]


@pytest.fixture(scope="module")
def once_filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Six days, the fourth of which lies above what will be expected."""
    with dg.DagsterInstance.ephemeral() as instance:
        shop = Shop(tmp_path_factory.mktemp("filled") / "store", instance)
        shop.deliver(0, 5)
        shop.deliver(3, 3, factor=40.0)
        assert shop.run("spending", keys=(day(0), day(5))).success
        yield shop


def test_a_changed_expectation_fails_what_is_stored_partition_by_partition(filled: Shop) -> None:
    before, rows = versions(filled), filled.stored()
    later = changed(filled, STRICTER)
    result = validate(later)
    assert not result.success
    told = failure(result)
    assert f"spending: {day(3)}. They were left as they are" in told
    states = {key: state for key, state in later.quality().items() if key}
    assert states.pop(day(3)) == "FAILED"
    assert states == dict.fromkeys([day(0), day(1), day(2), day(4), day(5)], "SUCCEEDED")
    assert judged(later, result) == [day(number) for number in range(6)]
    assert (versions(later), later.stored()) == (before, rows)
    assert len(later.committed("spending")) == 6


def test_the_checks_of_features_name_the_days_that_fail(filled: Shop) -> None:
    later = changed(filled, STRICTER)
    validate(later)
    (newest, *_) = history(later, "spent")
    assert newest.status.value == "FAILED"
    assert evaluation(newest).metadata["failed_partitions"].value == day(3)


def test_the_check_of_a_partition_says_why(filled: Shop) -> None:
    later = changed(filled, STRICTER)
    validate(later)
    newest = next(each for each in history(later, "quality") if each.partition == day(3))
    (reason,) = evaluation(newest).metadata["reasons"].records
    assert reason.data["reason"].endswith("(max_value=50): found 80.")
    assert "example.org" not in repr(newest)


def test_a_validation_tells_owners_and_writes_a_report(filled: Shop) -> None:
    later = changed(filled, STRICTER)
    result = validate(later)
    with later.store() as store:
        (waiting,) = store.alerts.pending()
        page = store.config.root / "reports" / "spending" / "v1" / f"{result.run_id}.html"
    alert = waiting.alert
    assert (alert.severity, alert.group, alert.owners) == ("critical", "spending", ("team:growth",))
    assert alert.title == "spending: 1 quality finding(s)"
    assert day(3) in page.read_text()


def test_what_still_holds_passes_and_brings_statistics_up_to_date(filled: Shop) -> None:
    grown = replace(spending, features=(*spending.features, Feature("tips", "float64")))
    later = changed(filled, grown)
    with later.store() as store:
        store.apply(grown)
    result = validate(later)
    assert result.success, failure(result)
    with later.store() as store:
        kept = store.review.statistics.of("spending", 1, [day(0)])
    assert kept[day(0)]["tips"].missing_share == 1.0


@pytest.mark.slow
def test_a_range_is_judged_from_its_first_to_its_last_day(filled: Shop) -> None:
    later = changed(filled, STRICTER)
    result = validate(later, first=day(1), last=day(2))
    assert result.success
    assert judged(later, result) == [day(1), day(2)]
    assert judged(later, validate(later, first=day(4))) == [day(4), day(5)]
    assert judged(later, validate(later, last=day(0))) == [day(0)]


@pytest.mark.slow
def test_a_sample_is_a_share_of_the_days(filled: Shop) -> None:
    later = changed(filled, spending)
    result = validate(later, sample=0.5)
    assert len(judged(later, result)) == 3
    assert len(judged(later, validate(later, sample=0.01))) == 1
    result = validate(later, first=day(2), last=day(3), sample=0.5)
    assert judged(later, result)[0] in (day(2), day(3))


@pytest.mark.slow
def test_a_day_of_a_sample_is_compared_with_the_stored_day_before_it(filled: Shop) -> None:
    rule = Drift("wasserstein", 0.5, features=["spent"], min_rows=2)
    later = changed(filled, replace(spending, drift=(rule,)))
    assert validate(later).success
    validate(later, first=day(3), last=day(3))
    newest = {each.partition: each.status.value for each in reversed(history(later, "drift"))}
    assert newest[day(2)] == "SUCCEEDED"
    assert newest[day(3)] == newest[day(4)] == "FAILED"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"first": "2024-03-01"}, "stores no partition '2024-03-01'; it stores 2024-01-01 to"),
        ({"first": day(4), "last": day(1)}, "range of 'spending' ends before it begins"),
        ({"groups": ["spendings"]}, "Did you mean 'spending'"),
        ({"sample": 0}, "greater than 0"),
        ({"sample": 1.5}, "less than or equal to 1"),
    ],
)
def test_what_is_not_there_is_told(filled: Shop, config: dict[str, Any], message: str) -> None:
    result = validate(filled, **config)
    assert not result.success
    told = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    assert message in str(told)


def test_a_group_without_rows_is_passed_over(shop: Shop) -> None:
    result = validate(shop)
    assert result.success
    assert judged(shop, result) == []


def test_everything_is_validated_weekly_by_a_schedule_that_is_off_at_first(shop: Shop) -> None:
    schedule = shop.definitions.resolve_schedule_def("validate_weekly")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    with dg.build_schedule_context(instance=shop.instance) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert validate(shop, **request.run_config["ops"]["validate"]["config"]).success


@feature_group(entity=customer, features=[Feature("spent", "float64")])
def totals() -> pl.DataFrame:
    """What a customer spent in all."""
    return pl.DataFrame({"customer_id": ["ann"], "event_timestamp": [START], "spent": [80.0]})


@pytest.mark.slow
def test_a_group_without_partitions_is_judged_as_a_whole(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    shop = Shop(tmp_path / "store", instance, [totals])
    assert shop.run("totals").success
    later = changed(shop, replace(totals, expectations=STRICTER.expectations))
    assert "totals: all. They were left" in failure(validate(later))
    newest, before = history(later, "quality", "totals")
    assert (newest.partition, newest.status.value) == (None, "FAILED")
    assert before.status.value == "SUCCEEDED"
    assert evaluation(newest).metadata["spent mean"].value == 80.0


# ------------------------------------------------------------------ pushed groups

SCORES = pushed("scores", Feature("score", "float64"), Feature("plan", "string"), online=False)
STRICT_SCORES = replace(
    SCORES, expectations=(expect.column_max_to_be_between("score", max_value=50),)
)


@pytest.fixture
def scored(tmp_path: Path, instance: dg.DagsterInstance) -> Shop:
    shop = Shop(tmp_path / "store", instance, [SCORES])
    with shop.store() as store:
        store.apply(SCORES)
    return shop


def write(store: FeatureStore) -> None:
    later = 24 * 31
    store.write_features(
        [row("u", 0, score=80.0, plan="a"), row("v", later, score=1.0, plan="a")], "scores"
    )


def run_checks(shop: Shop) -> dict[str, dg.AssetCheckEvaluation]:
    """Run the checks of the pushed group as the UI's button does."""
    selection = dg.AssetSelection.checks_for_assets("scores")
    job = dg.define_asset_job("checks", selection)
    both = dg.Definitions.merge(shop.definitions, dg.Definitions(jobs=[job]))
    result = both.resolve_job_def("checks").execute_in_process(instance=shop.instance)
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


@pytest.mark.slow
def test_checks_of_a_pushed_group_judge_all_that_it_stores(scored: Shop) -> None:
    with scored.store() as store:
        write(store)
    assert {name: each.passed for name, each in run_checks(scored).items()} == {"quality": True}
    found = run_checks(changed(scored, STRICT_SCORES))
    assert {name: each.passed for name, each in found.items()} == {"quality": False, "score": False}
    assert found["score"].severity is dg.AssetCheckSeverity.ERROR
    assert found["score"].metadata["failed_partitions"].value == "2024-01"
    assert found["score"].metadata["partitions"].value == 2


def test_checks_of_a_pushed_group_without_rows_pass_over_nothing(scored: Shop) -> None:
    drifting = replace(STRICT_SCORES, drift=(Drift("missing", 0.1),))
    found = run_checks(changed(scored, drifting))
    assert found.keys() == {"quality", "drift", "score"}
    assert {(each.passed, each.metadata["partitions"].value) for each in found.values()} == {
        (True, 0)
    }


def test_validation_judges_pushed_groups_partition_by_partition(scored: Shop) -> None:
    with scored.store() as store:
        write(store)
    before = versions(scored, ["scores"])
    later = changed(scored, STRICT_SCORES)
    result = validate(later, groups=["scores"])
    assert "scores: 2024-01." in failure(result)
    assert later.quality("scores") == {"2024-01": "FAILED", "2024-02": "SUCCEEDED", None: "FAILED"}
    keys = [dg.AssetCheckKey(dg.AssetKey(["scores"]), name) for name in ("quality", "score")]
    newest = later.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    shown = {key.name: (each.partition, each.status.value) for key, each in newest.items()}
    assert shown == {"quality": (None, "FAILED"), "score": (None, "FAILED")}
    assert versions(later, ["scores"]) == before

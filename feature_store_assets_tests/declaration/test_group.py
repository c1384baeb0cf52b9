"""Feature groups: checks at declaration, selections, canonical JSON and content hash."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest
from hypothesis import given, strategies as st

from feature_store_assets import Drift, Window, expect, feature_group
from feature_store_assets.declaration.canonical import canonical, duration, seconds
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup, Selection
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.errors import DeclarationError, FeatureNotFound
from feature_store_assets_tests.declaration import strategies

CUSTOMER = Entity("customer", ["customer_id"])
SPEND, ORDERS = Feature("spend_7d", "float64"), Feature("orders_7d", "int64")


def group(**given: Any) -> FeatureGroup:
    return FeatureGroup("spending", **{"entity": CUSTOMER, "features": [SPEND, ORDERS], **given})


@feature_group(
    entity=CUSTOMER,
    features=[
        Feature("spend_7d", "float64", "Money spent.", ge=0, derived_from=["orders.amount"]),
        Feature("orders_7d", "int64", "Orders.", ge=0, derived_from=["orders.order_id"]),
        Feature("email_domain", "string", "Domain.", pii=True, mask="hash"),
    ],
    partitions=dg.DailyPartitionsDefinition("2024-01-01"),
    ins={"orders": dg.AssetIn(partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-6))},
    expectations=[expect.column_values_to_not_be_null("spend_7d", severity="critical")],
    closed="right",
    ttl=timedelta(days=30),
    freshness=timedelta(hours=26),
    online=True,
    owners=["team:growth"],
    tags={"domain": "sales"},
)
def customer_spending(orders: pl.DataFrame, window: Window) -> pl.DataFrame:
    """What a customer spent.

    One row per day.
    """
    assert window.start is not None
    return orders


def test_the_decorator_takes_name_text_and_upstream_assets_from_the_function() -> None:
    assert customer_spending.name == "customer_spending"
    assert customer_spending.description == "What a customer spent.\n\nOne row per day."
    assert customer_spending.upstream == ("orders",)
    assert customer_spending.materialized
    assert customer_spending.partitions is not None
    assert customer_spending.partitions.kind == "daily"
    assert "orders" in customer_spending.ins


def test_the_function_can_be_called_as_it_is() -> None:
    window = Window(datetime(2024, 1, 1, tzinfo=UTC), None, ("2024-01-01",))
    rows = pl.DataFrame({"x": [1]})
    assert customer_spending(rows, window) is rows
    with pytest.raises(DeclarationError, match="read from the registry: it has no function"):
        FeatureGroup.from_json(customer_spending.to_json())()


def test_a_group_is_declared_directly_with_lists_and_mappings() -> None:
    pushed = FeatureGroup(
        "g",
        entity=CUSTOMER,
        features=[SPEND],
        partitions=Partitions.calendar(["year", "month"]),
        tags={"domain": "sales"},
        owners=["team:growth"],
    )
    assert pushed.features == (SPEND,)
    assert pushed.tags == (("domain", "sales"),)
    assert not pushed.materialized
    hash(pushed)


def test_a_group_needs_features_and_parameters_for_its_ins() -> None:
    def nothing(orders: object) -> None: ...

    with pytest.raises(DeclarationError, match="'nothing' declares no features"):
        feature_group(entity=CUSTOMER, features=[])(nothing)
    with pytest.raises(DeclarationError, match=r"ins names 'order', .*Did you mean 'orders'"):
        feature_group(entity=CUSTOMER, features=[SPEND], ins={"order": dg.AssetIn()})(nothing)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"features": [SPEND, SPEND]}, "'spending' declares the feature 'spend_7d' twice"),
        ({"features": [Feature("customer_id", "int64")]}, "'customer_id' of 'spending' is a key"),
        ({"timestamp": "spend_7d"}, "'spend_7d' of 'spending' is a key or a timestamp"),
        ({"created": "spend_7d"}, "'spend_7d' of 'spending' is a key or a timestamp"),
        ({"timestamp": "partition"}, "'partition' is a column of every table: rename it"),
        ({"timestamp": "created_timestamp"}, "'created_timestamp' is a column of every table"),
        ({"timestamp": "customer_id"}, "'spending' uses a column twice"),
        ({"created": "event_timestamp"}, "'spending' uses a column twice"),
        ({"version": 0}, "Versions of 'spending' start at 1, not 0"),
        ({"closed": "both"}, "closed of 'spending' is 'left' or 'right', not 'both'"),
        ({"ttl": timedelta(0)}, "ttl of 'spending' must be longer than nothing"),
        ({"freshness": timedelta(-1)}, "freshness of 'spending' must be longer"),
        ({"retention": timedelta(0)}, "retention of 'spending' must be longer"),
        ({"timezone": "Europe/Pariss"}, "'Europe/Pariss' is no time zone"),
        ({"owners": ["growth"]}, "'growth' cannot own 'spending'"),
        ({"tags": {"a tag": ""}}, "'a tag' cannot be a tag of 'spending'"),
        ({"partitions": dg.DynamicPartitionsDefinition(name="d")}, "Dynamic.* cannot partition"),
        (
            {"partitions": dg.StaticPartitionsDefinition(["a"])},
            r"partition_by of 'spending' must say .*partition_by={'static': 'column'}, not {}",
        ),
        ({"partition_by": {"static": "customer_id"}}, "partition_by={}, not {'static'"),
    ],
)
def test_a_group_that_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        group(**given)


def test_a_group_name_fits_tables_and_folders() -> None:
    with pytest.raises(DeclarationError, match="'my group' cannot name a feature group"):
        FeatureGroup("my group", entity=CUSTOMER)


def test_misspelt_columns_get_a_suggestion() -> None:
    with pytest.raises(FeatureNotFound, match=r"'spend' in 'spending'. Did you mean 'spend_7d'"):
        group(expectations=[expect.column_values_to_not_be_null("spend")])
    with pytest.raises(FeatureNotFound, match="Did you mean 'customer_id'"):
        group(
            partitions=dg.StaticPartitionsDefinition(["a"]), partition_by={"static": "custmer_id"}
        )
    for wrong in (lambda: group()["spent_7d"], lambda: group().feature("spent_7d")):
        with pytest.raises(FeatureNotFound, match=r"'spent_7d' in 'spending'.*'spend_7d'"):
            wrong()


def test_expectations_may_be_about_keys_and_timestamps() -> None:
    checks = [expect.column_values_to_not_be_null(name) for name in ("customer_id", "arrived")]
    assert group(created="arrived", expectations=checks).expectations == tuple(checks)


def test_drift_may_be_measured_of_features_that_it_fits() -> None:
    rules = [Drift("ks", 0.2, features=["spend_7d"]), Drift("chi_square", 0.2)]
    assert group(drift=rules).drift == tuple(rules), "a general rule passes over what it fits not"
    with pytest.raises(FeatureNotFound, match="Did you mean 'spend_7d'"):
        group(drift=[Drift("ks", 0.2, features=["spent_7d"])])
    with pytest.raises(DeclarationError, match="'spend_7d' cannot be measured by chi_square: it"):
        group(drift=[Drift("chi_square", 0.2, features=["spend_7d"])])
    personal = Feature("income", "float64", pii=True, mask="redact")
    with pytest.raises(DeclarationError, match="by ks: it is a personal feature"):
        group(features=[personal], drift=[Drift("ks", 0.2, features=["income"])])
    assert group(features=[personal], drift=[Drift("missing", 0.1, features=["income"])]).drift


def test_outliers_by_reference_are_of_features_whose_statistics_are_kept() -> None:
    usual = expect.max_outlier_percentage("spend_7d", 5, method="reference")
    assert group(expectations=[usual]).expectations == (usual,)
    personal = Feature("income", "float64", pii=True, mask="redact")
    for column in ("income", "customer_id"):
        rule = expect.max_outlier_percentage(column, 5, method="reference")
        with pytest.raises(DeclarationError, match="no statistics are kept of keys, times and"):
            group(features=[personal], expectations=[rule])
        by_itself = expect.max_outlier_percentage(column, 5, method="mad")
        assert group(features=[personal], expectations=[by_itself]).expectations == (by_itself,)


def test_a_warning_comes_before_a_group_is_stale() -> None:
    hours = timedelta(hours=1)
    assert group(freshness=26 * hours, freshness_warning=25 * hours).freshness_warning == 25 * hours
    for spans in (
        {"freshness_warning": hours},
        {"freshness_warning": hours, "freshness": hours},
        {"freshness_warning": 2 * hours, "freshness": hours},
    ):
        with pytest.raises(DeclarationError, match="must be shorter than its freshness"):
            group(**spans)
    with pytest.raises(DeclarationError, match=r"freshness_warning of .* longer than nothing"):
        group(freshness=hours, freshness_warning=timedelta(0))


def test_drift_warning_and_cron_come_back_from_json_and_change_the_hash() -> None:
    settings: list[dict[str, Any]] = [
        {},
        {"drift": [Drift("psi", 0.2, against="trailing:7", severity="critical")]},
        {"drift": [Drift("psi", 0.2)]},
        {"freshness": timedelta(hours=26), "freshness_warning": timedelta(hours=25)},
        {"freshness": timedelta(hours=26)},
        {"cron": "0 6 * * *"},
    ]
    declared = [group(**given) for given in settings]
    assert len({each.hash for each in declared}) == len(declared)
    for each in declared:
        assert FeatureGroup.from_json(json.loads(canonical(each.to_json()))) == each


def test_the_decorator_takes_drift_warning_and_cron() -> None:
    rule = Drift("missing", 0.1)

    @feature_group(
        entity=CUSTOMER,
        features=[SPEND],
        freshness=timedelta(hours=2),
        freshness_warning=timedelta(hours=1),
        cron="0 6 * * *",
        drift=[rule],
    )
    def spending() -> None: ...

    assert spending.drift == (rule,)
    assert (spending.freshness_warning, spending.cron) == (timedelta(hours=1), "0 6 * * *")


def test_bounds_and_expectations_are_listed_once_each() -> None:
    bound = expect.column_values_to_be_between("x", min_value=0)
    declared = group(features=[Feature("x", "int64", ge=0)], expectations=[bound, bound])
    assert declared.all_expectations == (bound,)


def test_features_are_picked_and_renamed() -> None:
    picked = group()["orders_7d", "spend_7d"]
    assert picked == Selection(
        "spending", 1, (("orders_7d", "orders_7d"), ("spend_7d", "spend_7d"))
    )
    assert picked.rename({"spend_7d": "spent"}).features[1] == ("spend_7d", "spent")
    with pytest.raises(FeatureNotFound, match="'spent' in 'spending'"):
        picked.rename({"spent": "x"})
    with pytest.raises(DeclarationError, match="'a b' cannot name a feature"):
        picked.rename({"spend_7d": "a b"})


def test_defaults_are_left_out_so_that_new_settings_change_no_hash() -> None:
    assert group(features=[]).to_json().keys() == {
        "name", "entity", "features", "timestamp", "version", "description"
    }  # fmt: skip


@given(strategies.groups())
def test_a_group_comes_back_from_its_canonical_json(declared: FeatureGroup) -> None:
    back = FeatureGroup.from_json(json.loads(canonical(declared.to_json())))
    assert back == declared
    assert back.hash == declared.hash
    assert canonical(back.to_json()) == canonical(declared.to_json())


@given(strategies.groups(), st.randoms())
def test_the_order_of_features_does_not_change_the_hash(
    declared: FeatureGroup, random: Any
) -> None:
    shuffled = list(declared.features)
    random.shuffle(shuffled)
    other = FeatureGroup.from_json(
        {**declared.to_json(), "features": [each.to_json() for each in shuffled]}
    )
    assert other.hash == declared.hash
    assert other.in_order_of(declared) == declared


def test_any_other_difference_changes_the_hash() -> None:
    others = [
        group(version=2), group(ttl=timedelta(days=1)), group(online=True), group(closed="right"),
        group(features=[SPEND]), group(tags={"a": "b"}), group(upstream=["orders"]),
        group(partitions=dg.DailyPartitionsDefinition("2024-01-01")), group(description="d"),
    ]  # fmt: skip
    assert len({each.hash for each in [group(), *others]}) == len(others) + 1


def test_the_order_of_partition_by_does_not_count() -> None:
    parts = dg.MultiPartitionsDefinition(
        {"a": dg.StaticPartitionsDefinition(["x"]), "b": dg.StaticPartitionsDefinition(["y"])}
    )
    by = {"b": "orders_7d", "a": "customer_id"}
    one = group(partitions=parts, partition_by=by)
    other = group(partitions=parts, partition_by=dict(reversed(by.items())))
    assert one == other == FeatureGroup.from_json(one.to_json())


@given(st.timedeltas(timedelta(0), timedelta(days=36500)))
def test_durations_are_kept_to_the_microsecond(span: timedelta) -> None:
    assert duration(seconds(span)) == span


@pytest.mark.parametrize("field", ["function", "ins", "hash"])
def test_a_stored_group_names_no_code(field: str) -> None:
    stored = FeatureGroup("g", entity=Entity("user", ["user_id"])).to_json()
    with pytest.raises(DeclarationError, match=f"has no field '{field}'"):
        FeatureGroup.from_json({**stored, field: "canary_mod:fn"})

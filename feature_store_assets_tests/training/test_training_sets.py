"""Training sets: what was written is what is read, for ever, and can be made again."""

import hashlib
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    DataError,
    FeatureNotFound,
    FunctionFailed,
    NaiveTimestamps,
    NameTaken,
    NotReproduced,
    OutsideRetention,
    SnapshotNotFound,
    SpineError,
    TrainingSetChanged,
    TrainingSetNotFound,
)
from feature_store_assets.store import FeatureStore
from feature_store_assets.training.stored import TrainingSet
from feature_store_assets_tests.counts import some
from feature_store_assets_tests.offline.tables import frame
from feature_store_assets_tests.stores import (
    T0,
    at,
    copied_store,
    folder_of,
    new_store,
    pushed,
    row,
)

SPENDING = pushed(
    "spending", Feature("spent", "float64"), Feature("orders", "int64"),
    Feature("active", "bool"), Feature("city", "string"), online=False,
)  # fmt: skip
VISITS = pushed(
    "visits", Feature("pages", "int64"), ttl=timedelta(hours=30), created="seen", online=False
)
CHURN = FeatureView("churn", [SPENDING, VISITS])
SPLIT = {"train": 0.6, "valid": 0.2, "test": 0.2}
NUMBERS = ["spent", "orders", "active"]


@pytest.fixture(scope="module")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("customers")
    with new_store(folder) as store:
        fill(store)
    return folder


@pytest.fixture
def churn(customers: Path, tmp_path: Path) -> Iterator[FeatureStore]:
    """Twenty customers' spending and visits, and the view 'churn' over both."""
    with copied_store(customers, tmp_path) as store:
        yield store


def fill(store: FeatureStore) -> None:
    store.apply(SPENDING, VISITS, CHURN)
    store.write_features([spending(n) for n in range(20)], "spending")
    visits = [row(f"u{n}", n, pages=n, seen=at(n)) for n in range(20)]
    store.write_features(visits, "visits")


def spending(customer: int, spent: float | None = None) -> dict[str, Any]:
    n = customer
    return row(
        f"u{n}",
        n,
        spent=n / 2 if spent is None else spent,
        orders=None if n % 4 == 0 else n,
        active=None if n % 5 == 0 else n % 2 == 0,
        city=f"city {n}",
    )


def spine(rows: int = 100) -> pl.DataFrame:
    """Questions about those customers, and some unknown ones, at scattered hours."""
    return pl.DataFrame(
        [
            {
                "entity_id": f"u{n % 23}",
                "event_timestamp": at(n * 7 % 50),
                "churned": n % 3 == 0,
                "weight": n / 10,
                "note": ["a", None, ""][n % 3],
            }
            for n in range(rows)
        ]
    )


def created(store: FeatureStore, name: str = "set", **given: Any) -> TrainingSet:
    options = {"split": SPLIT, "label": "churned", **given}
    return store.create_training_set("churn", spine(), name, **options)


def files(store: FeatureStore) -> list[str]:
    """What lies among the sets."""
    return sorted(path.name for path in (store.config.root / "training").iterdir())


def is_whole(held: TrainingSet) -> bool:
    held.verify()
    return held.reproduce() == held.digest


# Made and read


def test_a_set_is_the_joined_spine_in_its_parts(churn: FeatureStore) -> None:
    held = created(churn)
    assert (held.splits, held.label, len(held)) == (["train", "valid", "test"], "churned", 100)
    assert held.features == ["spent", "orders", "active", "city", "pages"]
    assert [len(held[part]) for part in held.splits] == [60, 20, 20]
    joined = churn.get_historical_features("churn", spine()).to_polars()
    assert held["train"].columns == joined.columns
    # The rows of each part come in the spine's order.
    order = ["event_timestamp", "entity_id", "weight"]
    assert held.to_polars().sort(order).equals(joined.sort(order))
    for part in held.splits:
        weights = held.to_polars(part)["weight"]
        assert weights.is_sorted()
        assert held.to_pandas(part)["weight"].tolist() == weights.to_list()
        assert held.to_arrow(part).equals(held[part].to_arrow())
        assert held[part].lazy().collect().equals(held.to_polars(part))
    assert repr(held) == ("TrainingSet('set'; train: 60, valid: 20, test: 20 rows; 5 features)")


def test_a_set_that_is_not_split_keeps_the_spines_order(churn: FeatureStore) -> None:
    held = created(churn, split=None)
    joined = churn.get_historical_features("churn", spine()).to_polars()
    assert held.splits == ["all"]
    assert held.to_polars().equals(joined)
    assert held.to_polars("all").equals(joined)
    assert is_whole(held)


def test_the_same_seed_makes_the_same_set(churn: FeatureStore) -> None:
    digests = [created(churn, f"s{n}", seed=seed).digest for n, seed in enumerate([1, 1, 2])]
    assert digests[0] == digests[1] != digests[2]


def test_a_customer_is_in_one_part_where_the_split_keeps_it_together(churn: FeatureStore) -> None:
    held = created(churn, split_by="entity_id")
    customers = [set(held.to_polars(part)["entity_id"]) for part in held.splits]
    assert len(set.union(*customers)) == sum(map(len, customers)) == 23
    assert held.manifest["split"] == {"parts": SPLIT, "by": "entity_id", "seed": 0}
    assert is_whole(held)


def test_a_split_by_time_puts_the_future_last(churn: FeatureStore) -> None:
    held = created(churn, split={"train": at(30), "test": None})
    assert held.to_polars("train")["event_timestamp"].max() < at(30)  # type: ignore[operator]
    assert held.to_polars("test")["event_timestamp"].min() == at(30)
    assert held.manifest["split"]["parts"] == {"train": at(30).isoformat(), "test": None}
    assert is_whole(held)


@pytest.mark.parametrize(
    "split", some([{"train": 0.5, "test": 0.5}, None, {"a": at(20), "b": None}])
)
def test_a_spine_from_a_file_makes_the_same_set(
    churn: FeatureStore, tmp_path: Path, split: Any
) -> None:
    spine().write_parquet(tmp_path / "spine.parquet", row_group_size=9)
    given = [spine(), tmp_path / "spine.parquet", str(tmp_path / "spine.parquet")]
    sets = [
        churn.create_training_set("churn", each, f"s{n}", split=split)
        for n, each in enumerate(given)
    ]
    assert len({held.digest for held in sets}) == 1
    assert len({held.manifest["spine"]["digest"] for held in sets}) == 1
    assert all(map(is_whole, sets))


def test_a_query_is_a_spine_of_a_set(churn: FeatureStore) -> None:
    query = "SELECT entity_id, event_timestamp, spent > 5 AS y FROM spending ORDER BY entity_id"
    held = churn.create_training_set("visits", query, "asked", label="y")
    assert (len(held), held.features, held.label) == (20, ["pages"], "y")
    assert is_whole(held)


def test_a_spine_without_rows_makes_a_set_without_rows(churn: FeatureStore) -> None:
    held = churn.create_training_set("churn", spine().head(0), "none", label="churned")
    assert (len(held), len(held["all"]), held.splits) == (0, 0, ["all"])
    assert held.to_polars().columns == [*spine().columns, *held.features]
    values, labels = held.to_sklearn(features=NUMBERS)
    assert (values.shape, labels.shape) == ((0, 3), (0,))
    assert is_whole(held)
    with pytest.raises(DataError, match="No row of the spine falls into 'train'"):
        churn.create_training_set("churn", spine().head(0), "split", split=SPLIT)
    assert (churn.training_sets(), files(churn)) == (["none"], ["none"])


@pytest.mark.parametrize(
    "features", ["spending", ["spending.spent", "visits.pages"], SPENDING, CHURN]
)
def test_groups_and_lists_of_features_make_sets_too(churn: FeatureStore, features: Any) -> None:
    held = churn.create_training_set(features, spine(), "some-2024.06")
    joined = churn.get_historical_features(features, spine())
    assert held.to_polars().equals(joined.to_polars())
    assert [*spine().columns, *held.features] == joined.columns
    churn.write_features([spending(3, 99.0)], "spending", mode="upsert")
    assert is_whole(held)


def test_options_of_the_join_are_kept(churn: FeatureStore) -> None:
    renamed = spine().rename({"event_timestamp": "t"}).with_columns(spent=1.0)
    options: dict[str, Any] = {
        "timestamp": "t", "ttl": timedelta(hours=3), "known": at(40), "full_feature_names": True
    }  # fmt: skip
    held = churn.create_training_set("churn", renamed, "options", **options)
    joined = churn.get_historical_features("churn", renamed, **options)
    assert held.to_polars().equals(joined.to_polars())
    assert held.features[0] == "spending__spent"
    late = [row("u3", 3, pages=99, seen=at(41))]
    churn.write_features(late, "visits", mode="upsert")
    assert is_whole(held)


def test_spine_columns_of_any_type_survive_a_file(churn: FeatureStore) -> None:
    moment = T0.replace(tzinfo=None)
    odd: list[Any] = [
        pa.array([[1.5], None], pa.list_(pa.float64())),
        pa.array([["a", None], []], pa.large_list(pa.large_string())),
        pa.array([{"a": [1]}, None]),
        pa.array([moment, None], pa.timestamp("s")),
        pa.array([moment.date(), None], pa.date64()),
        pa.array([moment.time(), None], pa.time32("s")),
        pa.array([timedelta(1), None], pa.duration("ns")),
        pa.array(["a", None]).dictionary_encode(),
        pa.array([1.5, None], pa.float16()),
        pa.array([b"x", None]),
        pa.nulls(2),
    ]
    asked = pa.table({f"x{n}": column for n, column in enumerate(odd)})
    asked = asked.append_column("entity_id", pa.array(["u1", "u2"]).dictionary_encode())
    asked = asked.append_column(
        "event_timestamp", pa.array([at(9)] * 2, pa.timestamp("s", "+01:00"))
    )
    held = churn.create_training_set("spending", asked, "odd")
    assert held.to_arrow()["spent"].to_pylist() == [0.5, 1.0]
    assert is_whole(held)


def test_the_manifest_says_all_that_it_takes(churn: FeatureStore) -> None:
    versions = {name: churn.table(group).version() for name, group in
                {"spending": SPENDING, "visits": VISITS}.items()}  # fmt: skip
    held = created(churn, description="why", created_by="ada", seed=7)
    manifest = json.loads((folder_of(held) / "manifest.json").read_text())
    assert manifest == held.manifest
    assert {key: manifest[key] for key in ("format", "name", "description", "created_by")} == {
        "format": 1, "name": "set", "description": "why", "created_by": "ada"
    }  # fmt: skip
    assert FeatureView.from_json(manifest["view"]) == CHURN
    assert manifest["groups"] == [
        {
            "group": "spending", "group_version": 1, "table_version": versions["spending"],
            "ttl_microseconds": None, "known": "latest",
        },
        {
            "group": "visits", "group_version": 1, "table_version": versions["visits"],
            "ttl_microseconds": 30 * 3600 * 10**6, "known": "event",
        },
    ]  # fmt: skip
    assert manifest["label"] == "churned"
    assert manifest["spine"]["rows"] == 100
    assert manifest["spine"]["columns"] == spine().columns
    assert manifest["split"]["seed"] == 7
    assert manifest["packages"]["polars"] == pl.__version__
    assert {"python", "pyarrow", "deltalake", "numpy", "feature_store_assets"} <= set(
        manifest["packages"]
    )
    for part in manifest["parts"]:
        file = folder_of(held) / part["file"]
        assert part["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (part["bytes"], part["rows"]) == (file.stat().st_size, len(held[part["name"]]))
        assert list(part["columns"]) == held[part["name"]].columns
    changed = spine().with_columns(weight=pl.lit(0.5))
    other = churn.create_training_set("churn", changed, "other")
    assert other.manifest["spine"]["digest"] != manifest["spine"]["digest"]


@pytest.mark.slow
def test_a_set_is_found_again_by_another_store_and_another_process(churn: FeatureStore) -> None:
    held = created(churn)
    with new_store(churn.config.root.parent) as other:
        again = other.training_set("set")
        assert (again.digest, folder_of(again), len(again)) == (held.digest, folder_of(held), 100)
        assert is_whole(again)
    code = f"""
from feature_store_assets import FeatureStore, FeatureStoreConfig
held = FeatureStore(FeatureStoreConfig(storage_path={str(churn.config.root)!r})).training_set("set")
print(held.reproduce())
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == held.digest


def test_sets_are_listed_by_name_and_a_misspelt_one_gets_a_suggestion(churn: FeatureStore) -> None:
    assert churn.training_sets() == []
    with pytest.raises(TrainingSetNotFound, match="There are none yet: make one with"):
        churn.training_set("set")
    for name in ("b-2024.06", "a"):
        churn.create_training_set("visits", spine(), name)
    assert churn.training_sets() == ["a", "b-2024.06"]
    with pytest.raises(TrainingSetNotFound, match=r"Did you mean 'b-2024\.06'"):
        churn.training_set("b-2024.07")
    with pytest.raises(DataError, match=r"'a' has no part 'train'\. There are: all\."):
        churn.training_set("a")["train"]


# Refused

WITHOUT_DIGEST = spine().to_arrow().append_column("id", pa.array([b"1234"] * 100, pa.binary(4)))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"name": "a/b"}, DataError, "'a/b' cannot name a training set: use up to 100"),
        ({"name": ""}, DataError, "'' cannot name a training set"),
        ({"name": ".hidden"}, DataError, "cannot name a training set"),
        ({"name": "x" * 101}, DataError, "cannot name a training set"),
        ({"label": "churn"}, DataError, "The spine has no column 'churn' to be the label"),
        ({"split": {"train": 0.5}}, DataError, "add up to 1"),
        ({"split_by": "customer"}, DataError, "no column 'customer' to split by"),
        ({"split": None, "split_by": "entity_id"}, DataError, "give split= too"),
        ({"timestamp": "at"}, SpineError, "no column 'at'"),
        ({"timestamp": "at", "split": {"a": T0, "b": None}}, DataError, "no column 'at'"),
        ({"as_of": "nothing"}, SnapshotNotFound, "No snapshot is named 'nothing'"),
        ({"spine": spine().drop("entity_id")}, SpineError, "no column 'entity_id'"),
        ({"spine": spine().with_columns(pages=1)}, SpineError, "'pages' of 'visits' is also"),
        ({"spine": WITHOUT_DIGEST}, DataError, "has no digest: cast it, or leave it out"),
        ({"spine": spine().with_columns(pl.col("event_timestamp").dt.replace_time_zone(None)),
          "split": {"a": T0, "b": None}}, NaiveTimestamps, "have no time zone"),
    ],
)  # fmt: skip
def test_a_refused_set_leaves_nothing(
    churn: FeatureStore, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    options = {"spine": spine(), "name": "set", "split": SPLIT, **given}
    with pytest.raises(error, match=message):
        churn.create_training_set("churn", **options)
    assert churn.training_sets() == []
    assert churn.snapshots.pins.all() == []
    assert not (churn.config.root / "training").exists() or files(churn) == []


def test_a_name_is_given_once(churn: FeatureStore) -> None:
    held = created(churn)
    before = held.digest
    with pytest.raises(NameTaken, match="A training set named 'set' exists already"):
        created(churn, seed=5)
    assert churn.training_set("set").digest == before
    assert is_whole(held)
    # Snapshots have names of their own.
    churn.create_snapshot("churn", "set")
    created(churn, "x" * 100)


def test_a_set_that_this_registry_lost_is_not_overwritten(churn: FeatureStore) -> None:
    lost = churn.config.root / "training" / "set"
    lost.mkdir(parents=True)
    (lost / "all.parquet").write_text("precious")
    with pytest.raises(NameTaken, match="'set' exists already"):
        created(churn)
    assert (lost / "all.parquet").read_text() == "precious"


# Trust


@pytest.mark.parametrize("file", ["train.parquet", "valid.parquet", "test.parquet"])
def test_a_flipped_byte_and_a_missing_file_are_named(churn: FeatureStore, file: str) -> None:
    held = created(churn)
    held.verify()
    content = bytearray((folder_of(held) / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder_of(held) / file).write_bytes(content)
    checks: list[Callable[[], object]] = [
        held.verify, held.reproduce, churn.training_set("set").verify
    ]  # fmt: skip
    for check in checks:
        with pytest.raises(TrainingSetChanged, match=f"written: {file} has other content. Res"):
            check()
    (folder_of(held) / file).unlink()
    again: list[Callable[[], object]] = [held.verify, held.reproduce, held.to_arrow]
    for check in again:
        with pytest.raises(TrainingSetChanged, match=f"written: {file} is missing"):
            check()


def test_a_manifest_that_was_edited_or_is_gone_is_named(churn: FeatureStore) -> None:
    held = created(churn)
    held.verify()
    path = folder_of(held) / "manifest.json"
    path.write_text(path.read_text().replace('"label": "churned"', '"label": "weight"'))
    checks: list[Callable[[], object]] = [
        held.verify, held.reproduce, lambda: churn.training_set("set").label
    ]  # fmt: skip
    for check in checks:
        with pytest.raises(TrainingSetChanged, match=r"written: manifest.json has other content"):
            check()
    path.unlink()
    checks = [held.verify, lambda: repr(churn.training_set("set"))]
    for check in checks:
        with pytest.raises(TrainingSetChanged, match=r"written: manifest.json is missing"):
            check()


def test_every_file_that_changed_is_named(churn: FeatureStore) -> None:
    held = created(churn)
    (folder_of(held) / "train.parquet").unlink()
    (folder_of(held) / "test.parquet").write_bytes(b"")
    with pytest.raises(
        TrainingSetChanged, match=r"train.parquet is missing, test.parquet has other content\."
    ):
        held.verify()


# Made again


def corrected(store: FeatureStore) -> None:
    store.write_features([spending(n, 1000.0) for n in range(20)], "spending", mode="upsert")


def overwritten(store: FeatureStore) -> None:
    store.write_features([spending(1, 77.0)], "spending", mode="overwrite")


def grown(store: FeatureStore) -> None:
    store.register_feature("more", feature_group="spending", data_type="int64")
    store.write_features([{**spending(n), "more": 1} for n in range(30, 40)], "spending")


def declared_otherwise(store: FeatureStore) -> None:
    store.apply(
        replace(VISITS, ttl=timedelta(hours=1)),
        FeatureView("churn", [VISITS]),
    )


@pytest.mark.parametrize("change", some([corrected, overwritten, grown, declared_otherwise], 2))
def test_a_set_is_made_again_whatever_happened_to_its_tables(
    churn: FeatureStore, change: Callable[[FeatureStore], None]
) -> None:
    held = created(churn)
    joined = churn.get_historical_features("churn", spine()).to_polars()
    change(churn)
    assert held.reproduce() == held.digest
    assert created(churn, "newer").digest != held.digest or change is grown
    pinned = churn.get_historical_features(CHURN, spine(), as_of=held.pin, ttl=timedelta(hours=30))
    again = churn.get_historical_features(CHURN, spine(), as_of=held.pin).to_polars()
    assert held.pin == "training-set:set"
    assert len(pinned) == 100
    if change is not declared_otherwise:
        assert again.equals(joined)
    assert files(churn) == ["newer", "set"]


@pytest.mark.slow
def test_a_set_of_a_snapshot_or_an_instant_reads_the_tables_as_they_were_then(
    churn: FeatureStore,
) -> None:
    before = created(churn, "before")
    churn.create_snapshot("churn", "then")
    instant = churn.training_set("before")._recorded.created_at
    corrected(churn)
    for name, as_of in {"now": None, "a": "then", "b": instant, "c": before.pin}.items():
        held = created(churn, name, as_of=as_of)
        assert (held.digest == before.digest) is (as_of is not None)
        assert is_whole(held)


def test_retention_leaves_what_a_set_needs(store: FeatureStore) -> None:
    daily = FeatureGroup(
        "daily",
        entity=Entity("user", {"entity_id": "string"}),
        features=(Feature("spent", "float64"),),
        partitions=Partitions(
            "daily", datetime(2024, 1, 1, tzinfo=UTC), timezone="UTC", cron="0 0 * * *",
            fmt="%Y-%m-%d",
        ),
        retention=timedelta(days=1),
    )  # fmt: skip
    store.apply(daily)
    table = store.table(daily)

    def write(spent: float) -> None:
        rows = [row("u", 0, spent=spent), row("u", 24, spent=spent)]
        table.replace(frame(rows, table.schema), None)

    def data() -> int:
        return len(list(folder_of(table).rglob("*.parquet")))

    write(1.0)
    asked = [row("u", 5), row("u", 30)]
    held = store.create_training_set("daily", asked, "kept")
    # Superseded beyond time travel; then still the newest, but older than the group keeps.
    write(2.0)
    write(3.0)
    assert data() == 6
    keep = [pin.table_version for pin in store.snapshots.pins.of_group("daily", 1)]
    table.sweep(oldest=table.version(), keep_versions=keep, dry_run=False)
    assert data() == 4
    (report,) = store.retain(["daily"], dry_run=False, now=at(24 * 9))
    assert (report.partitions, report.pinned_by) == (("2024-01-15", "2024-01-16"), (held.pin,))
    assert data() == 2
    assert held.reproduce() == held.digest
    joined = store.get_historical_features("daily", asked, as_of=held.pin)
    assert joined.to_arrow()["spent"].to_pylist() == [1.0, 1.0]
    with pytest.raises(OutsideRetention, match=rf"These snapshots hold more of it: '{held.pin}'"):
        store.get_historical_features("daily", asked)


# Functions


@pytest.fixture
def scaled(
    churn: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], TrainingSet]]:
    """A set of a view that computes by the module 'scaling'; gives what rewrites its function."""
    path = tmp_path / "modules" / "scaling.py"
    path.parent.mkdir()
    monkeypatch.syspath_prepend(path.parent)
    # No bytecode: its time stamps are too coarse for two writes in one second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(body: str) -> None:
        path.write_text(f"def scaled(spent, weight):\n    return {body}\n")
        importlib.invalidate_caches()
        if "scaling" in sys.modules:
            importlib.reload(sys.modules["scaling"])

    write("spent * weight")
    feature = RequestFeature("scaled", "float64", "scaling:scaled")
    view = FeatureView("scale", [SPENDING], request={"weight": "float64"}, computed=[feature])
    churn.apply(view)
    held = churn.create_training_set("scale", spine(), "scaled", split=SPLIT)
    assert held.features[-1] == "scaled"
    assert held.reproduce() == held.digest

    def rewritten(body: str) -> TrainingSet:
        write(body)
        return held

    yield rewritten
    sys.modules.pop("scaling", None)


def test_a_function_that_changed_is_named_with_the_columns(
    scaled: Callable[[str], TrainingSet],
) -> None:
    held = scaled("spent * weight + 1")
    with pytest.raises(
        NotReproduced, match=r"'scaled' again gave other values of 'scaled'.*: scaling:scaled\.$"
    ):
        held.reproduce()
    held.verify()
    held = scaled("spent * weight")
    assert held.reproduce() == held.digest


def test_a_function_written_otherwise_to_the_same_end_does_no_harm(
    scaled: Callable[[str], TrainingSet],
) -> None:
    held = scaled("weight * spent")
    assert held.reproduce() == held.digest


def test_a_function_that_fails_now_says_so(scaled: Callable[[str], TrainingSet]) -> None:
    held = scaled("spent.no_such_method()")
    with pytest.raises(FunctionFailed, match="'scaling:scaled' raised AttributeError"):
        held.reproduce()
    assert list(folder_of(held).glob(".spill*")) == []


# For learning


def test_arrays_for_scikit_learn_hold_nan_where_nothing_was_known(churn: FeatureStore) -> None:
    held = created(churn)
    values, labels = held.to_sklearn("train", features=["orders", "active", "spent"])
    frame = held.to_polars("train")
    assert (values.shape, values.dtype.name, labels.shape) == ((60, 3), "float64", (60,))
    for number, name in enumerate(["orders", "active", "spent"]):
        expected = frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        np.testing.assert_array_equal(values[:, number], expected)
        assert 0 < np.isnan(values[:, number]).sum() < 60
    assert labels.tolist() == frame["churned"].to_list()
    everything, _ = held.to_sklearn(features=[*NUMBERS, "pages"])
    assert everything.shape == (100, 4)


def test_what_cannot_be_learnt_from_is_refused(churn: FeatureStore) -> None:
    held = created(churn)
    with pytest.raises(DataError, match=r"Feature 'city' is string, no number. Encode it from"):
        held.to_sklearn()
    with pytest.raises(FeatureNotFound, match=r"'spend' in 'set'\. Did you mean 'spent'"):
        held.to_sklearn(features=["spend"])
    with pytest.raises(FeatureNotFound, match="'churned' in 'set'"):
        held.to_sklearn(features=["churned"])
    with pytest.raises(DataError, match="'set' has no part 'trian'"):
        held.to_sklearn("trian", features=NUMBERS)
    with pytest.raises(DataError, match=r"'unlabelled' names no label. Create it with label="):
        created(churn, "unlabelled", label=None).to_sklearn()


def test_a_dataset_for_pytorch_holds_the_same_numbers(churn: FeatureStore) -> None:
    torch = pytest.importorskip("torch")
    held = created(churn)
    dataset = held.to_torch("train", features=NUMBERS)
    values, labels = held.to_sklearn("train", features=NUMBERS)
    found, found_labels = dataset.tensors
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), values.astype(np.float32))
    assert found_labels.numpy().tolist() == labels.tolist()
    with pytest.raises(DataError, match="Label 'note' is no number: encode it"):
        created(churn, "texts", label="note").to_torch(features=NUMBERS)


def test_without_pytorch_it_says_how_to_install_it(
    churn: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DataError, match="pip install torch"):
        created(churn).to_torch()


# Processes

# Not forked: the engines' threads would not come along. They wait for a line, so that all of them
# can be started before the first is needed.
CREATE = """
import sys
from pathlib import Path
from feature_store_assets.errors import NameTaken
from feature_store_assets_tests.stores import new_store
from feature_store_assets_tests.training.test_training_sets import created
print("ready", flush=True)
root, seed = sys.stdin.readline().split()
with new_store(Path(root)) as store:
    try:
        print(created(store, seed=int(seed)).digest, flush=True)
    except NameTaken:
        print("taken", flush=True)
"""
Child = subprocess.Popen[str]


def waiting_children(count: int) -> list[Child]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", CREATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]


def go(child: Child, store: FeatureStore, seed: int = 0) -> None:
    """Let a child create the set 'set'."""
    assert child.stdin is not None
    child.stdin.write(f"{store.config.root.parent} {seed}\n")
    child.stdin.flush()


def line(child: Child) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def killed(child: Child) -> None:
    child.kill()
    child.communicate()


@pytest.mark.slow
def test_of_four_processes_that_give_one_name_one_gets_it(churn: FeatureStore) -> None:
    children = waiting_children(4)
    assert [line(child) for child in children] == ["ready"] * 4
    for seed, child in enumerate(children):
        go(child, churn, seed)
    got = [line(child) for child in children]
    assert [child.wait() for child in children] == [0] * 4
    for child in children:
        child.communicate()
    held = churn.training_set("set")
    assert sorted(got) == sorted([held.digest, "taken", "taken", "taken"])
    assert is_whole(held)
    assert files(churn) == ["set"]
    assert {pin.name for pin in churn.snapshots.pins.all()} == {held.pin}


def is_pinned(store: FeatureStore) -> bool:
    return bool(store.snapshots.pins.all())


def is_begun(store: FeatureStore) -> bool:
    return (store.config.root / "training" / "set").exists()


def is_half_written(store: FeatureStore) -> bool:
    return any((store.config.root / "training" / "set").glob("test.parquet*"))


def is_in_place(store: FeatureStore) -> bool:
    return (store.config.root / "training" / "set" / "manifest.json").exists()


MOMENTS = [is_pinned, is_begun, is_half_written]


def wait_until(moment: Callable[[FeatureStore], bool], child: Child, store: FeatureStore) -> None:
    while not moment(store):
        assert child.poll() is None


def check_the_name_is_free_or_whole(store: FeatureStore) -> None:
    if store.training_sets() == []:
        with pytest.raises(TrainingSetNotFound):
            store.training_set("set")
        held = created(store)
    else:  # the child was quicker than the kill
        held = store.training_set("set")
    assert is_whole(held)
    assert files(store) == ["set"]
    assert {pin.name for pin in store.snapshots.pins.all()} == {held.pin}
    assert len(store.snapshots.pins.of(held.pin)) == 2


@pytest.mark.slow
def test_a_creator_killed_at_any_moment_leaves_a_name_that_can_be_given(tmp_path: Path) -> None:
    children = waiting_children(len(MOMENTS) + 1)
    for number, child in enumerate(children):
        with new_store(tmp_path / str(number)) as store:
            fill(store)
            assert line(child) == "ready"
            go(child, store)
            if number < len(MOMENTS):
                wait_until(MOMENTS[number], child, store)
                killed(child)
            else:
                wait_until(is_half_written, child, store)
                # It can write its manifest now, and cannot record it until it is dead.
                with store.parts.database.write():
                    wait_until(is_in_place, child, store)
                    killed(child)
                assert store.training_sets() == []
            check_the_name_is_free_or_whole(store)

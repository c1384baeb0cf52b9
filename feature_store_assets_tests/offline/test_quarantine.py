"""Quarantine: a folder of rejected partitions, each a file that says why."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from feature_store_assets.errors import NotQuarantined
from feature_store_assets.offline.quarantine import Quarantine
from feature_store_assets.storage import location

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
ROWS = pl.DataFrame({"partition": ["mon"] * 2, "x": [1, -1], "reasons": [[], ["x is low"]]})


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(location(tmp_path / "quarantine"))


def keep(
    quarantine: Quarantine,
    partition: str = "mon",
    *,
    group: str = "g",
    version: int = 1,
    run_id: str = "run",
    hours: int = 0,
) -> str:
    return quarantine.keep(
        ROWS,
        feature_group=group,
        version=version,
        partition=partition,
        run_id=run_id,
        rejected_at=NOON + timedelta(hours=hours),
        reasons=["x is low in 1 row", "é"],
    )


def test_before_anything_was_rejected_there_is_nothing(quarantine: Quarantine) -> None:
    assert quarantine.entries() == []
    with pytest.raises(NotQuarantined, match="Nothing of 'g' does"):
        quarantine.newest("g", "mon", version=1)


def test_a_rejected_partition_comes_back_with_what_was_said_of_it(quarantine: Quarantine) -> None:
    path = keep(quarantine, run_id="a-run", version=2)
    (entry,) = quarantine.entries("g")
    assert (entry.feature_group, entry.version, entry.partition) == ("g", 2, "mon")
    assert (entry.run_id, entry.rejected_at, entry.rows) == ("a-run", NOON, 2)
    assert entry.reasons == ("x is low in 1 row", "é")
    assert entry.path == path
    assert entry.read().equals(ROWS)
    assert [each.name for each in Path(path).parent.iterdir()] == ["a-run.parquet"]


def test_the_newest_rejection_of_a_partition_counts(quarantine: Quarantine) -> None:
    for hours, run in ((2, "second"), (3, "third"), (1, "first")):
        keep(quarantine, run_id=run, hours=hours)
    assert quarantine.newest("g", "mon", version=1).run_id == "third"


def test_a_run_that_tries_again_takes_the_place_of_its_first_try(quarantine: Quarantine) -> None:
    keep(quarantine, hours=1)
    keep(quarantine, hours=2)
    (entry,) = quarantine.entries()
    assert entry.rejected_at == NOON + timedelta(hours=2)


def test_entries_come_by_group_and_partition_the_newest_first(quarantine: Quarantine) -> None:
    keep(quarantine, "tue", hours=1)
    keep(quarantine, "mon", run_id="old", hours=1)
    keep(quarantine, "mon", run_id="new", hours=2)
    keep(quarantine, "mon", group="f")
    found = [(each.feature_group, each.partition, each.run_id) for each in quarantine.entries()]
    assert found == [
        ("f", "mon", "run"), ("g", "mon", "new"), ("g", "mon", "old"), ("g", "tue", "run"),
    ]  # fmt: skip
    assert [each.feature_group for each in quarantine.entries("f")] == ["f"]


@pytest.mark.parametrize("partition", ["2024-01-01|a/b", "*", "[a]", "50 %", "é"])
def test_a_partition_may_have_any_key(quarantine: Quarantine, partition: str) -> None:
    keep(quarantine, "mon")
    keep(quarantine, partition)
    assert quarantine.newest("g", partition, version=1).partition == partition
    quarantine.remove("g", [partition], version=1)
    assert [entry.partition for entry in quarantine.entries()] == ["mon"]


def test_a_star_is_a_key_like_any_other(quarantine: Quarantine) -> None:
    keep(quarantine)
    with pytest.raises(NotQuarantined):
        quarantine.newest("g", "*", version=1)


def test_an_unknown_partition_is_told_what_there_is(quarantine: Quarantine) -> None:
    keep(quarantine, "2024-01-01")
    keep(quarantine, "2024-02-15", version=2)
    with pytest.raises(NotQuarantined, match=r"'2024-01-02'.*Did you mean '2024-01-01'") as error:
        quarantine.newest("g", "2024-01-02", version=1)
    assert "2024-02-15" not in str(error.value)
    assert isinstance(error.value, KeyError)


def test_what_is_removed_is_gone_in_all_its_tries_and_nothing_else_is(
    quarantine: Quarantine,
) -> None:
    for run in ("first", "second"):
        keep(quarantine, "mon", run_id=run)
    keep(quarantine, "mon", version=2)
    keep(quarantine, "tue")
    quarantine.remove("g", ["mon", "never there"], version=1)
    found = [(entry.partition, entry.version) for entry in quarantine.entries()]
    assert found == [("mon", 2), ("tue", 1)]

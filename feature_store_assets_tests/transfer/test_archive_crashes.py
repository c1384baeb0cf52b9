"""Exports and imports that are killed: run again they converge, and nothing live is lost."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.store import FeatureStore
from feature_store_assets.transfer.archive import Archive
from feature_store_assets_tests.stores import at, new_store, pushed, row
from feature_store_assets_tests.transfer.archives import DAY, pinned, stored

KILLS = min(int(os.environ.get("KILLS", "1")), 20)
pytestmark = pytest.mark.slow
GROUPS = [f"g{number}" for number in range(4)]
USERS, MONTHS = 100, 12

VERB = """
import sys
from pathlib import Path
from feature_store_assets_tests.stores import new_store
with new_store(Path(sys.argv[1])) as store:
    store.{verb}(sys.argv[2])
"""
EXPORT, IMPORT = VERB.format(verb="export_archive"), VERB.format(verb="import_archive")


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[FeatureStore]:
    """Four groups of a year's months, the first one served."""
    with new_store(tmp_path / "source") as store:
        for name in GROUPS:
            store.apply(pushed(name, Feature("x", "int64"), online=name == "g0"))
            write(store, name, 0)
        yield store


def write(store: FeatureStore, name: str, x: int) -> None:
    rows = [
        row(f"u{user}", month * 30 * DAY, x=x + user)
        for user in range(USERS)
        for month in range(MONTHS)
    ]
    store.write_features(rows, name, mode="overwrite")


def values(store: FeatureStore) -> list[Any]:
    return [stored(store, name) for name in GROUPS]


def killed(script: str, root: Path, place: Path, seen: Callable[[], object]) -> bool:
    """Kill a child at the first change of what is seen; False if it came to its end before."""
    before = seen()
    child = subprocess.Popen([sys.executable, "-c", script, str(root), str(place)])
    while seen() == before and child.poll() is None:
        pass
    child.send_signal(signal.SIGKILL)
    assert child.wait() in {0, -signal.SIGKILL}
    return child.returncode != 0


def files(place: Path, pattern: str) -> Callable[[], object]:
    """Look at which files there are, and how large they are."""

    def seen() -> object:
        found = []
        for path in place.glob(pattern):
            try:
                found.append((path, path.stat().st_size))
            except FileNotFoundError:  # renamed meanwhile
                found.append((path, -1))
        return sorted(found)

    return seen


@pytest.mark.timeout(1200)
def test_killed_exports_go_on_to_one_state(filled: FeatureStore, tmp_path: Path) -> None:
    """Whatever is written meanwhile, the archive holds the versions that were pinned first."""
    place, number, finished = tmp_path / "archive0", 0, 0
    expected: list[Any] | None = None

    def check(place: Path, expected: list[Any] | None) -> None:
        """Run it again, bring it in elsewhere, compare."""
        expected = expected or values(filled)
        if not (place / "archive.json").exists() or (place / "export.json").exists():
            filled.export_archive(place)
        assert pinned(filled) == set()
        left = {path.name for path in place.iterdir()}
        assert left == {"archive.json", "registry.json", "data"}
        with new_store(place.with_suffix(".target")) as target:
            target.import_archive(place)
            assert values(target) == expected

    moments = ["export.json", "data/*/*/*", "finished.jsonl", "registry.json", "archive.json"]
    for turn in range(KILLS):
        here = killed(EXPORT, tmp_path / "source", place, files(place, moments[turn % 5]))
        finished += not here
        if expected is None and pinned(filled):
            expected = values(filled)
            write(filled, GROUPS[turn % 4], 1000 * (turn + 1))
        if (place / "archive.json").exists():
            check(place, expected)
            number, expected = number + 1, None
            place = tmp_path / f"archive{number}"
    check(place, expected)
    assert finished * 2 <= KILLS  # else the test does not kill
    exported = [each for each in filled.audit.entries() if each.action == "export"]
    assert len({each.detail["digest"] for each in exported}) == len(exported) == number + 1


@pytest.mark.timeout(1200)
def test_killed_imports_go_on_to_one_state(filled: FeatureStore, tmp_path: Path) -> None:
    """Each partition is empty or whole at any time; what the target held before stays."""
    archive = filled.export_archive(tmp_path / "archive").path
    whole = {
        group.name: {file.partition: file.rows for file in group.files}
        for group in Archive(archive).manifest.groups
    }
    wanted = filled.get_online_features("g0", ["u0", "u99"], at=at(340 * DAY))
    mine = pushed("mine", Feature("x", "int64"))
    moments = [
        "store/registry.db*",
        "store/offline/*/*/*/*.parquet",
        "store/offline/*/*/_delta_log/*.json",
        "store/online/*",
        "store/offline/g3/**/*",
    ]
    finished = number = 0
    root = tmp_path / "target0"

    def prepare(root: Path) -> list[Any]:
        with new_store(root) as target:
            target.apply(mine)
            target.write_features([row("v", 0, x=7)], "mine")
            return [stored(target, "mine")]

    def check(root: Path) -> None:
        with new_store(root) as target:
            target.import_archive(archive)
            assert values(target) == values(filled)
            assert [stored(target, "mine")] == before
            assert pinned(target) == set()
            served = target.get_online_features("g0", ["u0", "u99"], at=at(340 * DAY))
            assert served == wanted
            done = [each for each in target.audit.entries() if each.subject == "archive"]
            assert {each.detail["digest"] for each in done} == {Archive(archive).digest}
            assert target.audit.verify() == target.audit.newest(1)[0].sequence

    before = prepare(root)
    for turn in range(KILLS):
        here = killed(IMPORT, root, archive, files(root, moments[turn % 5]))
        finished += not here
        with new_store(root) as target:
            for group in target.groups():
                if group.name in whole:
                    table = target.table(group)
                    counts: dict[str, int] = {}
                    for file in table.files():
                        counts[file.partition] = counts.get(file.partition, 0) + file.rows
                    assert counts.items() <= whole[group.name].items()
            assert [stored(target, "mine")] == before
        if not here:
            check(root)
            number += 1
            root = tmp_path / f"target{number}"
            before = prepare(root)
    check(root)
    assert finished * 2 <= KILLS


def test_two_processes_that_import_one_archive_at_once_write_it_once(
    filled: FeatureStore, tmp_path: Path
) -> None:
    archive = filled.export_archive(tmp_path / "archive").path
    root = tmp_path / "target"
    new_store(root).close()
    command = [sys.executable, "-c", IMPORT, str(root), str(archive)]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [child.wait() for child in both] == [0, 0]
    with new_store(root) as target:
        assert values(target) == values(filled)


def test_two_processes_do_not_export_into_one_folder(filled: FeatureStore, tmp_path: Path) -> None:
    place = tmp_path / "archive"

    def other(_: str) -> None:
        command = [sys.executable, "-c", EXPORT, str(tmp_path / "source"), str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Somebody else is at 'export to" in done.stderr

    filled.export_archive(place, told=other)
    assert pinned(filled) == set()
    shutil.rmtree(place)

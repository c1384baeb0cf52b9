"""What a backup may do to its target, and what a store must have to be backed up there."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.errors import (
    BackupRefused,
    BackupUnusable,
    FeatureStoreError,
    LocationUnusable,
)
from feature_store_assets.storage import location
from feature_store_assets.storage.sealed_json import seal
from feature_store_assets.store import FeatureStore
from feature_store_assets.transfer.backup_repository import (
    list_backups,
    manifests,
    note,
    verify_backup,
)
from feature_store_assets_tests.servers import object_store
from feature_store_assets_tests.stores import new_store, pushed, row
from feature_store_assets_tests.transfer.backups import config_at, tree

SMALL = [pushed(name, Feature("x", "int64"), online=False) for name in ("a", "b")]
SERVED = pushed("served", Feature("x", "int64"))


@cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    with new_store(folder) as store:
        store.apply(*SMALL)
        for number in range(3):
            for group in SMALL:
                store.write_features([row("u", number, x=number)], group.name)
        store.create_snapshot("a", "s")
    return folder / "store"


def small(store: FeatureStore) -> None:
    """Fill a store that was not used yet with two groups, and a snapshot of one."""
    shutil.copytree(_made(), store.config.root, dirs_exist_ok=True)


def one_fast(kinds: Iterable[str], fast: str) -> list[Any]:
    """Each kind, and all but one of them slow."""
    slow = [pytest.param(kind, marks=pytest.mark.slow) for kind in kinds if kind != fast]
    return [fast, *slow]


def write(store: FeatureStore, x: int) -> None:
    store.write_features([row("u", 9, x=x)], "a", mode="upsert")


def without_marker(target: Path) -> None:
    """As earlier code left it."""
    (target / "backup.json").unlink()
    shutil.rmtree(target / "removed", ignore_errors=True)


# A target that is somebody else's


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def ours_by_name(target: Path) -> None:
    for name in ("files", "content", "registry", "online", "removed"):
        put(target / name / "x", "mine")


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a file": lambda at: (at / "notes.txt").write_text("mine"),
    "a folder": lambda at: (at / "photos").mkdir(),
    "names of ours": ours_by_name,
    "manifests that are none": lambda at: put(at / "backups" / "x.json", "{}"),
    "a marker that is none": lambda at: (at / "backup.json").write_text("{}"),
    "a marker of a later version": lambda at: (at / "backup.json").write_text(
        json.dumps(seal({"format": "feature-store backups", "version": 2, "store": ""}))
    ),
    "another store's marker": lambda at: (at / "backup.json").write_text(
        json.dumps(seal({"format": "feature-store backups", "version": 1, "store": "a" * 64}))
    ),
}


@pytest.mark.parametrize("url", [False, True], ids=["folder", "url"])
@pytest.mark.parametrize("kind", one_fast(FOREIGN, "names of ours"))
def test_a_folder_of_somebody_else_is_refused_untouched(
    store: FeatureStore, tmp_path: Path, kind: str, url: bool
) -> None:
    small(store)
    target = tmp_path / "theirs"
    target.mkdir()
    FOREIGN[kind](target)
    before = tree(target)
    with pytest.raises(BackupRefused, match="Nothing was written or removed"):
        store.backup(target.as_uri() if url else target, keep=1)
    assert tree(target) == before


def test_an_empty_disk_is_nobodys(store: FeatureStore, tmp_path: Path) -> None:
    small(store)
    (tmp_path / "disk" / "lost+found").mkdir(parents=True)
    (tmp_path / "disk" / "backup.json.0a1b2c3d.part").write_text("{")  # killed at its first step
    assert store.backup(tmp_path / "disk", keep=1).lost == ()


def test_files_that_no_backup_named_stay_whatever_is_removed(
    store: FeatureStore, tmp_path: Path
) -> None:
    """Beside the backups, and in the very folders in which these lie."""
    small(store)
    target = tmp_path / "kept"
    store.backup(target)
    places = ["mine", "files/mine", "content/mine", "registry/mine", "online/mine", "removed/mine"]
    for name in places:
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_text("mine")
    for number in range(2):
        write(store, number)
        assert len(store.backup(target, keep=1).removed) == 1
    assert [(target / name).read_text() for name in places] == ["mine"] * len(places)
    assert verify_backup(target).lost == ()


@pytest.mark.slow
def test_a_file_of_somebody_where_the_next_one_belongs_stays(
    store: FeatureStore, tmp_path: Path
) -> None:
    small(store)
    target = tmp_path / "kept"
    store.backup(target)
    entry = f"offline/a/v1/_delta_log/{store.table(SMALL[0]).version() + 1:020d}.json"
    (target / "files" / entry).write_text("my own notes")
    write(store, 7)
    [*_, name] = [store.backup(target, keep=1).id for _ in range(2)]
    assert (target / "files" / entry).read_text() == "my own notes"
    verify_backup(target, name)
    with new_store(tmp_path / "other") as other:
        FeatureStore.restore(target, other.config)
        assert stored_x(other) == stored_x(store)


def test_a_folder_where_a_file_belongs_is_told(store: FeatureStore, tmp_path: Path) -> None:
    small(store)
    target = tmp_path / "kept"
    store.backup(target)
    data = next((target / "files" / "offline").rglob("*.parquet"))
    data.unlink()
    data.mkdir()
    with pytest.raises(LocationUnusable, match="Is a directory"):
        store.backup(target)


def stored_x(store: FeatureStore) -> list[Any]:
    rows = store.read_features("a").to_polars().sort("event_timestamp")
    return rows["x"].to_list()


def test_backups_of_earlier_code_are_continued(store: FeatureStore, tmp_path: Path) -> None:
    small(store)
    target = tmp_path / "kept"
    first = store.backup(target)
    without_marker(target)
    assert [each.id for each in list_backups(target)] == [first.id]
    write(store, 1)
    second = store.backup(target, keep=1)
    assert second.removed == (first.id,)
    assert (target / "backup.json").exists()
    FeatureStore.restore(target, config_at(tmp_path / "new"))


def test_what_an_unfinished_backup_copied_of_its_own_goes_with_the_next(
    store: FeatureStore, tmp_path: Path
) -> None:
    """The registry and the online store, of which each backup has its own."""
    small(store)
    target = tmp_path / "kept"
    store.backup(target)
    names = ["registry/killed.jsonl.gz", "online/killed/data.mdb"]
    note(location(target), "killed", names)
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text("half")
    store.backup(target)
    assert not any((target / name).exists() for name in names)
    assert not any((target / "removed").iterdir())


@pytest.mark.slow
def test_an_object_store_keeps_backups_as_a_folder_does(
    store: FeatureStore, tmp_path: Path
) -> None:
    small(store)
    (tmp_path / "s3").mkdir()
    with object_store(tmp_path / "s3"):
        target = "s3://features/kept"
        first = store.backup(target)
        write(store, 7)
        second = store.backup(target, keep=1)
        assert (second.copied, second.removed) == (3, (first.id,))
        assert [each.id for each in list_backups(target)] == [second.id]
        assert verify_backup(target).files == second.files
        with new_store(tmp_path / "other") as other:
            FeatureStore.restore(target, other.config)
            assert stored_x(other) == stored_x(store)
        location(target).delete([next(iter(location(target).list("files")))])
        with pytest.raises(BackupUnusable, match="is gone"):
            verify_backup(target)
        assert len(store.backup(target).mended) == 1


# A store that lost a part


def wiped(store: FeatureStore) -> None:
    store.close()
    shutil.rmtree(store.config.root)


def emptied(store: FeatureStore) -> None:
    wiped(store)
    store.config.root.mkdir()


def started_anew(store: FeatureStore) -> None:
    """As who runs `apply` when the registry is gone."""
    lost_registry(store)
    with FeatureStore(store.config) as again:
        again.apply(*SMALL)


def lost_registry(store: FeatureStore) -> None:
    store.close()
    for path in store.config.root.glob("registry.db*"):
        path.unlink()


def lost_table(name: str) -> Callable[[FeatureStore], None]:
    return lambda store: shutil.rmtree(store.config.root / "offline" / name)


def lost_entry(number: int) -> Callable[[FeatureStore], None]:
    def lose(store: FeatureStore) -> None:
        log = store.config.root / "offline" / "a" / "v1" / "_delta_log"
        sorted(log.glob("*.json"))[number].unlink()

    return lose


def lost_online(store: FeatureStore) -> None:
    store.register_feature_group(SERVED)
    store.write_features([row("u", 0, x=1)], "served")
    store.close()
    shutil.rmtree(store.config.root / "online")


# What is lost; what is said on the first backup to a target, and on a later one: None if it is
# whole without that.
LOSSES: dict[str, tuple[Callable[[FeatureStore], None], str | None, str | None]] = {
    "root": (wiped, "data root .* is not there", "data root .* is not there"),
    "all in the root": (emptied, "neither a registry nor tables", "neither a registry nor tables"),
    "registry": (lost_registry, None, "the registry is gone or empty"),
    "registry, made anew": (started_anew, None, "holds backups of another store"),
    "pinned table": (lost_table("a"), "'offline/a/v1' is gone.* registry knows", "backup .* has"),
    "other table": (lost_table("b"), None, "'offline/b/v1' is gone, while backup .* has its v"),
    "newest entry": (lost_entry(-1), "is in version 2.* registry", "is in version 2.* backup"),
    "middle entry": (lost_entry(1), "log lacks entry 1", "log lacks entry 1"),
    "online store": (lost_online, None, None),
}  # fmt: skip


@pytest.mark.parametrize("loss", one_fast(LOSSES, "other table"))
def test_a_store_that_lost_a_part_is_refused_or_whole_and_pushes_no_backup_out(
    tmp_path: Path, loss: str
) -> None:
    lose, first, later = LOSSES[loss]
    target = tmp_path / "kept"
    with new_store(tmp_path) as store:
        small(store)
        good = store.backup(target)
        lose(store)
    there = store.config.root.exists()
    before = tree(target)
    for place, why in ((target, later), (tmp_path / "new", first)):
        for _ in range(2):
            with new_store(tmp_path) as again:
                if why is None:
                    again.backup(place, keep=1)
                else:
                    with pytest.raises(FeatureStoreError, match=why):
                        again.backup(place, keep=1)
    assert store.config.root.exists() == there
    if later is not None:
        left = tree(target)
        assert before.items() <= left.items()
        assert verify_backup(target, good.id).files == good.files
        # And nothing else, if the loss is known at the first look.
        assert len(left) <= len(before) + (2 if "entry" in loss else 0)
    if first is not None and "entry" not in loss:
        assert not (tmp_path / "new").exists()


def test_what_a_table_lacks_is_named_with_what_to_do(store: FeatureStore, tmp_path: Path) -> None:
    small(store)
    good = store.backup(tmp_path / "kept")
    lost_table("b")(store)
    with pytest.raises(BackupRefused) as error:
        store.backup(tmp_path / "kept")
    told = str(error.value)
    assert f"table 'offline/b/v1' is gone, while backup {good.id} has its version 3" in told
    assert f"feature-store restore {tmp_path / 'kept'} --backup {good.id}" in told
    assert "take another target" in told
    assert store.backup(tmp_path / "other").lost == ()


@pytest.mark.slow
def test_a_restored_older_state_is_backed_up_beside_younger_backups(
    store: FeatureStore, tmp_path: Path
) -> None:
    small(store)
    target = tmp_path / "kept"
    first = store.backup(target)
    for number in range(3):
        write(store, number)
    store.backup(target)
    config = config_at(tmp_path / "older")
    FeatureStore.restore(target, config, first.id)
    with FeatureStore(config) as older:
        third = older.backup(target)
    assert verify_backup(target, third.id).lost == ()


@pytest.mark.slow
def test_statistics_that_were_imported_say_nothing_of_tables_here(tmp_path: Path) -> None:
    with new_store(tmp_path / "one") as one, new_store(tmp_path / "two") as two:
        small(one)
        two.import_registry(one.export_registry())
        two.write_features([row("u", 0, x=1)], "a")
        assert two.backup(tmp_path / "kept").lost == ()


@pytest.mark.slow
def test_the_last_backup_that_lacks_nothing_stays(store: FeatureStore, tmp_path: Path) -> None:
    """However many came after, all of a store that had lost files."""
    small(store)
    target = tmp_path / "kept"
    good = store.backup(target, keep=1)
    Path(store.table(SMALL[1]).files()[0].uri).unlink()
    damaged = [store.backup(target, keep=1) for _ in range(3)]
    assert all(each.lost for each in damaged)
    assert [each.id for each in list_backups(target)] == [good.id, damaged[-1].id]
    assert verify_backup(target, good.id).files == good.files
    store.write_features([row("u", 9, x=9)], "b", mode="overwrite")
    whole = store.backup(target, keep=1)
    assert [each.id for each in list_backups(target)] == [whole.id]


# Damage at the target


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "changed": flip,
}


@pytest.mark.parametrize("url", [False, True], ids=["folder", "url"])
@pytest.mark.parametrize("damage", one_fast(DAMAGES, "changed"))
def test_what_is_damaged_at_the_target_is_told_and_copied_again(
    store: FeatureStore, tmp_path: Path, damage: str, url: bool
) -> None:
    small(store)
    target = tmp_path / "kept"
    place = target.as_uri() if url else target
    first = store.backup(place)
    log, data = target / "files/offline/a/v1/_delta_log", target / "files/offline/b/v1"
    chosen = [sorted(log.iterdir())[1], next(data.rglob("*.parquet"))]
    names = tuple(sorted(str(path.relative_to(target)) for path in chosen))
    whole = [path.read_bytes() for path in chosen]
    for path in chosen:
        DAMAGES[damage](path)
    with pytest.raises(BackupUnusable, match="feature-store backup create` again") as error:
        verify_backup(place)
    assert all(name in str(error.value) for name in names)
    done = store.backup(place)
    assert done.mended == names
    assert [path.read_bytes() for path in chosen] == whole
    assert verify_backup(place, first.id).files == first.files
    assert verify_backup(place).id == done.id
    assert not (target / "damaged.json").exists()
    assert store.backup(place).mended == ()


@pytest.mark.slow
def test_a_damaged_file_is_never_overwritten_with_other_bytes(
    store: FeatureStore, tmp_path: Path
) -> None:
    """The store's own is damaged as well: which of the two was right, its digest knows."""
    small(store)
    target = tmp_path / "kept"
    first = store.backup(target)
    own = Path(store.table(SMALL[1]).files()[0].uri)
    flip(own)
    copy = target / "files" / own.relative_to(store.config.root)
    copy.write_bytes(copy.read_bytes()[:-1])
    cut = copy.read_bytes()
    done = store.backup(target)
    assert (done.mended, copy.read_bytes()) == ((), cut)
    assert verify_backup(target).id == done.id
    with pytest.raises(BackupUnusable, match="bytes, not"):
        verify_backup(target, first.id)


def test_a_target_that_may_only_be_read_is_verified(store: FeatureStore, tmp_path: Path) -> None:
    small(store)
    target = tmp_path / "kept"
    store.backup(target)
    (target / "damaged.json").mkdir()  # so that no file can get its name
    data = next(target.rglob("*.parquet"))
    flip(data)
    with pytest.raises(BackupUnusable, match=f"{data.name} has changed"):
        verify_backup(target)


def test_what_no_manifest_names_is_not_looked_for(store: FeatureStore, tmp_path: Path) -> None:
    small(store)
    target = tmp_path / "kept"
    store.backup(target)
    (manifest,), bad = manifests(location(target))
    assert bad == []
    named = {file.stored for file in manifest.all}
    assert named | {"backup.json", f"backups/{manifest.id}.json"} == {*tree(target)}

"""Backups: all that a store is comes back, on any registry and online store, while others write."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.errors import (
    BackupNotFound,
    BackupUnusable,
    ConfigError,
    DataError,
    WriteRefused,
)
from feature_store_assets.registry.database import metadata
from feature_store_assets.registry.leases import Leases
from feature_store_assets.registry.pins import OwnerKind
from feature_store_assets.storage import location
from feature_store_assets.store import FeatureStore
from feature_store_assets.transfer.backup import _Run, _scratch
from feature_store_assets.transfer.backup_repository import (
    list_backups,
    manifests,
    mark_owner,
    note,
    verify_backup,
)
from feature_store_assets.transfer.store_integrity import known_to
from feature_store_assets_tests.servers import postgres_server, redis_server
from feature_store_assets_tests.stores import at, new_store, pushed, row
from feature_store_assets_tests.transfer.backups import (
    MONTH,
    USERS,
    answers,
    config_at,
    reject,
    rows_of,
    stock,
    stocked,
    tree,
)

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    with redis_server("valkey") as uri:
        yield uri


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Callable[[str, str], dict[str, Any]]:
    """Makes an empty registry and an empty online store of a kind, and gives their settings."""

    def make(registry: str, online: str) -> dict[str, Any]:
        given = {}
        if registry == "postgresql":
            server = sa.make_url(str(request.getfixturevalue("postgres")))
            name = f"backed_{next(_NUMBERS)}"
            engine = sa.create_engine(server)
            with engine.begin() as connection:
                connection.execute(sa.text(f"CREATE SCHEMA {name}"))
            engine.dispose()
            own = server.update_query_dict({"options": f"-csearch_path={name}"})
            given["registry_url"] = own.render_as_string(hide_password=False)
        if online == "redis":
            given["online_store_uri"] = str(request.getfixturevalue("valkey"))
            with redis.Redis.from_url(given["online_store_uri"]) as server_:
                server_.flushall()
        return given

    return make


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("sqlite", "lmdb"), ("sqlite", "lmdb")),
        pytest.param(("postgresql", "lmdb"), ("postgresql", "lmdb"), marks=pytest.mark.slow),
        pytest.param(("sqlite", "redis"), ("sqlite", "redis"), marks=pytest.mark.slow),
        pytest.param(("sqlite", "lmdb"), ("postgresql", "redis"), marks=pytest.mark.slow),
        pytest.param(("postgresql", "redis"), ("sqlite", "lmdb"), marks=pytest.mark.slow),
    ],
    ids="-".join,
)
def test_what_is_restored_answers_every_read_as_before(
    before: tuple[str, str],
    after: tuple[str, str],
    tmp_path: Path,
    settings: Callable[[str, str], dict[str, Any]],
) -> None:
    with new_store(tmp_path / "one", **settings(*before)) as store:
        between = stock(store)
        known = answers(store, between)
        count = store.audit.verify()
        done = store.backup(tmp_path / "kept")
        assert done.lost == ()
        audited = store.audit.entries()
    config = config_at(tmp_path / "two", **settings(*after))
    restored = FeatureStore.restore(tmp_path / "kept", config)
    kinds = before[1], after[1]
    assert restored.rebuild == (() if kinds == ("lmdb", "lmdb") else ("a",))
    with FeatureStore(config) as store:
        for name in restored.rebuild:
            group = store.applied.group(name)
            store.serving.rebuild(group, store.table(group), wait=lambda _: None)
        entries = store.audit.entries()
        assert answers(store, between) == known
        assert store.audit.verify() > count
        assert entries[:count] == audited[:count]
        assert (entries[count].action, entries[count].detail["backup"]) == ("restore", done.id)
        # And it goes on: numbers, names, pins.
        store.write_features([row("new", 300 * 24, x=1, tags=None)], "a")
        store.create_snapshot("both", "later")
        store.register_feature("more", feature_group="b", data_type="integer")
        store.backup(tmp_path / "kept")


def test_of_the_next_backup_only_what_is_new_is_copied(store: FeatureStore, tmp_path: Path) -> None:
    stocked(store)
    target = tmp_path / "kept"
    first = store.backup(target)
    assert first.copied == first.files
    before = {path: (target / path).stat().st_mtime_ns for path in tree(target)}
    again = store.backup(target)
    # The registry and the online store are copied each time.
    assert (again.files, again.copied) == (first.files, 2)
    store.write_features([row("u9", 0, x=9, tags=None)], "a")
    third = store.backup(target)
    assert (third.files, third.copied) == (first.files + 2, 4)
    assert {path: (target / path).stat().st_mtime_ns for path in before} == before
    assert [each.id for each in list_backups(target)] == [first.id, again.id, third.id]
    for each in (first, again, third):
        assert verify_backup(target, each.id).files == each.files


@pytest.mark.slow
def test_what_was_rejected_under_the_same_name_is_kept_as_it_was(
    store: FeatureStore, tmp_path: Path
) -> None:
    stocked(store)
    found = []
    for number, x in enumerate((3, 4)):
        reject(store, "run1", x)
        store.backup(tmp_path / "kept")
        FeatureStore.restore(tmp_path / "kept", config_at(tmp_path / str(number)))
    for number, each in enumerate(list_backups(tmp_path / "kept")):
        config = config_at(tmp_path / f"again{number}")
        FeatureStore.restore(tmp_path / "kept", config, each.id)
        with FeatureStore(config) as restored:
            (entry,) = restored.review.quarantine.entries()
            found.append(entry.read()["x"].to_list())
    assert found == [[3], [4]]


@pytest.mark.slow
def test_a_store_that_went_another_way_since_an_older_backup_does_not_mix_the_two(
    store: FeatureStore, tmp_path: Path
) -> None:
    """After a restore other commits have the numbers, and the sizes, of those that are gone."""
    stocked(store)
    target = tmp_path / "kept"
    first = store.backup(target)
    store.write_features([row("u8", 0, x=1, tags=None)], "a")
    second = store.backup(target)
    former = store.read_features("a").to_arrow()
    config = config_at(tmp_path / "other")
    FeatureStore.restore(target, config, first.id)
    with FeatureStore(config) as other:
        other.write_features([row("u8", 0, x=2, tags=None)], "a")
        latter = other.read_features("a").to_arrow()
        third = other.backup(target)
    assert former != latter
    for number, (backup, rows) in enumerate([(second, former), (third, latter)]):
        verify_backup(target, backup.id)
        config = config_at(tmp_path / str(number))
        FeatureStore.restore(target, config, backup.id)
        with FeatureStore(config) as restored:
            assert restored.read_features("a").to_arrow() == rows


def test_old_backups_go_with_the_files_that_only_they_need(
    store: FeatureStore, tmp_path: Path
) -> None:
    stocked(store)
    target = tmp_path / "kept"
    first = store.backup(target)
    store.delete_snapshot("whole")
    store.retain(["old"], dry_run=False, now=at(2 * MONTH))
    table = store.table(store.applied.group("old"))
    newest = table.version()
    pinned = store.parts.removals.raise_floor("old", 1, newest)
    table.sweep(oldest=newest, keep_versions=pinned, dry_run=False)
    second = store.backup(target, keep=1)
    assert second.removed == (first.id,)
    assert [each.id for each in list_backups(target)] == [second.id]
    assert len(tree(target)) == second.files + 2  # the manifest, and whose backups these are
    with pytest.raises(BackupNotFound, match=f"No backup .* is named '{first.id}'. The newest: "):
        verify_backup(target, first.id)
    with pytest.raises(DataError, match="keep 1 or more"):
        store.backup(target, keep=0)


def test_what_a_killed_removal_left_goes_with_the_next(store: FeatureStore, tmp_path: Path) -> None:
    stocked(store)
    target = tmp_path / "kept"
    old = store.backup(target)
    store.write_features([row("u9", 0, x=9, tags=None)], "a")
    (manifest,) = manifests(location(target))[0]
    note(location(target), old.id, [file.stored for file in manifest.all])
    store.backup(target)  # killed before the manifest went: the backup is there
    assert verify_backup(target, old.id).files == old.files
    note(location(target), old.id, [file.stored for file in manifest.all])
    (target / "backups" / f"{old.id}.json").unlink()
    (last,) = store.backup(target, keep=1).removed
    assert last != old.id
    assert len(tree(target)) == verify_backup(target).files + 2


def test_a_backup_that_cannot_be_read_keeps_its_files(store: FeatureStore, tmp_path: Path) -> None:
    stocked(store)
    target = tmp_path / "kept"
    old = store.backup(target)
    manifest = target / "backups" / f"{old.id}.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"version": 1', b'"version": 2'))
    files = tree(target)
    store.backup(target, keep=1)
    assert files.items() <= tree(target).items()
    with pytest.raises(BackupUnusable, match=r"version 2 is not 1.*upgrade"):
        verify_backup(target, old.id)


def test_verifying_names_what_is_gone_or_changed(store: FeatureStore, tmp_path: Path) -> None:
    stocked(store)
    target = tmp_path / "kept"
    store.backup(target)
    data, other, *_ = sorted(target.rglob("*.parquet"))
    data.write_bytes(bytes(reversed(data.read_bytes())))
    with pytest.raises(BackupUnusable, match=f"{data.relative_to(target)} has changed"):
        verify_backup(target)
    other.unlink()
    with pytest.raises(BackupUnusable, match=f"{other.relative_to(target)} is gone"):
        verify_backup(target)


def test_a_backup_needs_a_place_of_its_own(store: FeatureStore, tmp_path: Path) -> None:
    stocked(store)
    with pytest.raises(DataError, match="lies in the data root"):
        store.backup(store.config.root / "kept")
    with pytest.raises(ConfigError, match="'nowhere://' is no scheme of a location"):
        store.backup("nowhere://bucket")
    store.backup((tmp_path / "kept").as_uri())
    with new_store(tmp_path / "other") as other:
        stock(other)
        with pytest.raises(WriteRefused, match="holds backups of another store"):
            other.backup(tmp_path / "kept")
    with (
        Leases(store.parts.database).hold("backup"),
        pytest.raises(WriteRefused, match="Somebody else is at 'backup'"),
    ):
        store.backup(tmp_path / "kept")


def test_what_the_store_itself_had_lost_is_named(store: FeatureStore, tmp_path: Path) -> None:
    stocked(store)
    file = Path(store.table(store.applied.group("b")).files()[0].uri)
    file.unlink()
    (store.config.root / "training" / "set" / "manifest.json").write_text("{}")
    done = store.backup(tmp_path / "kept")
    assert done.lost == (
        "training/set/manifest.json has changed",
        f"{file.relative_to(store.config.root)} is gone",
    )


def test_work_under_way_is_not_restored(store: FeatureStore, tmp_path: Path) -> None:
    """Pins of a backup or an export, and of a training set that was never recorded."""
    stocked(store)
    kinds: tuple[OwnerKind, ...] = ("backup", "export", "training_set")
    for kind in kinds:
        store.snapshots.pins.add("killed", [("a", 1, 1)], kind=kind, description="", created_by="")
    (store.config.root / "training" / ".half.unfinished").mkdir()
    store.backup(tmp_path / "kept")
    owners = {(pin.owner_kind, pin.owner) for pin in store.snapshots.pins.all()}
    kept = {("snapshot", "whole"), ("snapshot", "june"), ("training_set", "set")}
    assert owners == kept | {("export", "killed"), ("training_set", "killed")}
    config = config_at(tmp_path / "new")
    FeatureStore.restore(tmp_path / "kept", config)
    with FeatureStore(config) as restored:
        owners = {(pin.owner_kind, pin.owner) for pin in restored.snapshots.pins.all()}
    assert owners == kept
    assert [path.name for path in (config.root / "training").iterdir()] == ["set"]


@pytest.mark.slow
def test_online_rows_of_later_versions_are_not_in_a_backup_and_earlier_ones_are_caught_up(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits land between the copy of the online store and the look at the tables, and later."""
    stocked(store)

    def write(x: int) -> None:
        store.write_features([row("u9", 0, x=x, tags=None)], "a", mode="upsert")

    told = []

    def hear(text: str) -> None:
        told.append(text)
        write(10 + len(told))

    store.backup(tmp_path / "kept", told=hear)
    assert told == ["Copied the online store."]
    write(99)
    config = config_at(tmp_path / "new")
    FeatureStore.restore(tmp_path / "kept", config)
    with FeatureStore(config) as restored:
        assert restored.get_online_features("a", ["u9"], ["x"]) == {"u9": {"x": 11}}
        group = restored.applied.group("a")
        restored.publish(group, restored.table(group).partitions())
        rows = restored.read_features("a").to_arrow().to_pylist()
        assert [each["x"] for each in rows if each["entity_id"] == "u9"] == [11]
        served = restored.get_online_features("a", USERS, ["x"])
    assert served == store.get_online_features("a", USERS, ["x"])


# Beside everybody else


def test_what_a_backup_is_about_to_copy_stays_whatever_retention_does(
    store: FeatureStore, tmp_path: Path
) -> None:
    store.register_feature_group(GROUP)
    write(store, 1)
    live = {file.uri for file in store.table(GROUP).files()}
    with _scratch(store.config.root) as scratch:
        known, place = known_to(store.parts.database), location(tmp_path / "kept")
        mark_owner(place, known.store)
        run = _Run(store.parts, place, scratch, "now", lambda _: None, known, None)
        plan = run._plan(set())
        write(store, 2)
        upkeep(store, 0)
        files, lost = run._copy(plan.wanted)
        assert lost == []
        assert {str(store.config.root / file.path) for file in files} >= live
    # The next backup takes back what this one, as good as killed, pinned: now they go.
    store.backup(tmp_path / "kept")
    upkeep(store, 0)
    assert not any(Path(path).exists() for path in live)


@contextmanager
def busy(
    *works: Callable[[FeatureStore, int], object], opened: Callable[[], FeatureStore]
) -> Iterator[list[Exception]]:
    """Do each work again and again in a thread of its own, with a store of its own."""
    over, wrong = threading.Event(), list[Exception]()

    def go(work: Callable[[FeatureStore, int], object]) -> None:
        with opened() as store:
            for turn in itertools.count(1):
                if over.is_set():
                    return
                try:
                    work(store, turn)
                except FileNotFoundError:
                    continue  # swept at once, as no settings allow: who was reading begins again
                except Exception as error:  # noqa: BLE001 - any is one too many
                    wrong.append(error)
                    return

    threads = [threading.Thread(target=go, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        over.set()
        for thread in threads:
            thread.join()


KEPT = timedelta(days=60)
GROUP = pushed("busy", Feature("x", "int64"), retention=KEPT)


def write(store: FeatureStore, turn: int) -> None:
    """One commit: all rows say the same."""
    rows = [row(user, number * MONTH, x=turn) for number in range(6) for user in ("ann", "bob")]
    store.write_features(rows, "busy", mode="upsert")


def upkeep(store: FeatureStore, turn: int) -> None:
    store.compact(["busy"], at_least=2)
    store.retain(["busy"], dry_run=False, now=at(4 * MONTH) + KEPT)
    table = store.table(store.applied.group("busy"))
    newest = table.version()
    pinned = store.parts.removals.raise_floor("busy", 1, newest)
    table.sweep(oldest=newest, keep_versions=pinned, dry_run=False)


def pin(store: FeatureStore, turn: int) -> None:
    """Snapshots come and go, and what only they held with them."""
    store.create_snapshot("busy", f"s{turn}")
    if turn > 2:
        store.delete_snapshot(f"s{turn - 2}")


@pytest.mark.slow
@pytest.mark.parametrize("registry", ["sqlite", "postgresql"])
def test_a_backup_beside_writers_retention_and_snapshots_is_whole(
    tmp_path: Path, settings: Callable[[str, str], dict[str, Any]], registry: str
) -> None:
    target = tmp_path / "kept"
    opened = partial(new_store, tmp_path / "one", **settings(registry, "lmdb"))
    with opened() as store:
        store.register_feature_group(GROUP)
        write(store, 0)
        with busy(write, upkeep, pin, opened=opened) as wrong:
            for _ in range(3):
                before = store.table(GROUP).version()
                done = store.backup(target, keep=2)
                assert done.lost == ()
                verify_backup(target, done.id)
                check(tmp_path / f"restored{next(_NUMBERS)}", target, done.id, before)
        assert wrong == []
        assert not [p for p in store.snapshots.pins.all() if p.owner_kind == "backup"]
        store.audit.verify()


def check(folder: Path, target: Path, backup: str, least: int) -> None:
    """What is restored is one committed state, and everything that it speaks of is there."""
    config = config_at(folder)
    FeatureStore.restore(target, config, backup)
    with FeatureStore(config) as store:
        store.audit.verify()
        table = store.table(GROUP)
        version = table.version()
        assert version >= least
        for each in store.list_snapshots():
            assert store.verify_snapshot(each.name)
            assert len(store.read_features("busy", as_of=each.name)) >= 4
        live = store.read_features("busy").to_arrow()
        # A write is one commit: in each month all rows are of one turn; retention takes months.
        by_month: dict[Any, set[Any]] = {}
        for fact in live.to_pylist():
            by_month.setdefault(fact["event_timestamp"], set()).add(fact["x"])
        assert all(len(turns) == 1 for turns in by_month.values())
        assert {at(4 * MONTH), at(5 * MONTH)} <= by_month.keys()
        assert len(live) == 2 * len(by_month)
        (newest,) = by_month[at(5 * MONTH)]
        assert store.get_online_features("busy", ["ann", "bob"]) == {
            "ann": {"x": newest},
            "bob": {"x": newest},
        }
        floors = {name: number for name, _, number in rows_of(store, "floors")}
        assert floors.get("busy", 0) <= version
        removals = metadata.tables["removals"].c
        place = list(removals).index(removals.table_version)
        assert all((each[place] or 0) <= version for each in rows_of(store, "removals"))
        recorded = {each.partition for each in store.parts.removals.of("busy", 1)}
        months = {f"{at(number * MONTH):%Y-%m}" for number in range(6)}
        assert months - {*table.partitions()} <= recorded
        # It goes on as a store.
        write(store, newest + 1000)
        upkeep(store, 0)
        store.create_snapshot("busy", "after")
        assert store.verify_snapshot("after")

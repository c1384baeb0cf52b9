"""Backups and restores killed at any moment: what is half-done is never taken for done."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.errors import BackupNotFound, RestoreRefused
from feature_store_assets.store import FeatureStore
from feature_store_assets.transfer.backup_repository import list_backups, verify_backup
from feature_store_assets_tests.servers import postgres_server
from feature_store_assets_tests.stores import row
from feature_store_assets_tests.transfer.backups import answers, config_at, stocked

KILLS = min(20, int(os.environ.get("KILLS", "1")))
pytestmark = pytest.mark.slow

BACKUP = """
import sys
from pathlib import Path
from feature_store_assets_tests.stores import new_store
with new_store(Path(sys.argv[1])) as store:
    print("begins", flush=True)
    store.backup(sys.argv[2], keep=int(sys.argv[3]))
"""
RESTORE = """
import sys
from pathlib import Path
from pydantic import SecretStr
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.transfer.backups import config_at
given = {"registry_url": SecretStr(sys.argv[3])} if len(sys.argv) > 3 else {}
print("begins", flush=True)
FeatureStore.restore(sys.argv[1], config_at(Path(sys.argv[2]), **given))
"""
# Killed when the registry is filled and nothing has its name yet.
STOPPED = """
import os, signal, sys
from pathlib import Path
from pydantic import SecretStr
from feature_store_assets.transfer.restore import restore
from feature_store_assets_tests.transfer.backups import config_at
config = config_at(Path(sys.argv[2]), registry_url=SecretStr(sys.argv[3]))
restore(sys.argv[1], config, follow=lambda *_: os.kill(os.getpid(), signal.SIGKILL))
"""


def count(folder: Path) -> int:
    """How many files there are, while others come and go."""
    return sum(len(files) for _, _, files in os.walk(folder))


def killed(code: str, *arguments: object, folder: Path, after: int) -> None:
    """Run a program and kill it once so many more files are in a folder, if it is not done."""
    before = count(folder)
    killed_once(lambda: count(folder) >= before + after, code, *arguments)


def killed_once(reached: Callable[[], bool], code: str, *arguments: object) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begins\n"
        while child.poll() is None and not reached():
            pass
        child.send_signal(signal.SIGKILL)


@pytest.mark.timeout(1200)
def test_a_killed_backup_is_none_and_the_next_one_is_whole(
    store: FeatureStore, tmp_path: Path
) -> None:
    chosen, target, strewn = random.Random(3), tmp_path / "kept", set[Path]()
    stocked(store)
    for turn in range(KILLS):
        for number in range(10):
            store.write_features([row(f"w{turn}", number, x=turn, tags=None)], "a")
        held = [each.id for each in list_backups(target)]
        after = chosen.randrange(24)
        killed(BACKUP, tmp_path, target, 2, folder=target, after=after)
        left = list_backups(target)
        for each in left:
            verify_backup(target, each.id)
        strewn |= strew(target)
        assert {each.id for each in left} >= set(held[-1:])
        done = store.backup(target, keep=2)
        assert not [p for p in store.snapshots.pins.all() if p.owner_kind == "backup"]
        assert verify_backup(target).id == done.id
        assert len(list_backups(target)) <= 2
    config = config_at(tmp_path / "new")
    FeatureStore.restore(target, config)
    with FeatureStore(config) as restored:
        assert restored.read_features("a").to_arrow() == store.read_features("a").to_arrow()
        assert restored.verify_snapshot("june")
        restored.audit.verify()
    assert {path.read_text() for path in strewn} <= {"mine"}
    # Whatever the killed ones had of their own is gone, and what is needed is there.
    needed = {
        file
        for each in list_backups(target)
        for file in named_by(target, each.id)
    }  # fmt: skip
    stored = {
        str(path.relative_to(target))
        for path in target.rglob("*")
        if path.is_file() and path not in strewn and path.suffix != ".part"
    }
    assert needed <= stored
    own = ("registry/", "online/", "removed/")
    assert not [each for each in stored - needed if each.startswith(own)]


def strew(target: Path) -> set[Path]:
    """Files that somebody else puts where the backups lie."""
    folders = ("", "files", "files/offline/a/v1", "content", "registry", "online", "removed")
    strewn = {target / folder / "mine" for folder in folders if (target / folder).is_dir()}
    for path in strewn:
        path.write_text("mine")
    return strewn


@pytest.mark.timeout(1200)
def test_a_removal_killed_at_any_moment_is_finished_by_the_next_backup(
    store: FeatureStore, tmp_path: Path
) -> None:
    chosen, target, strewn = random.Random(7), tmp_path / "kept", set[Path]()
    stocked(store)
    for turn in range(KILLS):
        for number in range(3):
            row_ = row(f"w{turn}", number, x=turn, tags=None)
            store.write_features([row_], "a", mode="overwrite" if number else "append")
            store.backup(target)
        strewn |= strew(target)
        peak, fewer = count(target), chosen.randrange(1, 12)

        def fallen(fewer: int = fewer) -> bool:
            nonlocal peak
            now = count(target)
            peak = max(peak, now)
            return now <= peak - fewer

        killed_once(fallen, BACKUP, tmp_path, target, 1)
        for each in list_backups(target):
            verify_backup(target, each.id)
        last = store.backup(target, keep=1)
        assert [each.id for each in list_backups(target)] == [last.id]
        assert verify_backup(target).files == last.files
        stored = {path for path in target.rglob("*") if path.is_file()} - strewn
        beside = {target / "backup.json", target / "backups" / f"{last.id}.json"}
        assert stored == beside | {target / name for name in named_by(target, last.id)}
    assert {path.read_text() for path in strewn} == {"mine"}


def named_by(target: Path, backup: str) -> set[str]:
    content = json.loads((target / "backups" / f"{backup}.json").read_bytes())
    online = [content["online"]["file"]] if content["online"] else []
    return {each["stored"] for each in [*content["files"], content["registry"], *online]}


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def registry(postgres: str) -> Callable[[str], str]:
    """Makes an empty registry of a name."""

    def make(name: str) -> str:
        server = sa.make_url(postgres)
        engine = sa.create_engine(server)
        with engine.begin() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA {name}"))
        engine.dispose()
        own = server.update_query_dict({"options": f"-csearch_path={name}"})
        return own.render_as_string(hide_password=False)

    return make


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_killed_restore_is_none_and_the_next_one_starts_clean(
    store: FeatureStore,
    tmp_path: Path,
    registry: Callable[[str], str],
    kind: str,
) -> None:
    chosen, target = random.Random(5), tmp_path / "kept"
    between = stocked(store)
    known = answers(store, between)
    files = store.backup(target).files
    for turn in range(KILLS):
        given = [registry(f"killed_{turn}")] if kind == "postgresql" else []
        config = config_at(tmp_path / str(turn), **({"registry_url": given[0]} if given else {}))
        for _ in range(2):
            after = chosen.randrange(files + 6)
            folder = config.root.parent
            killed(RESTORE, target, folder, *given, folder=folder, after=after)
            if config.root.exists():
                break
        if config.root.exists():
            with pytest.raises(RestoreRefused):
                FeatureStore.restore(target, config)
        else:
            FeatureStore.restore(target, config)
        assert_whole(config, between, known)


def assert_whole(config: FeatureStoreConfig, between: object, known: object) -> None:
    assert [path.name for path in config.root.parent.iterdir()] == ["store"]
    with FeatureStore(config) as restored:
        assert answers(restored, between) == known  # type: ignore[arg-type]
        restored.audit.verify()


def test_a_restore_killed_after_it_filled_a_registry_is_done_again(
    store: FeatureStore, tmp_path: Path, registry: Callable[[str], str]
) -> None:
    target, url = tmp_path / "kept", registry("filled")
    between = stocked(store)
    known = answers(store, between)
    store.backup(target)
    for _ in range(2):
        child = subprocess.run(
            [sys.executable, "-c", STOPPED, str(target), str(tmp_path / "new"), url], check=False
        )
        assert child.returncode == -signal.SIGKILL
    config = config_at(tmp_path / "new", registry_url=url)
    assert not config.root.exists()
    with pytest.raises(RestoreRefused, match="holds"):
        # Another data root knows nothing of that.
        FeatureStore.restore(target, config_at(tmp_path / "other", registry_url=url))
    FeatureStore.restore(target, config)
    assert_whole(config, between, known)


def test_a_first_backup_that_was_killed_is_not_there(store: FeatureStore, tmp_path: Path) -> None:
    stocked(store)
    target = tmp_path / "kept"
    killed(BACKUP, tmp_path, target, 2, folder=target, after=1)
    if not list_backups(target):
        with pytest.raises(BackupNotFound, match="There is no backup"):
            FeatureStore.restore(target, config_at(tmp_path / "new"))
    store.backup(target)
    FeatureStore.restore(target, config_at(tmp_path / "new"))

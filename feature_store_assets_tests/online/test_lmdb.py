import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from feature_store_assets.errors import StorageUnusable
from feature_store_assets.online import lmdb, open_store
from feature_store_assets.online.lmdb import LmdbStore, network_mount
from feature_store_assets.online.row import KeySpace, sortable
from feature_store_assets_tests.counts import some

SPACE = KeySpace("spending", 1, 0)
MOUNTS = r"""/dev/sda1 / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
nas:/export /mnt/team\040data nfs4 rw,vers=4.2 0 0
/dev/sdb1 /mnt/team\040data/local xfs rw 0 0
//server/share /mnt/share cifs rw 0 0
host:/home /mnt/me/remote fuse.sshfs rw 0 0
nas:/hidden /srv nfs rw 0 0
/dev/sdc1 /srv ext4 rw 0 0
fs /lustre lustre rw 0 0
share /vm 9p rw 0 0

"""


def row(number: int, size: int = 0) -> bytes:
    return sortable(number) * 3 + b"\0\1\x90" + bytes(size)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/store", None),
        ("/tmp/store", None),
        ("/mnt/team data/store", "nfs4"),
        ("/mnt/team data", "nfs4"),
        ("/mnt/team data/local/store", None),
        ("/mnt/team", None),
        ("/mnt/share/x", "cifs"),
        ("/mnt/shared/x", None),
        ("/mnt/me/remote/store", "fuse.sshfs"),
        ("/srv/store", None),
        ("/lustre/x", "lustre"),
        ("/vm", "9p"),
    ],
)
def test_a_network_file_system_is_told_from_the_mounts(path: str, kind: str | None) -> None:
    assert network_mount(path, MOUNTS) == kind


def test_a_path_that_cannot_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnusable, match="cannot hold the store"):
        LmdbStore(str(tmp_path / "file" / "store"))


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/sys/kernel").exists(), reason="no /sys here")
def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    # Root writes where it likes, except into the kernel's own folders.
    path = Path("/sys/kernel") if os.geteuid() == 0 else closed
    with pytest.raises(StorageUnusable, match="cannot hold the store"):
        LmdbStore(str(path))


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageUnusable, match="cannot hold the store"):
        LmdbStore(str(tmp_path))


def test_two_stores_of_a_path_share_one_environment_until_both_are_closed(tmp_path: Path) -> None:
    first, second = LmdbStore(str(tmp_path)), LmdbStore(f"{tmp_path}/../{tmp_path.name}")
    assert first._environment is second._environment
    first.close()
    first.close()
    assert second.put([(b"fs:a", row(1))]) == 1
    second.close()
    third = LmdbStore(str(tmp_path))
    assert third._environment is not second._environment
    assert third.get([b"fs:a"]) == [row(1)]
    third.close()


_WRITER = """
import sys
from feature_store_assets.online import open_store
from feature_store_assets_tests.online.test_lmdb import SPACE, row
store = open_store(sys.argv[1])
for number in range(10**9):
    store.put([(SPACE.key(number * 50 + at), row(number, 100)) for at in range(50)])
    print(number, flush=True)
"""


@pytest.mark.parametrize("acknowledged", some([20, 1, 77]))
def test_a_killed_writer_loses_no_acknowledged_write(tmp_path: Path, acknowledged: int) -> None:
    uri = f"lmdb://{tmp_path}"
    command = [sys.executable, "-c", _WRITER, uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(acknowledged):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        last = max([last, *map(int, writer.stdout.read().split("\n")[:-1])])
    store = open_store(uri)
    keys = [SPACE.key(number) for number in range((last + 1) * 50)]
    assert store.get(keys) == [row(number // 50, 100) for number in range(len(keys))]
    assert store.put([(SPACE.key(-1), row(1))]) == 1
    store.close()


def _fill(uri: str, first: int) -> None:
    lmdb._MAP_SIZE = 1 << 18
    store = open_store(uri)
    for number in range(first, first + 100):
        store.put([(SPACE.key(number), row(number, 20_000))])
    assert all(store.get([SPACE.key(number) for number in range(first, first + 100)]))
    store.close()


@pytest.mark.slow
def test_the_map_grows_beside_other_processes_and_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb, "_MAP_SIZE", 1 << 18)
    uri = f"lmdb://{tmp_path}"
    store = open_store(uri)
    store.put([(SPACE.key(0), row(0, 20_000))])
    stop, failures = threading.Event(), list[object]()

    def read() -> None:
        # A breath between reads: without one, threads that read pass the GIL among themselves.
        while not stop.wait(0.0005):
            if store.get([SPACE.key(0)]) != [row(0, 20_000)]:
                failures.append("lost")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fill, args=(uri, first)) for first in (0, 100)]
    for process in processes:
        process.start()
    for number in range(200, 300):
        store.put([(SPACE.key(number), row(number, 20_000))])
    for process in processes:
        process.join()
    stop.set()
    for reader in readers:
        reader.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert failures == []
    assert all(store.get([SPACE.key(number) for number in range(300)]))
    store.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_reads_and_writes_beside_its_parent(tmp_path: Path) -> None:
    store = open_store(f"lmdb://{tmp_path}")
    store.put([(b"fs:parent", row(1))])
    assert store.get([b"fs:parent"]) == [row(1)]

    def child(number: int) -> None:
        assert store.get([b"fs:parent"]) == [row(number)]
        assert store.put([(b"fs:child", row(2))]) == 1
        again = open_store(f"lmdb://{tmp_path}")
        assert again.get([b"fs:child"]) == [row(2)]
        again.close()
        store.close()

    for number in (1, 2):
        process = multiprocessing.get_context("fork").Process(target=child, args=(number,))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert store.get([b"fs:child"]) == [row(2)]
        assert store.put([(b"fs:parent", row(number + 1))]) == 1
        store.delete(b"fs:child")
    store.close()

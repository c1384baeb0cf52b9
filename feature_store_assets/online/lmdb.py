"""The embedded online store: one LMDB environment on a local disk, for any number of processes."""

import fcntl
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import msgspec

from feature_store_assets.errors import StorageUnusable
from feature_store_assets.online.row import HEAD

_T = TypeVar("_T")

_MAP_SIZE = 1 << 30  # address space, not disk: the file grows as it is written
_OPENINGS = 100
_READERS = 512
_CHUNK = 20_000  # rows per write transaction: other processes get their turn in between
_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "orangefs", "pvfs2", "smb3", "smbfs", "fuse.ceph", "fuse.cephfs", "fuse.gcsfuse",
    "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
}  # fmt: skip


def network_mount(path: str, mounts: str) -> str | None:
    r"""The type of the network file system that holds an absolute path; None for a local disk.

    Parameters
    ----------
    mounts
        The text of ``/proc/mounts``.

    Examples
    --------
    >>> network_mount("/data/store", "/dev/sda / ext4 rw 0 0\nnas:/x /data nfs4 rw 0 0\n")
    'nfs4'
    """
    best, kind = "", None
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:  # noqa: PLR2004 - device, mount point, type
            continue
        point = re.sub(r"\\([0-7]{3})", lambda hit: chr(int(hit[1], 8)), parts[1])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount on the same point hides the former
            best, kind = point, parts[2]
    return kind if kind in _NETWORK else None


class _Environment:
    """The one LMDB environment of a path in this process; LMDB forbids a second."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.users = 0
        self._fresh()
        self._open()

    def _fresh(self) -> None:
        self.writing = Lock()
        # Replacing the map ends every read: each reader holds a permit, which costs less than a
        # lock, and whoever replaces the map collects them all first.
        self.permits: deque[None] = deque()
        self.returned = self.permits
        self._made = 0
        self._admission = Lock()
        self._opening = Lock()

    def _open(self) -> None:
        import lmdb
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

        # Another process may grow the map between our look at its size and our first look inside.
        opening = Retrying(
            stop=stop_after_attempt(_OPENINGS),
            retry=retry_if_exception_type(lmdb.MapResizedError),
            reraise=True,
        )
        try:
            env = opening(
                lmdb.open, self.path, map_size=_MAP_SIZE, max_readers=_READERS, metasync=False
            )
            env.reader_check()  # the slots of processes that were killed
        except lmdb.Error as error:
            raise StorageUnusable(self.path, str(error)) from error
        self._env = env
        self.begin: Callable[..., Any] = env.begin
        self.resized: type[Exception] = lmdb.MapResizedError
        self._full: type[Exception] = lmdb.MapFullError
        self._error: type[Exception] = lmdb.Error

    def forked(self) -> None:
        """In a child: drop the parent's environment, open our own on demand."""
        self._env.close()  # in a child this only forgets it
        self._fresh()
        self.begin = self._begin_anew

    def _begin_anew(self, **kwargs: Any) -> Any:
        with self._opening:
            if self.begin == self._begin_anew:
                self._open()
        return self.begin(**kwargs)

    def admit(self) -> None:
        """One more permit to read; waits while the map is replaced."""
        with self._admission:
            self._made += 1

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._admission:
            # Readers find no permit and wait to be admitted; those under way bring theirs back.
            self.permits = deque()
            for _ in range(self._made):
                while True:
                    try:
                        self.returned.pop()
                        break
                    except IndexError:
                        time.sleep(0.0002)
            try:
                yield
            finally:
                self.returned.extend([None] * self._made)
                self.permits = self.returned

    def adopt(self) -> None:
        """Take over the size that another process gave to the map."""
        with self.writing, self._alone():
            self._env.set_mapsize(0)

    def _grow(self) -> None:
        with Path(self.path, "grow.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self._alone():
                before = self._env.info()["map_size"]
                self._env.set_mapsize(0)
                if self._env.info()["map_size"] <= before:  # else another process was first
                    self._env.reader_check()
                    self._env.set_mapsize(2 * before)

    def read(self, work: Callable[[Any], _T]) -> _T:
        """What `work` finds in one snapshot."""
        while True:
            try:
                self.permits.pop()
            except IndexError:
                self.admit()
            try:
                with self.begin() as txn:
                    return work(txn)
            except self.resized:
                pass
            finally:
                self.returned.append(None)
            self.adopt()

    def write(self, work: Callable[[Any], int]) -> int:
        """Commit what `work` does; it is called again after the map has grown."""
        with self.writing:
            while True:
                try:
                    with self.begin(write=True) as txn:
                        return work(txn)
                except self.resized:
                    with self._alone():
                        self._env.set_mapsize(0)
                except self._full:
                    self._grow()
                except self._error as error:
                    raise StorageUnusable(self.path, str(error)) from error

    def close(self) -> None:
        with self.writing, self._alone():
            self._env.close()


_environments: dict[str, _Environment] = {}
_environments_lock = Lock()


def _after_fork() -> None:
    global _environments_lock  # noqa: PLW0603 - another thread of the parent may have held it
    _environments_lock = Lock()
    for environment in _environments.values():
        environment.forked()


os.register_at_fork(after_in_child=_after_fork)


def _enter(path: str) -> _Environment:
    path = os.path.realpath(path)
    mounts = Path("/proc/mounts")
    kind = network_mount(path, mounts.read_text()) if mounts.exists() else None
    if kind is not None:
        raise StorageUnusable(
            path,
            f"it is on a network file system ({kind}), where LMDB loses data",
            "Choose a local disk, or a Redis server for several hosts.",
        )
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageUnusable(path, error.strerror or str(error)) from error
    if not os.access(path, os.W_OK):
        raise StorageUnusable(path, "it is not writable", "Change its owner, or choose another.")
    with _environments_lock:
        environment = _environments.get(path)
        if environment is None:
            environment = _environments[path] = _Environment(path)
        environment.users += 1
        return environment


class LmdbStore:
    """The newest rows in an LMDB environment; safe for threads, processes and forks.

    Parameters
    ----------
    path
        A directory on a local disk; made if it does not exist.
    """

    def __init__(self, path: str) -> None:
        self._environment = _enter(path)
        self._closed = False

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        environment = self._environment
        while True:  # as `read`, written out: this is the hot path
            try:
                environment.permits.pop()
            except IndexError:
                environment.admit()
            try:
                with environment.begin() as txn:
                    return list(map(txn.get, keys))
            except environment.resized:
                pass
            finally:
                environment.returned.append(None)
            environment.adopt()

    async def aget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.get(keys)  # microseconds: handing it to a thread would take longer

    def look(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.get(keys)

    def put(self, rows: Sequence[tuple[bytes, bytes]]) -> int:
        def work(txn: Any, first: int) -> int:
            get, put, written = txn.get, txn.put, 0
            for key, value in rows[first : first + _CHUNK]:
                old = get(key)
                if (
                    old is None
                    or (len(old) > HEAD and old[:24] < value[:24])
                    or (len(old) <= HEAD and old[16:24] <= value[16:24])
                ):
                    put(key, value)
                    written += 1
            return written

        return self._chunks(work, len(rows))

    def replace(self, rows: Sequence[tuple[bytes, bytes, bytes]]) -> int:
        def work(txn: Any, first: int) -> int:
            get, put, written = txn.get, txn.put, 0
            for key, old, new in rows[first : first + _CHUNK]:
                stored = get(key)
                if stored is not None and stored[:16] == old[:16] and stored[16:24] <= new[16:24]:
                    put(key, new)
                    written += 1
            return written

        return self._chunks(work, len(rows))

    def remove(self, keys: Sequence[bytes]) -> int:
        def work(txn: Any, first: int) -> int:
            return sum(map(txn.delete, keys[first : first + _CHUNK]))

        return self._chunks(work, len(keys))

    def expire(self, prefix: bytes, oldest: bytes) -> int:
        def work(txn: Any, keys: list[bytes]) -> int:
            rows = ((key, txn.get(key, b"")) for key in keys)
            return sum(txn.delete(key) for key, row in rows if len(row) > HEAD and row[:8] < oldest)

        write = self._environment.write
        return sum(write(partial(work, keys=keys)) for keys in self.scan(prefix))

    def _chunks(self, work: Callable[..., int], count: int) -> int:
        write = self._environment.write
        return sum(write(partial(work, first=first)) for first in range(0, count, _CHUNK))

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        read = self._environment.read
        keys = read(partial(_following, prefix=prefix, start=prefix))
        while keys:
            yield keys
            start = keys[-1] + b"\0"
            keys = read(partial(_following, prefix=prefix, start=start))

    def marks(self, name: bytes) -> dict[str, float]:
        return self._environment.read(lambda txn: _unpack_marks(txn.get(_marks_key(name))))

    def mark(self, name: bytes, fields: Mapping[str, float]) -> None:
        self._change_marks(name, lambda marks: marks | dict(fields))

    def unmark(self, name: bytes, fields: Iterable[str]) -> None:
        gone = set(fields)
        self._change_marks(
            name, lambda marks: {key: at for key, at in marks.items() if key not in gone}
        )

    def _change_marks(
        self, name: bytes, change: Callable[[dict[str, float]], dict[str, float]]
    ) -> None:
        key = _marks_key(name)

        def work(txn: Any) -> int:
            marks = change(_unpack_marks(txn.get(key)))
            return int(txn.put(key, msgspec.msgpack.encode(marks)))

        self._environment.write(work)

    def delete(self, prefix: bytes) -> int:
        def work(txn: Any) -> int:
            keys = _following(txn, prefix, prefix)
            for key in keys:
                txn.delete(key)
            return len(keys)

        gone = 0
        while count := self._environment.write(work):
            gone += count
        # Last: marks without rows only cost a look, rows without marks could never be taken back.
        self._environment.write(lambda txn: int(txn.delete(_marks_key(prefix))))
        return gone

    def size(self) -> int | None:
        # A data file does not shrink, but has holes on disk.
        return Path(self._environment.path, "data.mdb").stat().st_blocks * 512

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with _environments_lock:
            environment = self._environment
            environment.users -= 1
            if not environment.users:
                del _environments[environment.path]
                environment.close()

    async def aclose(self) -> None:
        self.close()


def _marks_key(name: bytes) -> bytes:
    return b"marks:" + name


def _unpack_marks(value: bytes | None) -> dict[str, float]:
    return msgspec.msgpack.decode(value, type=dict[str, float]) if value else {}


def _following(txn: Any, prefix: bytes, start: bytes) -> list[bytes]:
    """Up to a chunk of the keys from `start` on that begin with `prefix`."""
    keys: list[bytes] = []
    with txn.cursor() as cursor:
        if cursor.set_range(start):
            for key in cursor.iternext(keys=True, values=False):
                if not key.startswith(prefix) or len(keys) == _CHUNK:
                    break
                keys.append(key)
    return keys

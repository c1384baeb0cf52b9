"""The online store on Redis or Valkey: one server, Sentinel or Cluster."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha1, sha256
from itertools import islice
from typing import Any

from feature_store_assets.online.coalesce import Coalescer
from feature_store_assets.online.connection import (
    Patience,
    async_client,
    client,
    is_cluster,
    unavailable,
)

_READ = 10_000  # keys per MGET
_WRITE = 1_000  # rows per call of a server-side function, which blocks the server meanwhile
# Writing waits for a restarted server; reading must not.
_WRITING = Patience(timeout=5.0, retries=6, longest_pause=0.5)
# Strings are never compared with < here: Lua does that by the server's locale. Four numbers of
# six bytes each are exact as Lua numbers and hold the triple.
_FUNCTIONS = """
local function older(a, b)
  local a1, a2, a3, a4 = struct.unpack('>I6I6I6I6', a)
  local b1, b2, b3, b4 = struct.unpack('>I6I6I6I6', b)
  if a1 ~= b1 then return a1 < b1 end
  if a2 ~= b2 then return a2 < b2 end
  if a3 ~= b3 then return a3 < b3 end
  return a4 < b4
end

local function not_after(a, b)
  local a1, a2 = struct.unpack('>I4I4', a, 17)
  local b1, b2 = struct.unpack('>I4I4', b, 17)
  if a1 ~= b1 then return a1 < b1 end
  return a2 <= b2
end

local function put(keys, values)
  local written = 0
  for i, key in ipairs(keys) do
    local new = values[i]
    local old = redis.call('GETRANGE', key, 0, 26)
    if #old == 0 or (#old > 26 and older(old, new)) or (#old == 26 and not_after(old, new)) then
      redis.call('SET', key, new)
      written = written + 1
    end
  end
  return written
end

local function replace(keys, values)
  local written = 0
  for i, key in ipairs(keys) do
    local new = values[2 * i]
    local old = redis.call('GETRANGE', key, 0, 25)
    if #old == 26 and string.sub(old, 1, 16) == values[2 * i - 1] and not_after(old, new) then
      redis.call('SET', key, new)
      written = written + 1
    end
  end
  return written
end
"""
# The code's own hash in its names: processes of an older release call theirs at the same time.
_TAG = sha256(_FUNCTIONS.encode()).hexdigest()[:12]
_NAMES = ("put", "replace")
_LIBRARY = f"#!lua name=feature_store_assets_{_TAG}\n{_FUNCTIONS}" + "".join(
    f"redis.register_function('fsa_{name}_{_TAG}', {name})\n" for name in _NAMES
)
_SCRIPTS = {name: f"{_FUNCTIONS}\nreturn {name}(KEYS, ARGV)" for name in _NAMES}


class RedisStore:
    """The newest rows as one string per key; nothing connects before the first use.

    Parameters
    ----------
    uri
        ``redis://``, ``rediss://`` or ``unix://`` as redis-py reads them,
        ``redis+sentinel://host:port,host:port/service/db`` or ``redis+cluster://host:port``.
    patience
        Of reading.
    """

    def __init__(self, uri: str, patience: Patience | None = None) -> None:
        self._uri = uri
        self._cluster = is_cluster(uri)
        self._scripted = False
        self._reading = patience or Patience()
        self._loops: dict[asyncio.AbstractEventLoop, _Awaited] = {}
        if not self._cluster:
            self._redis = client(uri, _WRITING)
            self._reader = client(uri, self._reading)

    # RedisCluster asks the servers for their slots as soon as it is made.

    @cached_property
    def _redis(self) -> Any:
        with self._mapped():
            return client(self._uri, _WRITING)

    @cached_property
    def _reader(self) -> Any:
        with self._mapped():
            return client(self._uri, self._reading)

    @cached_property
    def _errors(self) -> tuple[type[Exception], ...]:
        from redis.exceptions import RedisClusterException, RedisError

        return RedisError, RedisClusterException

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise unavailable(self._uri, error) from error

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        reader, found = self._reader, []
        try:  # a context manager would cost a microsecond or two of the hot path
            for first in range(0, len(keys), _READ):
                chunk = keys[first : first + _READ]
                if self._cluster:
                    found += reader.mget_nonatomic(chunk)
                else:
                    found += reader.execute_command("MGET", *chunk)
        except self._errors as error:
            raise unavailable(self._uri, error) from error
        return found

    async def aget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        loop = asyncio.get_running_loop()
        awaited = self._loops.get(loop)
        if awaited is None:
            self._loops = {each: it for each, it in self._loops.items() if not each.is_closed()}
            awaited = self._loops[loop] = _Awaited(self._uri, self._reading, self._errors)
        return await awaited.look_ups.get(keys)

    def put(self, rows: Sequence[tuple[bytes, bytes]]) -> int:
        return self._call("put", [(key, (value,)) for key, value in rows])

    def replace(self, rows: Sequence[tuple[bytes, bytes, bytes]]) -> int:
        return self._call("replace", [(key, (old[:16], new)) for key, old, new in rows])

    def _call(self, name: str, rows: list[tuple[bytes, tuple[bytes, ...]]]) -> int:
        written = 0
        with self._mapped():
            for first in range(0, len(rows), _WRITE):
                chunk = rows[first : first + _WRITE]
                # In a cluster the keys of one call share a slot.
                parts = self._by_slot(chunk) if self._cluster else [chunk]
                calls = [
                    (
                        len(part),
                        *(key for key, _ in part),
                        *(value for _, values in part for value in values),
                    )
                    for part in parts
                ]
                written += sum(self._run(name, calls))
        return written

    def _by_slot(self, rows: Iterable[tuple[bytes, Any]]) -> Iterable[list[tuple[bytes, Any]]]:
        slots: dict[int, list[tuple[bytes, Any]]] = {}
        for row in rows:
            slots.setdefault(self._redis.keyslot(row[0]), []).append(row)
        return slots.values()

    def _run(self, name: str, calls: Sequence[tuple[Any, ...]]) -> list[int]:
        """Call a function of ours, loading it first where the server does not know it."""
        from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

        if not self._scripted:
            function = f"fsa_{name}_{_TAG}"
            try:
                return self._send("FCALL", function, calls)
            except NoPermissionError:
                self._scripted = True
            except ResponseError as error:
                self._scripted = not self._loaded(error)
            if not self._scripted:
                return self._send("FCALL", function, calls)
        script = _SCRIPTS[name]
        digest = sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            return self._send("EVALSHA", digest, calls)
        except NoScriptError:
            self._redis.script_load(script)
            return self._send("EVALSHA", digest, calls)

    def _loaded(self, error: Exception) -> bool:
        """Load the function library after a failed call; False where that cannot be."""
        from redis.exceptions import NoPermissionError, ResponseError

        if "unknown command" in str(error).lower():  # before Redis 7
            return False
        if "function not found" not in str(error).lower():
            raise error
        try:
            # With REPLACE, for another process may be loading the same code.
            self._redis.function_load(_LIBRARY, replace=True)
        except NoPermissionError:
            return False
        except ResponseError as refusal:
            if "unknown command" in str(refusal).lower():
                return False
            raise
        return True

    def _send(self, command: str, code: str, calls: Sequence[tuple[Any, ...]]) -> list[int]:
        if not self._cluster:
            return [self._redis.execute_command(command, code, *call) for call in calls]
        cluster = self._redis
        with cluster.pipeline() as pipe:
            for call in calls:
                node = cluster.get_node_from_key(call[1])
                pipe.execute_command(command, code, *call, target_nodes=[node])
            return list(pipe.execute())

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        pattern = re.sub(rb"([\[\]*?^\\-])", rb"\\\1", prefix) + b"*"
        with self._mapped():
            keys = self._redis.scan_iter(match=pattern, count=_WRITE)
            while chunk := list(islice(keys, _WRITE)):
                yield chunk

    def marks(self, name: bytes) -> dict[str, float]:
        with self._mapped():
            stored = self._redis.hgetall(_marks_key(name))
        return {field.decode(): float(value) for field, value in stored.items()}

    def mark(self, name: bytes, fields: Mapping[str, float]) -> None:
        if fields:
            with self._mapped():
                self._redis.hset(_marks_key(name), mapping=dict(fields))

    def unmark(self, name: bytes, fields: Iterable[str]) -> None:
        gone = list(fields)
        if gone:
            with self._mapped():
                self._redis.hdel(_marks_key(name), *gone)

    def delete(self, prefix: bytes) -> int:
        gone = 0
        for keys in self.scan(prefix):
            with self._mapped():
                gone += self._redis.unlink(*keys)
        # Last: marks without rows only cost a look, rows without marks could never be taken back.
        with self._mapped():
            self._redis.unlink(_marks_key(prefix))
        return gone

    def close(self) -> None:
        for name in ("_redis", "_reader"):
            if name in self.__dict__:
                self.__dict__[name].close()

    async def aclose(self) -> None:
        awaited = self._loops.pop(asyncio.get_running_loop(), None)
        if awaited is not None:
            await awaited.close()
        self.close()


class _Awaited:
    """What one event loop reads by."""

    def __init__(self, uri: str, patience: Patience, errors: tuple[type[Exception], ...]) -> None:
        self._uri = uri
        self._errors = errors
        self._redis = async_client(uri, patience)
        self.look_ups = Coalescer(self._fetch)

    async def _fetch(self, keys: list[bytes]) -> list[bytes | None]:
        client, found = self._redis, []
        try:
            for first in range(0, len(keys), _READ):
                chunk = keys[first : first + _READ]
                if is_cluster(self._uri):
                    found += await client.mget_nonatomic(chunk)
                else:
                    found += await client.execute_command("MGET", *chunk)
        except self._errors as error:
            raise unavailable(self._uri, error) from error
        return found

    async def close(self) -> None:
        await self.look_ups.close()
        await self._redis.aclose()


def _marks_key(name: bytes) -> bytes:
    return b"marks:" + name

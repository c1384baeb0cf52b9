"""The online store on Redis or Valkey: one server, Sentinel or Cluster."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from hashlib import sha1, sha256
from itertools import islice
from threading import Lock
from typing import Any, TypeVar

from feature_store_assets.errors import OnlineStoreUnavailable
from feature_store_assets.online.coalesce import Coalescer
from feature_store_assets.online.redis_client import (
    Patience,
    async_client,
    client,
    is_cluster,
    passing,
    unavailable,
)

_READ = 10_000  # keys per MGET
_SCAN = 1_000  # keys per look of SCAN
_WRITE = 5_000  # rows that are sent together, and sent again together
_CALL = 100  # of them per call of a server-side function, which blocks the server meanwhile
_PACED = 10  # rows that are sent together where readers matter more than speed
_LATE = 0.02  # seconds of overslept pauses that are made up for
# Writing is tried again by this module, not by the client: a cursor of SCAN, say, means nothing to
# the server that comes after a restart.
_WRITING = Patience(timeout=5.0, retries=0)
_WAITED_OUT = 15.0  # seconds that a server which answered before may be away
_PAUSE = 0.5
_CONFIRMED = 1_000  # milliseconds that a replica may take to confirm what was written
_UNCONFIRMED = 10.0  # seconds for which one that did not is not asked again

_T = TypeVar("_T")

_log = logging.getLogger(__name__)
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

local function remove(keys)
  local removed = 0
  for _, key in ipairs(keys) do
    removed = removed + redis.call('UNLINK', key)
  end
  return removed
end

local function expire(keys, values)
  local removed = 0
  for i, key in ipairs(keys) do
    local old = redis.call('GETRANGE', key, 0, 26)
    if #old > 26 then
      local a1, a2 = struct.unpack('>I4I4', old)
      local b1, b2 = struct.unpack('>I4I4', values[i])
      if a1 < b1 or (a1 == b1 and a2 < b2) then
        removed = removed + redis.call('UNLINK', key)
      end
    end
  end
  return removed
end
"""
# The code's own hash in its names: processes of an older release call theirs at the same time.
_TAG = sha256(_FUNCTIONS.encode()).hexdigest()[:12]
_NAMES = ("put", "replace", "remove", "expire")
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
    write_rate
        Rows a second that are written at most.
    """

    def __init__(
        self, uri: str, patience: Patience | None = None, write_rate: int | None = None
    ) -> None:
        self._uri = uri
        self._cluster = is_cluster(uri)
        self._watched = uri.startswith("redis+sentinel://")
        self._answered = False
        self._rate = write_rate
        self._due = 0.0  # when the next rows may be written
        self._pacing = Lock()
        self._scripted = False
        # When each node's replicas are asked to confirm again.
        self._asked_again: dict[str, float] = {}
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

    def look(self, keys: Sequence[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for first in range(0, len(keys), _READ):
            mget = self._redis.mget_nonatomic if self._cluster else self._redis.mget
            found += self._patiently(partial(mget, keys[first : first + _READ]))
        return found

    def put(self, rows: Sequence[tuple[bytes, bytes]]) -> int:
        return self._call("put", [(key, (value,)) for key, value in rows])

    def replace(self, rows: Sequence[tuple[bytes, bytes, bytes]]) -> int:
        return self._call("replace", [(key, (old[:16], new)) for key, old, new in rows])

    def remove(self, keys: Sequence[bytes]) -> int:
        return self._call("remove", [(key, ()) for key in keys])

    def expire(self, prefix: bytes, oldest: bytes) -> int:
        values = (oldest,)
        return sum(
            self._call("expire", [(key, values) for key in keys]) for keys in self.scan(prefix)
        )

    def _call(self, name: str, rows: list[tuple[bytes, tuple[bytes, ...]]]) -> int:
        changed, together = 0, _WRITE if self._rate is None else _PACED
        for first in range(0, len(rows), together):
            part = rows[first : first + together]
            self._pace(len(part))
            changed += self._patiently(partial(self._run, name, part))
        return changed

    def _pace(self, rows: int) -> None:
        """Wait until so many rows may be written."""
        if self._rate is not None:
            with self._pacing:
                now = time.monotonic()
                begin = max(self._due, now - _LATE)
                self._due = begin + rows / self._rate
            time.sleep(max(0.0, begin - now))

    def _patiently(self, work: Callable[[], _T]) -> _T:
        """Work that is done again while the server is away, if it has answered before."""
        from tenacity import (
            Retrying,
            retry_if_exception,
            stop_after_delay,
            wait_random_exponential,
        )

        with self._mapped():
            if self._answered:
                again = Retrying(
                    stop=stop_after_delay(_WAITED_OUT),
                    wait=wait_random_exponential(multiplier=0.05, max=_PAUSE),
                    retry=retry_if_exception(self._passes),
                    reraise=True,
                )
                return again(work)
            answer = work()
            self._answered = True
            return answer

    def _passes(self, error: BaseException) -> bool:
        """Whether an error is one of a restart or fail-over; a Cluster is looked at anew then."""
        passes = passing(error)
        if passes and self._cluster:
            with suppress(*self._errors):
                self._redis.nodes_manager.initialize()
        return passes

    def _parts(self, rows: Sequence[tuple[bytes, Any]]) -> Iterable[Sequence[tuple[bytes, Any]]]:
        """Rows by call; in a Cluster the keys of one call share a slot."""
        if not self._cluster:
            return [rows[first : first + _CALL] for first in range(0, len(rows), _CALL)]
        slots: dict[int, list[tuple[bytes, Any]]] = {}
        for row in rows:
            slots.setdefault(self._redis.keyslot(row[0]), []).append(row)
        return slots.values()

    def _run(self, name: str, rows: Sequence[tuple[bytes, tuple[bytes, ...]]]) -> int:
        """Call a function of ours, loading it first where the server does not know it."""
        from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

        calls = [
            (
                len(part),
                *(key for key, _ in part),
                *(value for _, values in part for value in values),
            )
            for part in self._parts(rows)
        ]

        def send(command: str, code: str) -> int:
            return sum(self._send([(call[1], (command, code, *call)) for call in calls]))

        if not self._scripted:
            function = f"fsa_{name}_{_TAG}"
            try:
                return send("FCALL", function)
            except NoPermissionError:
                self._scripted = True
            except ResponseError as error:
                self._scripted = not self._loaded(error)
            if not self._scripted:
                return send("FCALL", function)
        script = _SCRIPTS[name]
        digest = sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            return send("EVALSHA", digest)
        except NoScriptError:
            self._redis.script_load(script)
            return send("EVALSHA", digest)

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

    def _send(self, commands: Sequence[tuple[bytes, tuple[Any, ...]]]) -> list[Any]:
        """Send writes in one go, each to where its key is; their answers, by server."""
        if not self._cluster:
            queued = [command for _, command in commands]
            return self._pipelined("", self._redis, queued, replicated=self._watched)
        cluster, nodes = self._redis, dict[str, tuple[list[Any], list[tuple[Any, ...]]]]()
        for key, command in commands:
            slot = cluster.keyslot(key)
            primary = cluster.nodes_manager.get_node_from_slot(slot)
            # A primary, then its replicas that live.
            servers = cluster.nodes_manager.slots_cache[slot]
            nodes.setdefault(primary.name, (servers, []))[1].append(command)
        return [
            answer
            for name, (servers, queued) in nodes.items()
            for answer in self._pipelined(
                name,
                cluster.get_redis_connection(servers[0]),
                queued,
                replicated=len(servers) > 1,
            )
        ]

    def _pipelined(
        self, name: str, server: Any, commands: Sequence[tuple[Any, ...]], *, replicated: bool
    ) -> list[Any]:
        """Send writes to one server and have a replica confirm them.

        A primary says that it wrote before its replicas have it. If it died then, rows would be
        lost of which the publisher, and the marks on another node, say that they stand online.
        """
        from redis.exceptions import AskError, MovedError, TryAgainError

        confirm = replicated and time.monotonic() >= self._asked_again.get(name, 0.0)
        # By the same connection: WAIT waits for what its own connection wrote.
        with server.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            if confirm:
                pipe.execute_command("WAIT", 1, _CONFIRMED)
            answers: list[Any] = pipe.execute(raise_on_error=False)
        if confirm and answers.pop() == 0:
            _log.warning("No replica confirmed what was written: a fail-over now would lose it.")
            self._asked_again[name] = time.monotonic() + _UNCONFIRMED
        for at, answer in enumerate(answers):
            moving = isinstance(answer, AskError | TryAgainError)
            if moving and not isinstance(answer, MovedError):
                answers[at] = self._redis.execute_command(*commands[at])  # the slot is migrating
            elif isinstance(answer, Exception):
                raise answer
        return answers

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        from redis.exceptions import ConnectionError as Broken

        pattern = re.sub(rb"([\[\]*?^\\-])", rb"\\\1", prefix) + b"*"
        under_way: tuple[set[str], Iterator[bytes]] | None = None

        def go_on() -> list[bytes]:
            nonlocal under_way
            servers, keys = under_way or (
                self._servers(),
                self._redis.scan_iter(match=pattern, count=_SCAN),
            )
            under_way = None  # after an error, from the beginning
            chunk = list(islice(keys, _SCAN))
            if self._servers() != servers:  # by a connection that was mended silently
                raise Broken("it was restarted")
            under_way = servers, keys
            return chunk

        while chunk := self._patiently(go_on):
            yield chunk

    def _servers(self) -> set[str]:
        """What tells a server from the one that follows it; nothing where that is forbidden."""
        from redis.exceptions import NoPermissionError

        primaries = {"target_nodes": self._redis.PRIMARIES} if self._cluster else {}
        try:
            told = self._redis.info("server", **primaries)
        except NoPermissionError:
            return set()
        # Of one server, its own answer; of several, theirs by name.
        return {each["run_id"] for each in ([told] if "run_id" in told else told.values())}

    def marks(self, name: bytes) -> dict[str, float]:
        stored = self._patiently(lambda: self._redis.hgetall(_marks_key(name)))
        return {field.decode(): float(value) for field, value in stored.items()}

    def mark(self, name: bytes, fields: Mapping[str, float]) -> None:
        if fields:
            self._mark("HSET", name, *(part for field in fields.items() for part in field))

    def unmark(self, name: bytes, fields: Iterable[str]) -> None:
        gone = list(fields)
        if gone:
            self._mark("HDEL", name, *gone)

    def _mark(self, command: str, name: bytes, *fields: Any) -> None:
        key = _marks_key(name)
        self._patiently(lambda: self._send([(key, (command, key, *fields))]))

    def delete(self, prefix: bytes) -> int:
        gone = sum(self.remove(keys) for keys in self.scan(prefix))
        # Last: marks without rows only cost a look, rows without marks could never be taken back.
        self.remove([_marks_key(prefix)])
        return gone

    def size(self) -> int | None:
        from redis.exceptions import NoPermissionError

        try:
            with self._mapped():
                told = self._reader.info("memory")
        except OnlineStoreUnavailable as error:
            if isinstance(error.__cause__, NoPermissionError):
                return None
            raise
        servers = told.values() if self._cluster else [told]
        return sum(int(each["used_memory"]) for each in servers)

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

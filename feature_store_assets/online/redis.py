"""The online store on Redis or Valkey: one server, Sentinel or Cluster."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha1, sha256
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import unquote

from feature_store_assets.errors import ConfigError, OnlineStoreUnavailable

_READ = 10_000  # keys per MGET
_WRITE = 1_000  # rows per call of a server-side function, which blocks the server meanwhile
# An unreachable server is reported within about a second: two retries of these, in all.
_TIMEOUT = 0.5
_CONNECT_TIMEOUT = 0.25
_RETRIES = 2

_ARGUMENTS = re.compile(
    r"^Command # .* of pipeline.* caused error: |,? with args beginning with.*", flags=re.DOTALL
)
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


def masked(uri: str) -> str:
    """The URI without its password."""
    uri = re.sub(r"(//[^:/@]*:).*@", r"\1***@", uri)
    return re.sub(r"([?&]password=)[^&]*", r"\1***", uri)


def _address(uri: str) -> tuple[dict[str, str], list[tuple[str, int]], list[str]]:
    """Credentials, hosts and path of ``scheme://[user:password@]host:port,.../path``."""
    rest = uri.split("://", 1)[1]
    location, _, path = rest.partition("/")
    login, _, hosts = location.rpartition("@")
    user, _, password = login.partition(":")
    named = {"username": unquote(user), "password": unquote(password)}
    pairs = [host.rpartition(":") for host in hosts.split(",")]
    if not all(host and port.isdecimal() for host, _, port in pairs):
        raise ConfigError(f"Every host in {masked(uri)} needs a port: host:port,host:port.")
    return (
        {name: value for name, value in named.items() if value},
        [(host.strip("[]"), int(port)) for host, _, port in pairs],
        [part for part in path.split("/") if part],
    )


def _client(uri: str) -> Any:
    """redis-py's own client for the URI; none of them connects yet, except the Cluster's."""
    import redis.backoff
    import redis.cluster
    import redis.retry
    import redis.sentinel

    made: Any = redis  # its constructors are typed in part only

    waits: dict[str, Any] = {
        "socket_timeout": _TIMEOUT,
        "socket_connect_timeout": _CONNECT_TIMEOUT,
        "retry": made.retry.Retry(
            made.backoff.ExponentialWithJitterBackoff(base=0.01, cap=0.1), _RETRIES
        ),
    }
    if uri.startswith("redis+cluster://"):
        login, hosts, _ = _address(uri)
        return made.cluster.RedisCluster(
            startup_nodes=[made.cluster.ClusterNode(host, port) for host, port in hosts],
            **login,
            **waits,
        )
    if uri.startswith("redis+sentinel://"):
        login, hosts, path = _address(uri)
        if not path or not all(part.isdecimal() for part in path[1:2]):
            raise ConfigError(f"{masked(uri)} names no service: .../service or .../service/db.")
        database = int(path[1]) if path[1:] else 0
        # The login is the data server's: sentinels have none, or one of their own.
        return made.sentinel.Sentinel(hosts, sentinel_kwargs=waits).master_for(
            path[0], db=database, **login, **waits
        )
    try:
        return made.Redis.from_url(uri, **waits)
    except ValueError as error:
        raise ConfigError(f"{masked(uri)} is no Redis URI: {type(error).__name__}.") from None


class RedisStore:
    """The newest rows as one string per key; nothing connects before the first use.

    Parameters
    ----------
    uri
        ``redis://``, ``rediss://`` or ``unix://`` as redis-py reads them,
        ``redis+sentinel://host:port,host:port/service/db`` or ``redis+cluster://host:port``.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._cluster = uri.startswith("redis+cluster://")
        self._scripted = False
        if not self._cluster:
            self._redis = _client(uri)

    @cached_property
    def _redis(self) -> Any:
        # RedisCluster asks the servers for their slots as soon as it is made.
        with self._mapped():
            return _client(self._uri)

    @cached_property
    def _errors(self) -> tuple[type[Exception], ...]:
        from redis.exceptions import RedisClusterException, RedisError

        return RedisError, RedisClusterException

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        # A pipeline's and an unknown command's error repeat the arguments: keys, personal values.
        reason = _ARGUMENTS.sub("", str(error)).rstrip(". ") or type(error).__name__
        raise OnlineStoreUnavailable(masked(self._uri), reason) from error

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        client, found = self._redis, []
        try:  # a context manager would cost a microsecond or two of the hot path
            for first in range(0, len(keys), _READ):
                chunk = keys[first : first + _READ]
                if self._cluster:
                    found += client.mget_nonatomic(chunk)
                else:
                    found += client.execute_command("MGET", *chunk)
        except self._errors as error:
            self._fail(error)
        return found

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
        client = self._redis
        with client.pipeline() as pipe:
            for call in calls:
                node = client.get_node_from_key(call[1])
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
        if "_redis" in self.__dict__:
            self._redis.close()


def _marks_key(name: bytes) -> bytes:
    return b"marks:" + name

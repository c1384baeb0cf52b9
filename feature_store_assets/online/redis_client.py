"""redis-py's own clients for a URI: one server, Sentinel or Cluster; blocking or to be awaited."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from feature_store_assets.errors import ConfigError, OnlineStoreUnavailable

_ARGUMENTS = re.compile(
    r"^Command # .* of pipeline.* caused error: |,? with args beginning with.*", flags=re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server may take, and how often a broken connection is tried again.

    Parameters
    ----------
    timeout
        Seconds that connecting may take, and then each answer. What times out is not tried
        again: a frozen server would only be waited for twice.
    retries
        How often a command whose connection broke is sent again.
    longest_pause
        Seconds between two attempts at most; pauses grow from 10 ms, with jitter.
    """

    timeout: float = 0.2
    retries: int = 2
    longest_pause: float = 0.05


def masked(uri: str) -> str:
    """The URI without its password."""
    uri = re.sub(r"(//[^:/@]*:).*@", r"\1***@", uri)
    return re.sub(r"([?&]password=)[^&]*", r"\1***", uri)


def unavailable(uri: str, error: Exception) -> OnlineStoreUnavailable:
    """Our error for one of redis-py's."""
    # A pipeline's and an unknown command's error repeat the arguments: keys, personal values.
    reason = _ARGUMENTS.sub("", str(error)).rstrip(". ") or type(error).__name__
    return OnlineStoreUnavailable(masked(uri), reason)


def passing(error: BaseException) -> bool:
    """Whether an error is one of a server that restarts or fails over, and may soon be gone."""
    from redis import exceptions as known

    if isinstance(error, known.AuthenticationError | known.AuthorizationError):
        return False
    kinds = (
        known.ConnectionError,
        known.TimeoutError,
        known.ClusterError,
        known.RedisClusterException,
        known.AskError,
        known.TryAgainError,
        known.ReadOnlyError,
    )
    return isinstance(error, kinds) or str(error).startswith(("NOREPLICAS", "UNBLOCKED"))


def is_cluster(uri: str) -> bool:
    """Whether the URI leads to a Cluster."""
    return uri.startswith("redis+cluster://")


def client(uri: str, patience: Patience) -> Any:
    """A blocking client; none of them connects yet, except the Cluster's."""
    import redis.backoff
    import redis.cluster
    import redis.retry
    import redis.sentinel

    made: Any = redis  # its constructors are typed in part only
    return _client(uri, patience, made, made.retry.Retry)


def async_client(uri: str, patience: Patience) -> Any:
    """A client for the running event loop; none of them connects yet."""
    import redis.asyncio.cluster
    import redis.asyncio.retry
    import redis.asyncio.sentinel

    made: Any = redis.asyncio
    return _client(uri, patience, made, made.retry.Retry)


def _client(uri: str, patience: Patience, made: Any, retry: Any) -> Any:
    from redis.backoff import ExponentialWithJitterBackoff
    from redis.exceptions import ConnectionError as Broken

    # Its type information lacks the constructor's.
    backoff: Any = ExponentialWithJitterBackoff
    waits: dict[str, Any] = {
        "socket_timeout": patience.timeout,
        "socket_connect_timeout": patience.timeout,
        "retry": retry(backoff(base=0.01, cap=patience.longest_pause), patience.retries, (Broken,)),
    }
    if is_cluster(uri):
        login, hosts, _ = _address(uri)
        nodes = [made.cluster.ClusterNode(host, port) for host, port in hosts]
        return made.cluster.RedisCluster(startup_nodes=nodes, **login, **waits)
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

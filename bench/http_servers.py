"""The servers of the HTTP benchmark, and how each is asked."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.children import REPOSITORY, peers_environment, peers_python
from bench.serving import KEY, Shape, child, files, fill
from feature_store_assets_tests.servers import free_port, tcp_server

_CACHE = {"ENABLE_CACHING": "true", "CACHE_TTL_SECONDS": "60"}


@dataclass(frozen=True)
class Server:
    """One server that runs, and how it is asked: its path, and a body for some entities."""

    name: str
    port: int
    pid: int
    path: str
    body: Callable[[Shape, list[str]], Any]
    values: Callable[[Any, Shape], list[list[Any]]]
    serves: Callable[[Shape], bool] = lambda _: True
    most: int = 1_000  # entities of one request


@contextmanager
def servers(home: Path) -> Iterator[tuple[list[Server], str, Path]]:
    """Fill the stores and start every server."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench")))
        (folder / "server").mkdir()
        uri = f"redis://127.0.0.1:{stack.enter_context(tcp_server(folder / 'server'))}"
        lmdb, redis = fill(folder / "lmdb", None), fill(folder / "redis", uri)
        job = {"folder": str(folder / "feast"), "uri": uri, "groups": files(folder / "files")}
        with child("online_feast", job, home=home, peers=True):
            pass  # it fills the store
        (folder / "feast" / "feature_store.yaml").write_text(
            f"project: bench\nprovider: local\nregistry: {folder}/feast/registry.db\n"
            f"offline_store: {{type: file}}\nentity_key_serialization_version: 3\n"
            f"online_store: {{type: redis, connection_string: '{uri.removeprefix('redis://')}'}}\n"
        )

        def ours(name: str, root: Path, more: dict[str, str]) -> Server:
            settings = {f"FEATURE_STORE_{key}": value for key, value in more.items()}
            settings["FEATURE_STORE_STORAGE_PATH"] = str(root)
            command = [str(Path(sys.executable).parent / "feature-store"), "serve", "--port"]
            port, pid = stack.enter_context(_process(command, settings))
            return Server(name, port, pid, "/v1/online-features", our_body, _our_values)

        bare = Shape(10, 1)
        app = [sys.executable, "-m", "uvicorn", "bench.contenders.http_bare:app",
               "--no-access-log", "--log-level", "warning", "--port"]  # fmt: skip
        names = ",".join(bare.declared()[0].feature_names)
        bare_port, bare_pid = stack.enter_context(_process(app, {"REDIS": uri, "NAMES": names}))
        feast = [str(peers_python(home).parent / "feast"), "-c", str(folder / "feast"), "serve",
                 "--no-access-log", "-w", "1", "--worker-connections", "1000", "--max-requests",
                 "100000000", "--port"]  # fmt: skip
        feast_port, feast_pid = stack.enter_context(_process(feast, {}))
        # 16 x 1,000 entities of three groups at once: 48,000 rows take Redis over 0.2 seconds.
        online = {"ONLINE_STORE_URI": uri, "ONLINE_TIMEOUT_SECONDS": "2"}
        yield (
            [
                ours("ours, LMDB", lmdb.root, {}),
                ours("ours, Redis", redis.root, online),
                ours("ours, Redis, cached", redis.root, {**online, **_CACHE}),
                Server("bare ASGI", bare_port, bare_pid, "/", _bare_body, _bare_values,
                        lambda shape: shape == bare),
                Server("feast serve", feast_port, feast_pid, "/get-online-features", _feast_body,
                        _feast_values, most=100),
            ],
            uri,
            folder,
        )  # fmt: skip


@contextmanager
def _process(command: list[str], settings: dict[str, str]) -> Iterator[tuple[int, int]]:
    """A server on a free port; gives the port and the pid of the process that answers."""
    port = free_port()
    process = subprocess.Popen(
        [*command, str(port)],
        cwd=REPOSITORY,
        env={**peers_environment(), **settings},
        start_new_session=True,
    )
    try:
        for _ in range(1_200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                    answer.read()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(f"{command[0]} ended.") from None
                time.sleep(0.05)
        yield port, _answering(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answering(pid: int) -> int:
    """The process that answers: Feast's server has its worker as a child."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


def our_body(shape: Shape, entities: list[str]) -> Any:
    what = {"group": shape.name} if shape.groups == 1 else {"view": shape.name}
    return {**what, "entities": entities}


def _our_values(answer: Any, _shape: Shape) -> list[list[Any]]:
    found: list[list[Any]] = answer["values"]
    return found


def _bare_body(shape: Shape, entities: list[str]) -> Any:
    [group] = shape.case()["groups"]
    return [f"{group['prefix']}{{s{len(each)}:{each}}}" for each in entities]


def _bare_values(answer: Any, _shape: Shape) -> list[list[Any]]:
    return [list(row.values()) for row in answer]


def _feast_body(shape: Shape, entities: list[str]) -> Any:
    names = [
        f"{group['name']}:{feature}"
        for group in shape.case()["groups"]
        for feature in group["features"]
    ]
    return {"features": names, "entities": {KEY: entities}}


def _feast_values(answer: Any, shape: Shape) -> list[list[Any]]:
    # Feast answers in an order of its own.
    found = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
    columns = [found[f"f{number}"]["values"] for number in range(shape.features)]
    return [list(row) for row in zip(*columns, strict=True)]


def ask(server: Server, shape: Shape, entities: list[str]) -> list[list[Any]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{server.path}",
        json.dumps(server.body(shape, entities)).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return server.values(json.load(answer), shape)

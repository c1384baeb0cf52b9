"""Online reads over HTTP beside `feast serve`: `python -m bench.http`; needs wrk (Debian: wrk).

Every server is one worker on the same machine as its load. All must give the same values before
anything is timed; Feast's own client must read them from our server. `--quick` takes one round.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console

from bench import report
from bench.children import REPOSITORY, peers_environment, peers_python, peers_versions
from bench.measuring import aim, surroundings
from bench.pacing import Paced, paced
from bench.serving import ENTITIES, KEY, Shape, child, files, fill
from feature_store_assets_tests.servers import free_port, tcp_server

_HOME = REPOSITORY / ".bench"
_PAGE = REPOSITORY / "docs" / "benchmarks" / "http.md"
_COUNTS = (1, 10, 100, 1000)
_WIDTHS = (10, 50, 200)
_ROUNDS = 3
_SECONDS = 1
_PACED_SECONDS = 10.0
_CONNECTIONS = 16
_BODIES = 512
_MANY, _FEW = 100, 32
_CACHE = {"ENABLE_CACHING": "true", "CACHE_TTL_SECONDS": "60"}

_ABOUT = """\
# Benchmarks: online reads over HTTP

Written by `make bench-serving` (this page alone: `python -m bench.http`).

![Requests per second]({picture})

One worker each; the load, from {connections} connections of wrk, on the same two cores.

- **ours**: `feature-store serve`, `POST /v1/online-features`: tokens looked for, ttl in force,
  statuses and ages in every answer, metrics counted. **cached**: rows kept in memory for a minute,
  asked for {entities:,} entities in turn, so nearly every row is found.
- **bare ASGI**: uvicorn, redis-py's asyncio client and msgspec on finished keys, values alone.
- **feast serve**: one worker, its Redis store, `POST /get-online-features`.
"""
_HOW = """\
## How it was measured

- All servers gave the same values before anything was timed. Feast's own client, with
  `online_store: {{type: remote, path: <our url>}}`, read {remote} rows from our server, equal to
  Feast's own.
- Case by case the servers take turns, {rounds} times {seconds:g} s after one to warm up; figures
  are medians of the rounds. CPU is that of the server's process per request.
- wrk is a closed loop: {connections} connections, each waiting for its answer. The steady rate is
  an open one: a latency counts from the moment at which the request was due.
- One machine, two cores that load, server and Valkey share: ratios within a table count.
"""


@dataclass(frozen=True)
class _Server:
    """One server that runs, and how it is asked: its path, and a body for some entities."""

    name: str
    port: int
    pid: int
    path: str
    body: Callable[[Shape, list[str]], Any]
    values: Callable[[Any, Shape], list[list[Any]]]
    serves: Callable[[Shape], bool] = lambda _: True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    quick = parser.parse_args().quick
    if shutil.which("wrk") is None:
        sys.exit("The load comes from wrk, which is not here: apt-get install wrk.")
    rounds, seconds = (1, 1.0) if quick else (_ROUNDS, _PACED_SECONDS)
    console, facts = Console(highlight=False, soft_wrap=True), surroundings()
    start = time.monotonic()
    parts, lines = [], []
    with servers() as (running, uri, folder):
        shapes = [Shape(width, groups) for width in _WIDTHS for groups in (1, 3)]
        for shape in shapes:
            _agree(running, shape)
        remote = _remote(running, folder, uri)
        console.print(f"Feast's client reads {remote:,} equal rows from our server.\n")
        for shape in shapes:
            for count in _COUNTS:
                line = _line(running, shape, count, rounds, folder)
                lines.append(line)
                parts.append(_table(line))
                console.print(parts[-1], end="\n\n", markup=False)
        for part in (_steady(running, seconds), _zipf(running, seconds)):
            parts.append(part)
            console.print(part, end="\n\n", markup=False)
    took = f"Took {time.monotonic() - start:.0f} s."
    console.print(took)
    page = _HOME / "quick" / _PAGE.name if quick else _PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    picture = page.with_suffix(".svg")
    _draw(lines, picture)
    told = [
        _ABOUT.format(picture=picture.name, connections=_CONNECTIONS, entities=_BODIES),
        "\n".join(f"- {fact}" for fact in [*facts, peers_versions(_HOME), took]) + "\n",
        *(part + "\n" for part in parts),
        _HOW.format(
            remote=f"{remote:,}", rounds=_ROUNDS, seconds=_SECONDS, connections=_CONNECTIONS
        ),
    ]
    page.write_text("\n".join(told))


# Servers


@contextmanager
def servers() -> Iterator[tuple[list[_Server], str, Path]]:
    """Fill the stores and start every server."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench")))
        (folder / "server").mkdir()
        uri = f"redis://127.0.0.1:{stack.enter_context(tcp_server(folder / 'server'))}"
        lmdb, redis = fill(folder / "lmdb", None), fill(folder / "redis", uri)
        job = {"folder": str(folder / "feast"), "uri": uri, "groups": files(folder / "files")}
        with child("online_feast", job, home=_HOME, peers=True):
            pass  # it fills the store
        (folder / "feast" / "feature_store.yaml").write_text(
            f"project: bench\nprovider: local\nregistry: {folder}/feast/registry.db\n"
            f"offline_store: {{type: file}}\nentity_key_serialization_version: 3\n"
            f"online_store: {{type: redis, connection_string: '{uri.removeprefix('redis://')}'}}\n"
        )

        def ours(name: str, root: Path, more: dict[str, str]) -> _Server:
            settings = {f"FEATURE_STORE_{key}": value for key, value in more.items()}
            settings["FEATURE_STORE_STORAGE_PATH"] = str(root)
            command = [str(Path(sys.executable).parent / "feature-store"), "serve", "--port"]
            port, pid = stack.enter_context(_process(command, settings))
            return _Server(name, port, pid, "/v1/online-features", _our_body, _our_values)

        bare = Shape(10, 1)
        app = [sys.executable, "-m", "uvicorn", "bench.contenders.http_bare:app",
               "--no-access-log", "--log-level", "warning", "--port"]  # fmt: skip
        names = ",".join(bare.declared()[0].feature_names)
        bare_port, bare_pid = stack.enter_context(_process(app, {"REDIS": uri, "NAMES": names}))
        feast = [str(peers_python(_HOME).parent / "feast"), "-c", str(folder / "feast"), "serve",
                 "--no-access-log", "-w", "1", "--worker-connections", "1000", "--max-requests",
                 "100000000", "--port"]  # fmt: skip
        feast_port, feast_pid = stack.enter_context(_process(feast, {}))
        online = {"ONLINE_STORE_URI": uri}
        yield (
            [
                ours("ours, LMDB", lmdb.root, {}),
                ours("ours, Redis", redis.root, online),
                ours("ours, Redis, cached", redis.root, {**online, **_CACHE}),
                _Server("bare ASGI", bare_port, bare_pid, "/", _bare_body, _bare_values,
                        lambda shape: shape == bare),
                _Server("feast serve", feast_port, feast_pid, "/get-online-features", _feast_body,
                        _feast_values),
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


def _our_body(shape: Shape, entities: list[str]) -> Any:
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


# Answers


def _ask(server: _Server, shape: Shape, entities: list[str]) -> list[list[Any]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{server.path}",
        json.dumps(server.body(shape, entities)).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return server.values(json.load(answer), shape)


def _agree(running: Sequence[_Server], shape: Shape) -> None:
    """Stop unless everyone answers the same."""
    asked = [f"user_{number}" for number in range(0, ENTITIES, 97)]
    wanted = _ask(running[0], shape, asked)
    assert len(wanted) == len(asked)
    assert all(None not in row for row in wanted)
    for server in running:
        if server.serves(shape):
            assert _ask(server, shape, asked) == wanted, f"{server.name} answers otherwise"


def _remote(running: Sequence[_Server], folder: Path, uri: str) -> int:
    """Let Feast's own client read from our server; how many rows were equal to its own store's."""
    job = {"folder": str(folder / "feast"), "uri": uri, "groups": files(folder / "files"),
           "filled": True}  # fmt: skip
    ours = f"http://127.0.0.1:{running[1].port}"
    far = {**job, "folder": str(folder / "remote"), "remote": ours}
    count = 0
    with (
        child("online_feast", job, home=_HOME, peers=True) as own,
        child("online_feast", far, home=_HOME, peers=True) as client,
    ):
        for shape in (Shape(10, 1), Shape(50, 3)):
            asked = [f"user_{number}" for number in range(0, ENTITIES, 53)]
            wanted = own.rows(shape.case(), asked)
            assert client.rows(shape.case(), asked) == wanted
            count += len(wanted)
    return count


# Load


def _line(
    running: Sequence[_Server], shape: Shape, count: int, rounds: int, folder: Path
) -> dict[str, Any]:
    """Measure one case: the servers in turn, again and again."""
    random = np.random.default_rng(count)
    drawn = random.integers(0, ENTITIES, (_BODIES if count < _MANY else _FEW, count))
    lists = [[f"user_{number}" for number in dict.fromkeys(row.tolist())] for row in drawn]
    found: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds + 1):
        for server in (each for each in running if each.serves(shape)):
            path = folder / "bodies"
            bodies = (json.dumps(server.body(shape, each)).encode() for each in lists)
            path.write_bytes(b"\n".join(bodies))
            seen = _loaded(server, path)
            if number:  # the first round warms up
                found.setdefault(server.name, []).append(seen)
    entries: list[dict[str, Any]] = []
    for name, seen_of in found.items():
        figures = {key: median(each[key] for each in seen_of) for key in seen_of[0]}
        entries.append({"name": name, "stopped": "", **figures})
    groups = "1 group" if shape.groups == 1 else f"{shape.groups} groups"
    entities = "1 entity" if count == 1 else f"{count} entities"
    return {
        "title": f"{entities} x {shape.features} features, {groups}",
        "chart": f"{count} x {shape.features}" if shape.groups == 1 else "",
        "entries": entries,
        "aims": _aims(shape, count, {each["name"]: each["rate"] for each in entries}),
    }


def _loaded(server: _Server, bodies: Path) -> dict[str, float]:
    """What wrk sees of a server, and what the server spends."""
    spent = _cpu(server.pid)
    seen = _wrk(server, bodies)
    assert not seen["failed"], f"{server.name} failed {seen['failed']} requests"
    return {
        "rate": seen["requests"] / seen["seconds"],
        "p50": seen["p50"] / 1e3,
        "p95": seen["p95"] / 1e3,
        "p99": seen["p99"] / 1e3,
        "cpu": (_cpu(server.pid) - spent) / seen["requests"] * 1e6,
    }


def _wrk(server: _Server, bodies: Path) -> dict[str, float]:
    script = str(Path(__file__).parent / "wrk.lua")
    url = f"http://127.0.0.1:{server.port}{server.path}"
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{_SECONDS}s", "--latency", "-s", script, url]
    told = subprocess.run(
        [*command, "--", str(bodies)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    result = next(line for line in told.splitlines() if line.startswith("RESULT "))
    seen: dict[str, float] = json.loads(result.removeprefix("RESULT "))
    return seen


def _cpu(pid: int) -> float:
    """Seconds that a process has spent."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _aims(shape: Shape, count: int, rates: dict[str, float]) -> list[str]:
    if (shape.features, shape.groups, count) != (10, 1, 1):
        return []
    feast = rates["feast serve"]
    least = {"ours, LMDB": 10_000, "ours, Redis, cached": 10_000, "ours, Redis": 8_000}
    told = [
        aim(f"{name} {rates[name]:,.0f} requests/s, at least {each:,}", met=rates[name] >= each)
        for name, each in least.items()
    ]
    ratio = rates["ours, Redis"] / feast
    return [*told, aim(f"{ratio:.0f}x feast serve, at least 10x", met=ratio >= 10)]


def _steady(running: Sequence[_Server], seconds: float) -> str:
    """10 entities x 20 features at 2,000 requests a second, over Redis."""
    server = next(each for each in running if each.name == "ours, Redis")
    shape, random = Shape(20, 1), np.random.default_rng(3)
    bodies = [
        json.dumps(_our_body(shape, [f"user_{number}" for number in row])).encode()
        for row in random.integers(0, ENTITIES, (_BODIES, 10)).tolist()
    ]
    found = _median([paced(server.port, server.path, bodies, rate=2_000, seconds=seconds)
                     for _ in range(_ROUNDS)])  # fmt: skip
    told = aim(f"p95 {found.p95:.1f} ms, below 10", met=found.p95 < 10 and not found.failed)
    return "\n".join(
        [
            "**A steady 2,000 requests/s: 10 entities x 20 features, ours, Redis**", "",
            "| p50 ms | p95 | p99 | failed |", "|--:|--:|--:|--:|",
            f"| {found.p50:.2f} | {found.p95:.2f} | {found.p99:.2f} | {found.failed} |", "",
            f"- Aim: {told}",
        ]
    )  # fmt: skip


def _zipf(running: Sequence[_Server], seconds: float) -> str:
    """Entities as traffic has them: the number n is asked for as often as 1 / n says."""
    server = next(each for each in running if each.name == "ours, Redis, cached")
    shape, random = Shape(20, 1), np.random.default_rng(5)
    weights = 1 / np.arange(1, ENTITIES + 1)
    drawn = random.choice(ENTITIES, (20_000, 10), p=weights / weights.sum())
    bodies = [
        json.dumps(_our_body(shape, [f"user_{number}" for number in row])).encode()
        for row in drawn.tolist()
    ]
    before = _counts(server)
    rounds = [paced(server.port, server.path, bodies, rate=1_000, seconds=seconds)
              for _ in range(_ROUNDS)]  # fmt: skip
    hits, misses = (now - then for now, then in zip(_counts(server), before, strict=True))
    found, share = _median(rounds), hits / (hits + misses)
    met = found.p95 <= 6 and not found.failed
    cells = [f"{share:.1%}", *(f"{each:.2f}" for each in (found.p50, found.p95, found.p99))]
    row = f"| {' | '.join(cells)} | {found.failed} |"
    return "\n".join(
        [
            "**Zipf traffic at 1,000 requests/s: 10 entities x 20 features, ours, Redis, cached**",
            "",
            "| hits | p50 ms | p95 | p99 | failed |", "|--:|--:|--:|--:|--:|",
            row,
            "",
            f"- Aim: {aim(f'{share:.1%} hits, at least 90 %', met=share >= 0.9)}",
            f"- Aim: {aim(f'p95 {found.p95:.1f} ms, at most 6', met=met)}",
        ]
    )  # fmt: skip


def _counts(server: _Server) -> tuple[float, float]:
    """The cache's hits and misses so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    hits, misses = (
        float(found[f"feature_store_cache_{name}_total"]) for name in ("hits", "misses")
    )
    return hits, misses


def _median(rounds: Sequence[Paced]) -> Paced:
    p50, p95, p99 = (
        median(getattr(each, name) for each in rounds) for name in ("p50", "p95", "p99")
    )
    return Paced(rounds[0].rate, p50, p95, p99, sum(each.failed for each in rounds))


# The page


def _table(line: dict[str, Any]) -> str:
    rows = [f"**{line['title']}**", "", "| | requests/s | p50 ms | p95 | p99 | server CPU us |",
            "|---|--:|--:|--:|--:|--:|"]  # fmt: skip
    for each in line["entries"]:
        figures = [f"{each[name]:,.2f}" for name in ("p50", "p95", "p99")]
        cells = [f"{each['rate']:,.0f}", *figures, f"{each['cpu']:,.0f}"]
        rows.append(f"| {each['name']} | {' | '.join(cells)} |")
    rows += ["", *(f"- Aim: {told}" for told in line["aims"])]
    return "\n".join(rows).rstrip()


def _draw(lines: list[dict[str, Any]], picture: Path) -> None:
    (_HOME / "results").mkdir(exist_ok=True)
    (_HOME / "results" / "http.json").write_text(json.dumps(lines, indent=1))
    shown = [line for line in lines if line["chart"]]
    panel = report.Panel("rate", "requests per second, log scale", 1, "log", 1)
    report.draw(shown, [panel], picture, peers_python(_HOME))


if __name__ == "__main__":
    main()

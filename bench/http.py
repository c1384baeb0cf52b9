"""Online reads over HTTP beside `feast serve`: `python -m bench.http`; needs wrk (Debian: wrk).

Every server is one worker on the same machine as its load. All must give the same values before
anything is timed; Feast's own client must read them from our server. `--quick` takes one round.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console

from bench import report
from bench.children import REPOSITORY, peers_python, peers_versions
from bench.http_servers import Server, ask, our_body, servers
from bench.measuring import aim, surroundings
from bench.pacing import Paced, paced
from bench.serving import ENTITIES, Shape, child, files

_HOME = REPOSITORY / ".bench"
_PAGE = REPOSITORY / "docs" / "benchmarks" / "http.md"
_COUNTS = (1, 10, 100, 1000)
_WIDTHS = (10, 50, 200)
_ROUNDS = 2
_SECONDS = 1
_PACED_SECONDS = 10.0
_CONNECTIONS = 16
_BODIES = 512
_MANY, _FEW = 100, 32

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
- Case by case the servers take turns, {rounds} times {seconds:g} s after one to warm up (from 100
  entities on twice as long, once less often); figures are medians of the rounds. CPU is that of
  the server's process per request.
- Feast is asked for 100 entities at most: with 1,000 x 50 an answer took it up to half a minute,
  at which its own server stops the worker.
- Redis may take two seconds to answer our servers (`FEATURE_STORE_ONLINE_TIMEOUT_SECONDS`): at
  1,000 entities of three groups it takes longer than the 0.2 after which a client is told 503.
- wrk is a closed loop: {connections} connections, each waiting for its answer. The steady rate is
  an open one: a latency counts from the moment at which the request was due.
- One machine, two cores that load, server and Valkey share: ratios within a table count.
"""


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
    with servers(_HOME) as (running, uri, folder):
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


# Answers


def _agree(running: Sequence[Server], shape: Shape) -> None:
    """Stop unless everyone answers the same."""
    asked = [f"user_{number}" for number in range(0, ENTITIES, 97)]
    wanted = ask(running[0], shape, asked)
    assert len(wanted) == len(asked)
    assert all(None not in row for row in wanted)
    for server in running:
        if server.serves(shape):
            assert ask(server, shape, asked) == wanted, f"{server.name} answers otherwise"


def _remote(running: Sequence[Server], folder: Path, uri: str) -> int:
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
    running: Sequence[Server], shape: Shape, count: int, rounds: int, folder: Path
) -> dict[str, Any]:
    """Measure one case: the servers in turn, again and again."""
    random = np.random.default_rng(count)
    drawn = random.integers(0, ENTITIES, (_BODIES if count < _MANY else _FEW, count))
    lists = [[f"user_{number}" for number in dict.fromkeys(row.tolist())] for row in drawn]
    found: dict[str, list[dict[str, float]]] = {}
    # Many entities take long, and vary little.
    seconds = _SECONDS if count < _MANY else 2 * _SECONDS if count == _MANY else 3 * _SECONDS
    for number in range((rounds if count < _MANY else max(1, rounds - 1)) + 1):
        for server in running:
            if not server.serves(shape) or count > server.most:
                continue
            path = folder / "bodies"
            bodies = (json.dumps(server.body(shape, each)).encode() for each in lists)
            path.write_bytes(b"\n".join(bodies))
            seen = _loaded(server, path, seconds)
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


def _loaded(server: Server, bodies: Path, seconds: int) -> dict[str, float]:
    """What wrk sees of a server, and what the server spends."""
    spent = _cpu(server.pid)
    seen = _wrk(server, bodies, seconds)
    while not seen["requests"]:
        seconds *= 3
        seen = _wrk(server, bodies, seconds)
    assert not seen["failed"], f"{server.name} failed {seen['failed']} requests"
    return {
        "rate": seen["requests"] / seen["seconds"],
        "p50": seen["p50"] / 1e3,
        "p95": seen["p95"] / 1e3,
        "p99": seen["p99"] / 1e3,
        "cpu": (_cpu(server.pid) - spent) / seen["requests"] * 1e6,
    }


def _wrk(server: Server, bodies: Path, seconds: int) -> dict[str, float]:
    script = str(Path(__file__).parent / "wrk.lua")
    url = f"http://127.0.0.1:{server.port}{server.path}"
    # wrk gives an answer up after two seconds, which Feast's take at a thousand entities.
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout=60s"]
    command += ["-s", script, url]
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


def _steady(running: Sequence[Server], seconds: float) -> str:
    """10 entities x 20 features at 2,000 requests a second, over Redis."""
    server = next(each for each in running if each.name == "ours, Redis")
    shape, random = Shape(20, 1), np.random.default_rng(3)
    bodies = [
        json.dumps(our_body(shape, [f"user_{number}" for number in row])).encode()
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


def _zipf(running: Sequence[Server], seconds: float) -> str:
    """Entities as traffic has them: the number n is asked for as often as 1 / n says."""
    server = next(each for each in running if each.name == "ours, Redis, cached")
    shape, random = Shape(20, 1), np.random.default_rng(5)
    weights = 1 / np.arange(1, ENTITIES + 1)
    drawn = random.choice(ENTITIES, (20_000, 10), p=weights / weights.sum())
    bodies = [
        json.dumps(our_body(shape, [f"user_{number}" for number in row])).encode()
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


def _counts(server: Server) -> tuple[float, float]:
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

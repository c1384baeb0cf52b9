"""Online reads in process beside Feast, redis-py and LMDB: `python -m bench.online`.

Every contender is a process of its own that stays. Before anything is timed, all must give the
same rows. Then they take turns, case by case, in blocks of calls over entities drawn at random.
`--quick` times a tenth.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console

from bench import report
from bench.children import REPOSITORY, peers_python, peers_versions
from bench.measuring import aim, surroundings
from bench.serving import ENTITIES, SHAPES, Child, Shape, Taken, child, files, fill
from feature_store_assets_tests.servers import tcp_server

_HOME = REPOSITORY / ".bench"
_PAGE = REPOSITORY / "docs" / "benchmarks" / "online.md"
_WIDTHS = (10, 50, 200)
_COUNTS = (1, 10, 100, 1000)
_BLOCKS = 5
_SECONDS = 0.3
_TURNS = 64
# Rows that the cache holds: all of the hot entities' in three groups, less than all entities'.
_CACHED, _HOT = 8_000, 2_000
_HIT = 0.9
_MANY = 50

_ABOUT = """\
# Benchmarks: online reads in process

Written by `make bench-serving` (this page alone: `python -m bench.online`).

![p50 of one call]({picture})

Entity ids in, dicts of values out, {entities:,} entities stored; microseconds of one call.

- **ours**: `FeatureStore.get_online_features`, the ttl in force; its registry is looked at again
  every five seconds. **cached**: rows kept in memory, all asked for anew (0 %) or nine of ten
  found (90 %). **precomputed**: a view that keeps its groups' rows joined.
- **redis-py**, **LMDB**: the plain client, given finished keys, decodes the same bytes into the
  same dicts: no declarations, no ttl. **socket**: the bytes are received and left alone.
- **Feast**: `get_online_features(...).to_dict()` on its Redis store.
"""
_HOW = """\
## How it was measured

- One Valkey on loopback serves all who use Redis, nothing kept on disk; nothing else ran.
- Each contender is a process of its own that stays. All gave the same rows before anything was
  timed; any difference stops the benchmark.
- They take turns: {blocks} blocks of {seconds:g} s each, in every case, over {turns} lists of
  entities that follow each other. p50, p95 and p99 are those of all calls of the blocks, CPU is
  the median block's mean and counts the client's process, not the server's.
- One machine, few cores: ratios within a table count, not microseconds.
"""


@dataclass(frozen=True)
class _Contender:
    """Who reads: a module of `bench.contenders`, what it is told, and what it is asked."""

    name: str
    module: str
    job: dict[str, Any]
    peers: bool = False
    hits: float | None = None
    groups: tuple[int, ...] = (1, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    quick = parser.parse_args().quick
    console, facts = Console(highlight=False, soft_wrap=True), surroundings()
    start = time.monotonic()
    lines = []
    with contenders() as (children, described):
        for shape in [each for each in SHAPES if each.features in _WIDTHS]:
            agree(shape, children, described)
            for count in _COUNTS:
                line = _line(shape, count, children, described, _SECONDS / (10 if quick else 1))
                lines.append(line)
                console.print(_table(line), end="\n\n", markup=False)
    took = f"Took {time.monotonic() - start:.0f} s."
    console.print(took)
    page = _HOME / "quick" / _PAGE.name if quick else _PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    _write(page, lines, [*facts, peers_versions(_HOME), took])


@contextmanager
def contenders() -> Iterator[tuple[dict[str, Child], list[_Contender]]]:
    """Fill the stores and start everyone."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench")))
        (folder / "server").mkdir()
        port = stack.enter_context(tcp_server(folder / "server"))
        uri = f"redis://127.0.0.1:{port}"
        lmdb, redis = fill(folder / "lmdb", None), fill(folder / "redis", uri)
        feast = {"folder": str(folder / "feast"), "uri": uri, "groups": files(folder / "files")}
        cache = {"enable_caching": True, "cache_ttl_seconds": 3600, "cache_rows": _CACHED}

        def ours(config: Any, *, settings: Any = None, precomputed: bool = False) -> dict[str, Any]:
            return {"root": str(config.root), "uri": config.online, "precomputed": precomputed,
                    "settings": settings or {}}  # fmt: skip

        described = [
            _Contender("ours, LMDB", "online_ours", ours(lmdb)),
            _Contender("LMDB", "online_raw", {"client": "lmdb", "uri": lmdb.online}),
            _Contender("ours, Redis", "online_ours", ours(redis)),
            _Contender("ours, Redis, precomputed", "online_ours", ours(redis, precomputed=True),
                       groups=(3,)),
            _Contender("ours, Redis, 0 % cached", "online_ours", ours(redis, settings=cache),
                       hits=0.0),
            _Contender("ours, Redis, 90 % cached", "online_ours", ours(redis, settings=cache),
                       hits=_HIT),
            _Contender("redis-py", "online_raw", {"client": "redis", "uri": uri}),
            _Contender("socket", "online_raw", {"client": "socket", "uri": uri}),
            _Contender("Feast", "online_feast", feast, peers=True),
        ]  # fmt: skip
        children = {
            each.name: stack.enter_context(
                child(each.module, each.job, home=_HOME, peers=each.peers)
            )
            for each in described
        }
        yield children, described


def agree(shape: Shape, children: dict[str, Child], described: Sequence[_Contender]) -> None:
    """Stop unless everyone reads the same rows."""
    asked = [f"user_{number}" for number in range(0, ENTITIES, 97)]
    wanted = children["redis-py"].rows(shape.case(), asked)
    assert len(wanted) == len(asked)
    assert all(len(row) == shape.features and None not in row for row in wanted)
    for each in described:
        if each.name != "socket" and shape.groups in each.groups:
            found = children[each.name].rows(shape.case(), asked)
            assert found == wanted, f"{each.name} reads other rows of {shape.name}"


def _line(
    shape: Shape,
    count: int,
    children: dict[str, Child],
    described: Sequence[_Contender],
    seconds: float,
) -> dict[str, Any]:
    """Measure one case."""
    present = [each for each in described if shape.groups in each.groups]
    blocks: dict[str, list[dict[str, Any]]] = {each.name: [] for each in present}
    for number in range(_BLOCKS):
        for each in present:
            asked = _asked(count, each.hits, number)
            block = children[each.name].measured(shape.case(), asked, seconds)
            blocks[each.name].append(block)
    taken = {name: Taken.of(found) for name, found in blocks.items()}
    groups = "1 group" if shape.groups == 1 else f"{shape.groups} groups"
    entities = "1 entity" if count == 1 else f"{count} entities"
    return {
        "title": f"{entities} x {shape.features} features, {groups}",
        "chart": f"{count} x {shape.features}" if shape.groups == 1 else "",
        "entries": [{"name": name, "stopped": "", **asdict(each)} for name, each in taken.items()],
        "aims": _aims(shape, count, taken),
    }


def _asked(count: int, hits: float | None, block: int) -> list[list[str]]:
    """Lists of entities; with `hits`, that share of them is of a few that a cache will hold."""
    random = np.random.default_rng(block)
    if hits is None:
        drawn: Any = random.integers(0, ENTITIES, (_TURNS, count))
        return [_names(row) for row in drawn]
    # The others come round in a circle that is longer than the cache; each block goes on in it.
    circle = np.arange(0 if hits == 0 else _HOT, ENTITIES)
    circle = np.roll(circle, -block * len(circle) // _BLOCKS)
    turns = max(1, round(len(circle) / (count * (1 - hits))))
    warm = np.sort(random.random((turns, count)), axis=1) < hits
    cold: Any = np.resize(circle, warm.shape if hits == 0 else int((~warm).sum()))
    if hits == 0:
        return [_names(row) for row in cold]
    if count < _MANY:  # hardly ever the same one twice
        hot = random.integers(0, _HOT, (turns, count))
    else:
        hot = np.argsort(random.random((turns, _HOT)), axis=1)[:, :count]
    hot[~warm] = cold
    return [_names(row) for row in hot]


def _names(numbers: "np.ndarray[Any, Any]") -> list[str]:
    return [f"user_{number}" for number in dict.fromkeys(numbers.tolist())]


def _aims(shape: Shape, count: int, taken: dict[str, Taken]) -> list[str]:
    ours, raw, feast = (taken[name].p50 for name in ("ours, Redis", "redis-py", "Feast"))
    told = []
    if (shape.features, shape.groups) == (50, 1) and count in (1, 10, 100):
        least = {1: 8, 10: 16, 100: 36}[count]
        told.append(aim(f"{ours / raw:.2f}x redis-py, at most 1.2x", met=ours <= 1.2 * raw))
        told.append(
            aim(f"{feast / ours:.0f}x faster than Feast, at least {least}x",
                met=feast >= least * ours)
        )  # fmt: skip
    if (shape.features, shape.groups, count) == (10, 1, 1):
        lmdb = taken["ours, LMDB"].p50
        told.append(aim(f"LMDB p50 {lmdb:.1f} us, at most 6", met=lmdb <= 6))
    return told


def _table(line: dict[str, Any]) -> str:
    first = next(each for each in line["entries"] if each["name"] == "ours, Redis")
    rows = [f"**{line['title']}**", "", "| | p50 us | p95 | p99 | CPU us | p50 / ours, Redis |",
            "|---|--:|--:|--:|--:|--:|"]  # fmt: skip
    for each in line["entries"]:
        figures = [f"{each[name]:,.1f}" for name in ("p50", "p95", "p99", "cpu")]
        ratio = f"{each['p50'] / first['p50']:.2f}"
        rows.append(f"| {each['name']} | {' | '.join(figures)} | {ratio} |")
    rows += ["", *(f"- Aim: {told}" for told in line["aims"])]
    return "\n".join(rows).rstrip()


def _write(page: Path, lines: list[dict[str, Any]], facts: list[str]) -> None:
    picture = page.with_suffix(".svg")
    drawn = ("ours, LMDB", "ours, Redis", "ours, Redis, 90 % cached", "redis-py", "Feast")
    shown = [
        {**line, "entries": [each for each in line["entries"] if each["name"] in drawn]}
        for line in lines
        if line["chart"]
    ]
    panel = report.Panel("p50", "p50 of one call, microseconds, log scale", 1, "log", 1)
    report.draw(shown, [panel], picture, peers_python(_HOME))
    (_HOME / "results").mkdir(exist_ok=True)
    (_HOME / "results" / "online.json").write_text(json.dumps(lines, indent=1))
    parts = [
        _ABOUT.format(picture=picture.name, entities=ENTITIES),
        "\n".join(f"- {fact}" for fact in facts) + "\n",
        *(_table(line) + "\n" for line in lines),
        _HOW.format(blocks=_BLOCKS, seconds=_SECONDS, turns=_TURNS),
    ]
    page.write_text("\n".join(parts))


if __name__ == "__main__":
    main()

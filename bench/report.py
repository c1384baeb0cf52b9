"""The page and the picture of the point-in-time benchmark."""

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.measuring import seconds
from bench.results import Entry, Line, Result


@dataclass(frozen=True)
class Panel:
    """One figure of a picture: which, how it is labelled, its unit, scale and relative width."""

    of: str
    label: str
    unit: float
    scale: str
    width: float


_PANELS = (
    Panel("cpu", "CPU seconds, log scale", 1, "log", 3),
    Panel("peak", "peak memory, GB", 1e9, "linear", 2),
)
_ABOUT = """\
# Benchmarks: the point-in-time join

Written by `make bench-join` (the cases one by one: `python -m bench.point_in_time 1m`).

![CPU time and peak memory of each contender]({picture})

- **ours**: `FeatureStore.get_historical_features`, its registry and its table's log looked up
  within the measured time.
- **polars**, **duckdb**: the leanest exact plans that their own joins allow, written by hand on the
  same Parquet files: no registry, no declared types, no log, no checks.
- **feast-duckdb**, **feast-file**: Feast's `get_historical_features` with its duckdb store and
  with its default one (dask).
"""

_HOW = """\
## How it was measured

- Every answer is a process of its own. It imports its libraries, loads the spine (ours: Arrow;
  Polars: a frame; DuckDB: a table of its own; Feast: pandas) and answers one tiny join, so that
  nothing is loaded for the first time on the clock. Then one call is measured, up to the whole
  answer in memory: Arrow, or pandas for Feast's `file` store, which works in pandas, and for
  everybody in the taxi case.
- Cases follow each other without a pause: the load at the start of one is what the one before left.
- The contenders take turns, three times unless asked otherwise; figures are medians. CPU is that
  of all threads of the process. Peak memory is the most that was resident in the process (VmHWM)
  until the answer was there; libraries and spine are part of it. The files were in the page cache.
- A contender is stopped at 180 s (its imports and loading count) or at 12 GB resident (at 100M
  rows: 900 s, 18 GB), and then not asked again.
- The first answers were compared before anything was told: ours with brute force on random rows,
  in the spine's order; Polars and DuckDB with ours on all rows and features, where any difference
  stops the benchmark; Feast with ours on all rows, where differences are counted.
- The data is generated from seeds, one Parquet file for each day (zstd), as our store writes it;
  for each month in 300k and 1m, the default of groups that are pushed to.
  0.5 % of the rows are corrected a day later: the same event time, a later created time, and the
  correction is to win. 2 % of the values are null. 0.5 % of the spine's entities are unknown,
  others are asked before their first value, and 0.5 % of its rows are repeated.

## What to bear in mind

- The layout is ours, sorted by entity within each day; Polars and DuckDB profit from it as we do.
- Feast reads one Parquet file with the same rows in the same order: both its stores were quicker
  on that than on daily files. Its figures include its own look-up in a local registry file.
- Feast's peak memory includes its imports, which are larger than the others'.
- DuckDB does not put its answer into the spine's order; the others do.
- Feast does more than this join, and can hand it to a warehouse; only its local stores are here.
- One machine, few cores, generated values: ratios within a table count, not seconds.
"""


def tables(result: Result) -> str:
    """Return the tables of a case as Markdown."""
    parts = [f"## {result.case}", result.about]
    for line in result.lines:
        parts += [f"**{line.title}**", _table(line)]
        if line.aims:
            parts.append("\n".join(f"- Aim: {told}" for told in line.aims))
    parts.append(f"Took {result.took:.0f} s.")
    return "\n\n".join(parts) + "\n"


def write(results: Sequence[Result], page: Path, python: Path, versions: str) -> None:
    """Write the page, and the picture beside it by the peers' Matplotlib."""
    picture = page.with_suffix(".svg")
    page.parent.mkdir(parents=True, exist_ok=True)
    lines = [asdict(line) for result in results for line in result.lines if line.chart]
    draw(lines, _PANELS, picture, python)
    page.write_text(
        "\n".join(
            [
                _ABOUT.format(picture=picture.name),
                _facts(results, versions),
                *(tables(result) for result in results),
                _HOW,
            ]
        )
    )
    print(f"Written: {page}, {picture.name}", flush=True)


def draw(
    lines: Sequence[dict[str, Any]], panels: Sequence[Panel], picture: Path, python: Path
) -> None:
    """Draw lines of entries, by the peers' Matplotlib."""
    chart = Path(__file__).parent / "chart.py"
    told = json.dumps({"lines": lines, "panels": [asdict(panel) for panel in panels]})
    subprocess.run([python, chart, picture], input=told, text=True, check=True)


def _facts(results: Sequence[Result], versions: str) -> str:
    """Say on what and when; facts that all cases share once, the others by case."""
    shared = [fact for fact in results[0].facts if all(fact in each.facts for each in results)]
    memory = next(
        int(line.split()[1]) / 1e6
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal:")
    )
    told = [f"{memory:.0f} GB of memory, {platform.system()} {platform.release()}", *shared]
    told.append(f"The peers' environment: {versions}")
    for result in results:
        told += [f"{result.case}: {fact}" for fact in result.facts if fact not in shared]
    return "\n".join(f"- {fact}" for fact in told) + "\n"


def _table(line: Line) -> str:
    first = line.entries[0]
    head = ["", "wall", "CPU", f"CPU / {first.name}", "peak MB", "rows/s", "rows/CPU s", "answer"]
    rows = [head, ["---", *["--:"] * (len(head) - 2), "---"]]
    rows += [_cells(entry, first) for entry in line.entries]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cells(entry: Entry, first: Entry) -> list[str]:
    if entry.stopped:
        return [entry.name, entry.stopped, *[""] * 5, entry.answer]
    return [
        entry.name,
        seconds(entry.wall),
        seconds(entry.cpu),
        f"{entry.cpu / first.cpu:.2f}",
        f"{entry.peak / 1e6:,.0f}",
        f"{entry.rows / entry.wall:,.0f}",
        f"{entry.rows / entry.cpu:,.0f}",
        entry.answer,
    ]

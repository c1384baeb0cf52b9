"""Run all cases, or those named: `python -m bench`, `python -m bench publish join`.

A whole run is also written to docs/benchmarks/baseline.md.
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from bench import lineage, maintenance, offline, orchestration, publishing, quality, size, startup
from bench.measuring import Row, markdown, surroundings

Case = Callable[[Path], Iterator[Row]]

CASES: dict[str, Case] = {
    "write": offline.write,
    "read": offline.read,
    "join": offline.join_to_spine,
    "publish": publishing.publish_rows,
    "orchestration": orchestration.backfill,
    "size": size.on_disk,
    "import": startup.cold,
    "quality": quality.judge,
    "lineage": lineage.answers,
    "maintenance": maintenance.keep,
}
_BASELINE = Path(__file__).parent.parent / "docs" / "benchmarks" / "baseline.md"
_ABOUT = """\
# Benchmarks: the baseline

Written by `make bench`. Ours and the raw library take turns in one run, five times (a backfill
once); the figures are medians of wall time, with the CPU time in brackets, servers left out.
Answers were asserted equal. What each case compares, and what it leaves out, is said in the
docstrings of `bench/`.
"""


def main() -> None:
    # Nothing of what is measured should wait for a terminal.
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    asked = sys.argv[1:] or list(CASES)
    if unknown := [name for name in asked if name not in CASES]:
        sys.exit(f"No case is named {', '.join(unknown)}. There are: {', '.join(CASES)}.")
    console = Console(highlight=False, soft_wrap=True)
    facts = surroundings()
    console.print("\n".join(facts), end="\n\n", markup=False)
    start, rows = time.monotonic(), []
    for name in asked:
        with console.status(f"{name} ..."), TemporaryDirectory(prefix="bench") as folder:
            rows += list(CASES[name](Path(folder)))
    took = f"Took {time.monotonic() - start:.0f} s."
    console.print(markdown(rows), took, sep="\n\n", markup=False)
    if asked == list(CASES):
        _BASELINE.parent.mkdir(parents=True, exist_ok=True)
        listed = "\n".join(f"- {fact}" for fact in [*facts, took])
        _BASELINE.write_text(f"{_ABOUT}\n{listed}\n\n{markdown(rows)}\n")


if __name__ == "__main__":
    main()

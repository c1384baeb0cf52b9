"""How a contender is run: a job as JSON comes in, figures as JSON go out on the last line.

Nothing but the standard library is imported here, and pyarrow once the clock has stopped:
contenders live in different environments.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Answer = Callable[[], Any]
Prepare = Callable[[Job], Answer]


def serve(prepare: Prepare, arrow: Callable[[Any], Any]) -> None:
    """Answer the job that is named on the command line.

    Parameters
    ----------
    prepare
        Loads the spine and returns what is measured: a call without arguments.
    arrow
        Turns the answer into an Arrow table, to be compared; not measured.
    """
    job = json.loads(Path(sys.argv[1]).read_text())
    # A tiny job first: what a library loads on its first call is no part of the join.
    prepare(job["warm"])()
    work = prepare(job)
    wall, cpu = time.perf_counter(), _cpu()
    answer = work()
    figures = {
        "wall": time.perf_counter() - wall,
        "cpu": _cpu() - cpu,
        "peak": _peak(),
    }
    if job["answer"] is not None:
        _keep(arrow(answer), job)
    print(json.dumps(figures))


def _keep(table: Any, job: Job) -> None:
    import pyarrow.parquet as pq

    names = [name for group in job["groups"] for name in group["features"]]
    pq.write_table(table.select([job["row"], *names]), job["answer"])


def _cpu() -> float:
    """Seconds of all threads, and of processes started and ended meanwhile."""
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def _peak() -> int:
    """The most memory that was resident since the process began, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("Linux does not say how much memory was used.")

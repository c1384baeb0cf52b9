"""How a contender in serving is run: it stays, is told a case at a time, and calls again and again.

Nothing but the standard library is imported here: contenders live in different environments.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

Job = dict[str, Any]
Case = dict[str, Any]
# What a contender needs of some entities before the clock starts.
Ready = Callable[[list[str]], Any]
# Reads their features.
Read = Callable[[Any], Any]
# Turns an answer into rows of values, to be compared; not measured.
Rows = Callable[[Any], list[list[Any]]]

_WARM = 3


def serve(prepare: Callable[[Job], Callable[[Case], tuple[Ready, Read, Rows]]]) -> None:
    """Answer what comes in on standard input, a line of JSON each.

    ``{"case", "entities"}`` asks for the rows of one call; with ``"seconds"`` calls are made for
    about so long, over ``"entities"``, lists that take turns, and their microseconds are told.
    """
    make = prepare(json.loads(sys.argv[1]))
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        ready, read, rows = make(asked["case"])
        if "seconds" in asked:
            told = _measured(read, list(map(ready, asked["entities"])), asked["seconds"])
        else:
            told = {"rows": rows(read(ready(asked["entities"])))}
        print(json.dumps(told), flush=True)


def _measured(read: Read, entities: list[Any], seconds: float) -> dict[str, Any]:
    turns = cycle(entities)
    for _ in range(_WARM):
        read(next(turns))
    clock, taken = time.perf_counter_ns, []
    spent, end = time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        asked = next(turns)
        start = clock()
        read(asked)
        taken.append((clock() - start) / 1e3)
    return {"walls": taken, "cpu": (time.process_time() - spent) / len(taken) * 1e6}

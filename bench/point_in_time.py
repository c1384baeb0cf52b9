"""The point-in-time join beside its peers: `python -m bench.point_in_time [case ...]`.

Who is measured: this project's public `FeatureStore.get_historical_features`; Polars and DuckDB
by hand, on the very same Parquet files; Feast with its duckdb store and with its default one, on
one Parquet file of the same rows. Each answer is a process of its own: libraries and the spine
are loaded and one tiny join is answered, then one call is measured, up to the answer in memory.
The contenders take turns; figures are medians.

Nothing is told before it is right: the first answers are compared row by row with ours, and ours
with brute force on random rows. Polars and DuckDB must agree; how Feast differs is counted.

`report` writes docs/benchmarks/point_in_time.md and .svg from the newest results of all cases;
so does a whole run. `--quick` asks about a hundredth of the rows, to try the suite out.
"""

import argparse
import logging
import time
import warnings
from pathlib import Path
from statistics import median

from bench import report
from bench.cases import CASES, USUAL, Question, Run
from bench.children import (
    CONTENDERS,
    REPOSITORY,
    Asked,
    Outcome,
    ask,
    peers_python,
    peers_versions,
    read_through,
)
from bench.comparing import assert_right, difference
from bench.measuring import surroundings
from bench.results import Entry, Line, Result
from bench.shapes import Data, stored

_HOME = REPOSITORY / ".bench"
_PAGE = REPOSITORY / "docs" / "benchmarks" / "point_in_time.md"
_QUICK = 100


def main() -> None:
    # Nothing of what is measured should wait for a terminal.
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=f"{', '.join(CASES)}, or report")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the rows")
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    if unknown := [name for name in given.cases if name not in CASES and given.cases != ["report"]]:
        parser.error(f"No case is named {', '.join(unknown)}. There are: {', '.join(CASES)}.")
    home = _HOME / "quick" if given.quick else _HOME
    page = home / _PAGE.name if given.quick else _PAGE
    python = peers_python(_HOME)
    _share_peers(home)
    results = home / "results"
    if given.cases != ["report"]:
        for name in given.cases or USUAL:
            result = _run(name, home, given.repetitions, _QUICK if given.quick else 1)
            result.save(results)
            print(report.tables(result), flush=True)
    if given.cases in ([], ["report"]):
        known = [results / f"{name}.json" for name in CASES]
        found = [Result.load(path) for path in known if path.exists()]
        report.write(found, page, python, peers_versions(home))


def _share_peers(home: Path) -> None:
    """Let the quick runs' folder use the one environment."""
    home.mkdir(parents=True, exist_ok=True)
    if home != _HOME and not (home / "peers").exists():
        (home / "peers").symlink_to(_HOME / "peers")


def _run(name: str, home: Path, repetitions: int, divisor: int) -> Result:
    case, facts, start = CASES[name], tuple(surroundings()), time.monotonic()
    lines = []
    for asked in case.questions:
        question = asked if divisor == 1 else asked.scaled(divisor)
        _say(f"{name}: {question.title}")
        lines.append(_line(question, home, repetitions))
    return Result(name, case.about, facts, time.monotonic() - start, tuple(lines))


def _line(question: Question, home: Path, repetitions: int) -> Line:
    start = time.monotonic()
    data = stored(home, question.shape, question.runs[0].spine)
    asked = {run.label: _asked(question, run, data) for run in question.runs}
    for run in question.runs:
        read_through(asked[run.label], [run.who])
    _say(f"  data ready after {time.monotonic() - start:.0f} s")
    taken: dict[str, list[Outcome]] = {run.label: [] for run in question.runs}
    answers = {}
    for number in range(repetitions):
        for run in question.runs:
            done = taken[run.label]
            if done and done[0].stopped:
                continue
            keep = home / "scratch" / f"answer {run.label}.parquet" if number == 0 else None
            _say(f"  {run.label}, {number + 1} of {repetitions}")
            done.append(
                ask(run.who, asked[run.label], home=home, keep=keep, limits=question.limits)
            )
        if number == 0:
            answers = _compared(question, data, taken, home)
    medians = {label: _median(outcomes) for label, outcomes in taken.items()}
    entries = [
        Entry(
            run.label,
            run.spine.rows,
            **vars(medians[run.label]),
            answer=answers[run.label],
        )
        for run in question.runs
    ]
    aims = tuple(judge(medians) for judge in question.aims)
    return Line(question.title, tuple(entries), aims, question.chart)


def _asked(question: Question, run: Run, data: Data) -> Asked:
    return Asked(data, run.spine, question.ttl, question.pandas, run.settings)


def _compared(
    question: Question, data: Data, taken: dict[str, list[Outcome]], home: Path
) -> dict[str, str]:
    """Judge the first answers: the first of each spine by brute force, the others by that one."""
    told: dict[str, str] = {}
    first: dict[object, Path] = {}
    for run in question.runs:
        answer = home / "scratch" / f"answer {run.label}.parquet"
        stopped = taken[run.label][0].stopped
        if run.spine not in first:
            assert not stopped, f"{run.label}: {stopped}"
            assert_right(answer, data, run.spine, question.ttl, question.sample)
            told[run.label] = f"right on {min(question.sample, run.spine.rows):,} random rows"
            first[run.spine] = answer
        elif stopped:
            told[run.label] = "none"
        else:
            found = difference(first[run.spine], answer)
            assert not (found and CONTENDERS[run.who].exact), f"{run.label}: {found}"
            told[run.label] = str(found)
        _say(f"  {run.label}: {told[run.label]}")
    for path in (home / "scratch").glob("answer *"):
        path.unlink()
    return told


def _median(outcomes: list[Outcome]) -> Outcome:
    if outcomes[0].stopped:
        return outcomes[0]
    return Outcome(
        *(median(getattr(each, of) for each in outcomes) for of in ("wall", "cpu", "peak"))
    )


def _say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    main()

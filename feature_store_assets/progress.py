"""A progress bar for work that takes long, where someone is watching."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Protocol, TypeVar

_Done = TypeVar("_Done")
# Hears in a sentence how work goes.
Told = Callable[[str], object]


class HasBytes(Protocol):
    """What takes so many bytes."""

    @property
    def bytes(self) -> int: ...


_File = TypeVar("_File", bound=HasBytes)
# Shorter work shows nothing.
_PATIENCE = 2.0
# Seconds between two words on how it goes.
_PAUSE = 10


@contextmanager
def progress(title: str, total: Callable[[], int]) -> Iterator[Callable[[int], None]]:
    """Show a bar on the terminal or in the notebook once the work has taken two seconds.

    Parameters
    ----------
    title, total
        What is done, and what counts its steps; asked only if someone is watching.

    Yields
    ------
    A function to be called with the number of steps just done, from any thread.
    """
    if not (sys.stderr.isatty() or "ipykernel" in sys.modules):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    # Into a pipe goes what the caller prints meanwhile, not to the terminal.
    shared = sys.stdout.isatty()
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=shared)
    task = bar.add_task(title, total=total())
    began = time.monotonic()
    with ExitStack() as shown:

        def advance(steps: int) -> None:
            bar.advance(task, steps)
            if not bar.live.is_started and time.monotonic() - began > _PATIENCE:
                shown.enter_context(bar)

        yield advance


def each_file(
    title: str,
    files: Sequence[_File],
    work: Callable[[_File], _Done],
    told: Told = lambda _: None,
    *,
    threads: int = 4,
) -> list[_Done]:
    """Do something with each file, a few at a time, and show how it goes.

    Parameters
    ----------
    told
        Hears every ten seconds how far it is.
    """
    total, done, answers = sum(file.bytes for file in files), 0, []
    due = time.monotonic() + _PAUSE
    with (
        progress(title, lambda: max(total, 1)) as advance,
        ThreadPoolExecutor(threads) as pool,
    ):
        for file, answer in zip(files, pool.map(work, files), strict=True):
            answers.append(answer)
            advance(file.bytes)
            done += file.bytes
            if time.monotonic() > due:
                told(f"{title}: {done} of {total} bytes.")
                due = time.monotonic() + _PAUSE
    return answers

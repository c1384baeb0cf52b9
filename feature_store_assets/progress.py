"""A progress bar for work that takes long, where someone is watching."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

# Shorter work shows nothing.
_PATIENCE = 2.0


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

"""What people see: the examples of a help page, tables, CSV, and how it goes."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from feature_store_assets.errors import CodeNotTrusted

if TYPE_CHECKING:
    import polars as pl


_Answer = TypeVar("_Answer")


def examples(*lines: str) -> str:
    """The end of a help page; the mark keeps click from filling the lines up."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def tell(text: str) -> None:
    """Say how it goes; only answers go to standard output."""
    click.echo(text, err=True)


trust_code = click.option(
    "--trust-code",
    is_flag=True,
    help="Let reads run the functions that its views name, even if this store does not know them.",
)


def asking(bring_in: Callable[[bool], _Answer], *, trust_code: bool) -> _Answer:
    """Bring something in. If it names unknown functions, ask whoever sits at a terminal."""
    try:
        return bring_in(trust_code)
    except CodeNotTrusted as error:
        if not sys.stdin.isatty():
            raise
        tell(str(error))
        click.confirm("Do you trust these functions?", abort=True, err=True)
        return bring_in(True)


as_json = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


def say(text: str, answer: Any, *, as_json: bool) -> None:
    """Say what was done; for machines print it as JSON, too."""
    tell(text)
    if as_json:
        print_json(answer)


def print_rows(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, as_json: bool = False
) -> None:
    """Print rows as a table, or as a JSON list of objects."""
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


def print_json(answer: Any) -> None:
    """Print an answer as JSON."""
    click.echo(json_text(answer), nl=False)


def json_text(answer: Any) -> str:
    """Return JSON; times in ISO form, what else JSON lacks as text, NaN as null."""
    return json.dumps(_plain(answer), indent=2, default=_text, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        numeric = any(type(row[number]) in (int, float) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(value), "dim" if value is None else "") for value in row))
    # As wide as the screen, and as it needs in a file or a pipe.
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def csv_text(rows: "pl.DataFrame") -> str:
    """Return CSV, times in ISO form; a list is written as JSON, for which CSV has no form."""
    import polars as pl

    lists = [
        pl.Series(
            column.name,
            [None if each is None else json.dumps(list(each), default=_text) for each in column],
            pl.String,
        )
        for column in rows
        if isinstance(column.dtype, pl.List)
    ]
    return rows.with_columns(lists).write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.6f%:z")

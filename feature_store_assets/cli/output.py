"""What people see: the examples of a help page, tables, CSV, and how it goes."""

import json
import sys
from collections.abc import Sequence
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import polars as pl


def examples(*lines: str) -> str:
    """The end of a help page; the mark keeps click from filling the lines up."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def tell(text: str) -> None:
    """Say how it goes; only answers go to standard output."""
    click.echo(text, err=True)


as_json = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, as_json: bool) -> None:
    """Print rows as a table, or as a JSON list of objects."""
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


def print_json(answer: Any) -> None:
    """Print an answer as JSON; what JSON lacks is written as text."""
    click.echo(json.dumps(answer, indent=2, default=str, ensure_ascii=False))


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


# Dates and times in JSON.
iso = methodcaller("isoformat")


def csv_text(rows: "pl.DataFrame") -> str:
    """Return CSV, times in ISO form; a list is written as JSON, for which CSV has no form."""
    import polars as pl

    lists = [
        pl.Series(
            column.name,
            [None if each is None else json.dumps(list(each), default=iso) for each in column],
            pl.String,
        )
        for column in rows
        if isinstance(column.dtype, pl.List)
    ]
    return rows.with_columns(lists).write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.6f%:z")

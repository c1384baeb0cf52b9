"""How much of a long test is run: `make test` takes a part, `make test-all` all, by variables."""

import os
from collections.abc import Iterable
from typing import Any

import pytest

_SHARE = float(os.environ.get("EXAMPLES", "0.1"))


def examples(whole: int) -> int:
    """So many random examples by `EXAMPLES=1`; by default a tenth of them, but three at least."""
    return max(min(3, whole), round(whole * _SHARE))


def some(cases: Iterable[Any], fast: int = 1) -> list[Any]:
    """Cases to parametrize a test with, of which `make test` runs the first few."""
    every = list(cases)
    return every[:fast] + [pytest.param(case, marks=pytest.mark.slow) for case in every[fast:]]

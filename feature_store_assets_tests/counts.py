"""How much of a long test is run: `make test` takes a part, `make test-all` all, by variables."""

import os

_SHARE = float(os.environ.get("EXAMPLES", "0.2"))


def examples(whole: int) -> int:
    """So many random examples by `EXAMPLES=1`; by default a fifth of them, but three at least."""
    return max(min(3, whole), round(whole * _SHARE))

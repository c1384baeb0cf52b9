"""What all errors are built of."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Self


def listed(names: Iterable[str], most: int = 12) -> str:
    """Put the names in quotes, sorted, cut after `most`."""
    every = sorted(names)
    shown = ", ".join(f"'{name}'" for name in every[:most])
    return shown + (f" and {len(every) - most} more" if len(every) > most else "")


def suggestion(name: str, known: Iterable[str]) -> str:
    """The ending of a "not found" message: the nearest known name, else those that exist."""
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" There are: {listed(known)}." if known else ""


class FeatureStoreError(Exception):
    """Base of all errors of this package; `except FeatureStoreError` catches them all."""

    _data: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        error = super().__new__(cls)
        error._data = (args, kwargs)
        return error

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.args = (message,)  # OSError takes none from an __init__ of ours

    def __str__(self) -> str:
        # KeyError would show the repr of its message.
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        # Step processes and pools pickle errors: rebuild from the data, not from the message.
        args, kwargs = self._data
        return _rebuild, (type(self), args, kwargs)


def _rebuild(
    kind: type[FeatureStoreError], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> FeatureStoreError:
    return kind(*args, **kwargs)


class ConfigError(FeatureStoreError, ValueError):
    """A setting is unknown, missing or wrong."""

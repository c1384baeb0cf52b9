"""Request-time features: computed from stored features and from values that come with a request.

The same function runs over whole columns in training and over the rows of one request in serving.
It is stored as `module:qualname`, and imported only where a view that uses it is read.

What is read from JSON may name any function. It is imported only once it is trusted: the registry
marks functions that its own `apply` recorded, and those of modules that the settings name.
"""

import copy
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Self

from feature_store_assets.declaration.feature import checked_name
from feature_store_assets.declaration.instants import (
    FIRST_MICRO,
    FIRST_NUMBER,
    LAST_MICRO,
    LAST_NUMBER,
)
from feature_store_assets.declaration.types import polars_type, type_name
from feature_store_assets.errors import (
    DeclarationError,
    FunctionFailed,
    FunctionNotTrusted,
    suggestion,
)

if TYPE_CHECKING:
    import polars as pl

# By the name of a Polars type, what its numbers may be.
_LIMITS = {"Datetime": (FIRST_MICRO, LAST_MICRO), "Date": (FIRST_NUMBER, LAST_NUMBER)}
_FIELDS = ("name", "dtype", "function", "description", "inputs")
_BY_POSITION = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


@dataclass(frozen=True, init=False)
class RequestFeature:
    """A feature that a function computes when it is asked for.

    Parameters
    ----------
    name, dtype
        As on a `Feature`.
    function
        Takes and returns Polars Series, row by row: the same row always gives the same value,
        whatever rows stand beside it. Its parameters are named after features of the view, or
        after its `request` values. A function at the top of a module that does not import
        dagster, or `"module:function"`.
    description
        The first line of the function's docstring by default.

    Attributes
    ----------
    inputs
        The names of the function's parameters.
    trusted
        Whether `load` may import the function. It is no part of the declared content.

    Raises
    ------
    DeclarationError
        The function cannot be found again by its name, or takes what no column can be.
    """

    name: str
    dtype: str
    function: str
    description: str
    inputs: tuple[str, ...]
    trusted: bool = field(compare=False, repr=False)

    def __init__(
        self,
        name: str,
        dtype: object,
        function: "str | Callable[..., pl.Series]",
        description: str = "",
    ) -> None:
        checked_name(name, "feature")
        path, found = _named(name, function)
        _refuse_dagster(name, path, found)
        first_line = inspect.cleandoc(found.__doc__ or "").partition("\n")[0]
        freeze = object.__setattr__
        freeze(self, "name", name)
        freeze(self, "dtype", type_name(dtype))
        freeze(self, "function", path)
        freeze(self, "description", description or first_line)
        freeze(self, "inputs", _inputs(name, path, found))
        freeze(self, "trusted", True)

    @property
    def module(self) -> str:
        """The module that holds the function."""
        return self.function.partition(":")[0]

    def as_trusted(self) -> Self:
        """Return the feature with leave to import its function."""
        feature = copy.copy(self)
        object.__setattr__(feature, "trusted", True)
        return feature

    def load(self) -> "Callable[..., pl.Series]":
        """Import the function.

        Raises
        ------
        FunctionNotTrusted
            It came from outside, and nobody here has said that it may run. Nothing is imported.
        FunctionFailed
            It is not there (any more), or takes other parameters than it was declared with.
        """
        if not self.trusted:
            raise FunctionNotTrusted(self.name, self.function)
        try:
            found: Callable[..., pl.Series] = _imported(self.function)
        except Exception as error:  # whatever the module does at its import
            reason = (
                f"cannot be imported ({type(error).__name__}: {error}). Install its module here, "
                f"or apply the view with a function that exists"
            )
            raise FunctionFailed(self.name, self.function, reason) from error
        if reason := _difference(self, found):
            raise FunctionFailed(self.name, self.function, reason)
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": self.dtype,
            "function": self.function,
            "description": self.description,
            "inputs": list(self.inputs),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what was declared. The function is not imported, and not trusted.

        Raises
        ------
        DeclarationError
            The constructor makes nothing like it.
        """
        if set(value) != set(_FIELDS):
            listed = ", ".join(_FIELDS)
            raise DeclarationError(f"A computed feature has the fields {listed}.")
        name = checked_name(value["name"], "feature")
        path, inputs = value["function"], value["inputs"]
        _check_path(name, path)
        if type_name(value["dtype"]) != value["dtype"] or not isinstance(value["description"], str):
            raise DeclarationError(f"The type or description of '{name}' is not as it is written.")
        if not isinstance(inputs, list) or not inputs or len(set(map(str, inputs))) < len(inputs):
            raise DeclarationError(f"The inputs of '{name}' are a list of different names.")
        for each in inputs:
            if not isinstance(each, str) or not each.isidentifier():
                raise DeclarationError(f"'{each}' cannot be a parameter of '{path}'.")
        feature = cls.__new__(cls)
        for each, stored in {**value, "inputs": tuple(inputs), "trusted": False}.items():
            object.__setattr__(feature, each, stored)
        return feature


def compute(
    features: Sequence[RequestFeature], columns: "Mapping[str, pl.Series]"
) -> "dict[str, pl.Series]":
    """Compute features from columns of equal length, in training and in serving alike.

    Parameters
    ----------
    features
        What to compute.
    columns
        The inputs of all of them, by name.

    Raises
    ------
    FunctionFailed
        A function is gone, raised, or returned another type or number of rows than it may.
    """
    found = {}
    for feature in features:
        function = feature.load()
        given = [columns[name] for name in feature.inputs]
        try:
            result = function(*given)
        except Exception as error:  # noqa: BLE001  # the author's function may raise anything
            # Its message may show values, and so may the traceback of a chained error.
            reason = f"raised {type(error).__name__}{_place(error)}. Its message may hold values"
            raise FunctionFailed(feature.name, feature.function, reason) from None
        if reason := fault(feature, result, len(given[0])):
            raise FunctionFailed(feature.name, feature.function, reason)
        found[feature.name] = result
    return found


def fault(feature: RequestFeature, result: object, rows: int) -> str:
    """Tell what is wrong with what a function returned for so many rows; nothing: an empty text."""
    import polars as pl

    if not isinstance(result, pl.Series):
        return f"returned {type(result).__name__}, not a polars.Series"
    if result.dtype != (wanted := polars_type(feature.dtype)):
        return (
            f"returned {result.dtype}, but is declared {feature.dtype}: cast it there, "
            f".cast(pl.{wanted!r})"
        )
    if len(result) != rows:
        return f"returned {len(result)} row(s) for {rows}"
    inner = result.explode() if isinstance(result.dtype, pl.List) else result
    if (limits := _LIMITS.get(inner.dtype.base_type().__name__)) is not None:
        numbers = inner.to_physical()
        if not numbers.is_between(*limits).all():  # Python could not show them
            return "returned points in time outside the years 1 to 9999"
    return ""


def _place(error: Exception) -> str:
    """Where in the author's function it was raised."""
    trace = error.__traceback__
    inner = trace.tb_next if trace is not None else None
    return "" if inner is None else f" in line {inner.tb_lineno}"


def _imported(path: str) -> Any:
    module_name, _, name = path.partition(":")
    module = sys.modules.get(module_name) or import_module(module_name)
    if not hasattr(module, name):
        known = [each for each, value in vars(module).items() if isinstance(value, FunctionType)]
        raise AttributeError(f"'{module_name}' has no '{name}'." + suggestion(name, known))
    return getattr(module, name)


@lru_cache(maxsize=256)
def _difference(feature: RequestFeature, found: object) -> str:
    """Return in what a function that was found is not the declared one."""
    if not isinstance(found, FunctionType):
        return f"is a {type(found).__name__}, not a function written with def"
    try:
        _refuse_dagster(feature.name, feature.function, found)
        inputs = _inputs(feature.name, feature.function, found)
    except DeclarationError as error:
        return f"cannot be used. {error}"
    if inputs != feature.inputs:
        return (
            f"takes ({', '.join(inputs)}), but the view was applied with "
            f"({', '.join(feature.inputs)}). Run `feature-store apply`"
        )
    return ""


def _check_path(feature: str, path: object) -> None:
    """Refuse what is not `module:function`, or names a script."""
    module, _, name = path.partition(":") if isinstance(path, str) else ("", "", "")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise DeclarationError(
            f"The function of '{feature}' is 'module:function', a function at the top of a "
            f"module, not '{path}'."
        )
    if module == "__main__":
        raise DeclarationError(
            f"The function of '{feature}' is defined in a script (or a notebook), where serving "
            f"cannot find it: move it to a module and import it from there."
        )


def _named(feature: str, function: object) -> tuple[str, FunctionType]:
    """Return `module:function` and the function that is found by it."""
    path = function if isinstance(function, str) else _path(feature, function)
    _check_path(feature, path)
    try:
        found = _imported(path)
    except Exception as error:
        raise DeclarationError(
            f"The function of '{feature}' cannot be imported as '{path}' "
            f"({type(error).__name__}: {error}). Serving finds it by that name."
        ) from error
    if not isinstance(found, FunctionType):
        raise DeclarationError(
            f"'{path}' is a {type(found).__name__}: '{feature}' needs a function written with def."
        )
    if found is not function and path is not function:
        raise DeclarationError(
            f"'{path}' is another function than the one given for '{feature}'. Serving finds it by "
            f"that name: give what the module holds under it."
        )
    return path, found


def _path(feature: str, function: object) -> str:
    if not isinstance(function, FunctionType) or function.__name__ == "<lambda>":
        what = "a lambda" if isinstance(function, FunctionType) else f"a {type(function).__name__}"
        raise DeclarationError(
            f"The function of '{feature}' is {what}, which serving cannot find by a name: write it "
            f"with def at the top of a module."
        )
    if "." in function.__qualname__:
        raise DeclarationError(
            f"The function of '{feature}', '{function.__qualname__}', is a method or stands in "
            f"another function, where serving cannot find it: move it to the top of a module."
        )
    return f"{function.__module__}:{function.__qualname__}"


def _inputs(feature: str, path: str, function: FunctionType) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    for each in parameters:
        if each.kind not in _BY_POSITION or each.default is not inspect.Parameter.empty:
            raise DeclarationError(
                f"'{path}' takes '{each}', but each parameter of the function of '{feature}' is a "
                f"column: no *args, no **kwargs, no keyword-only ones and no defaults. Name the "
                f"columns one by one, and keep constants in the module."
            )
    if not parameters:
        raise DeclarationError(
            f"'{path}' takes no parameters: name the features and request values that "
            f"'{feature}' is computed from."
        )
    return tuple(each.name for each in parameters)


def _refuse_dagster(feature: str, path: str, function: FunctionType) -> None:
    for name, value in function.__globals__.items():
        home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
        if isinstance(home, str) and home.startswith("dagster"):
            raise DeclarationError(
                f"The module of '{path}' imports dagster ('{name}'), which serving would have to "
                f"load for '{feature}': move the function to a module without it."
            )

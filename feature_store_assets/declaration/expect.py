"""Expectations beside the features: light values that name a Great Expectations check.

`expect.column_mean_to_be_between("spend_7d", min_value=1)` is checked against a table of names
and arguments where it is written; Great Expectations itself is imported only where checks run.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from inspect import Parameter, Signature
from typing import Any, Final, Literal, Self, cast

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.declaration.conditions import Column, Condition, decoded, encoded
from feature_store_assets.declaration.expectations_table import (
    CHOICES,
    EXPECTATIONS,
    NEEDS_A_DATABASE,
    OUTLIER_METHODS,
    OWN,
    WITHOUT_ROW_CONDITION,
)
from feature_store_assets.errors import DeclarationError, UnknownExpectation

Severity = Literal["critical", "warning", "info"]

_CHECKS: Final = {**EXPECTATIONS, **OWN}
_SEVERITIES: Final = ("critical", "warning", "info")
_COLUMN_ARGUMENTS: Final = ("column", "column_A", "column_B", "column_list", "column_set")
_PATTERNS: Final = ("regex", "regex_list")
_BOUNDS: Final = ("min_value", "max_value")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the rows of each partition must satisfy; made by `expect`, compared by value.

    Parameters
    ----------
    name
        The check's name in Great Expectations, without `expect_`.
    arguments
        Its arguments as canonical JSON; `kwargs` gives them as a dict.
    severity
        "critical" keeps a failing partition out; "warning" and "info" are only shown.
    """

    name: str
    arguments: str
    severity: Severity = "critical"

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments as they were given, dates and datetimes restored."""
        return dict(_arguments(self.arguments))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the check needs, those of its row condition included."""
        given = self.kwargs
        named: list[str] = []
        for argument in _COLUMN_ARGUMENTS:
            value = given.get(argument, ())
            named.extend([value] if isinstance(value, str) else value)
        condition = given.get("row_condition")
        return tuple(dict.fromkeys((*named, *(() if condition is None else condition.columns))))

    @property
    def column(self) -> str | None:
        """The one column that the check is about; None if it is about several, or the table."""
        return cast("str | None", self.kwargs.get("column"))

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"expect.{self.name}({', '.join((*given, f'severity={self.severity!r}'))})"

    def to_json(self) -> dict[str, Any]:
        """Return the form that the registry keeps."""
        return {
            "name": self.name,
            "arguments": json.loads(self.arguments),
            "severity": self.severity,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Return the expectation that `to_json` wrote."""
        return cls(kept["name"], canonical(kept["arguments"]), kept["severity"])


@lru_cache(maxsize=4096)
def _arguments(text: str) -> dict[str, Any]:
    return cast("dict[str, Any]", decoded(json.loads(text)))


class Check:
    """One expectation by name; calling it declares the expectation."""

    def __init__(self, name: str) -> None:
        required, optional = _CHECKS[name]
        self.__name__ = name
        whose = "A rule of this project" if name in OWN else f"Great Expectations' `expect_{name}`"
        self.__doc__ = (
            f"{whose}.\n\n"
            f"Needs {', '.join(required) or 'no argument'}; "
            f"takes {', '.join(optional) or 'no further argument'}."
        )
        self.__signature__ = _signature(name)

    def __call__(
        self,
        *columns: str | Iterable[str],
        severity: Severity = "critical",
        row_condition: Condition | None = None,
        **arguments: Any,
    ) -> Expectation:
        """Declare the expectation.

        Parameters
        ----------
        columns
            The features it is about, in the order of the check's column arguments.
        severity
            "critical" (the default), "warning" or "info".
        row_condition
            Look only at rows that meet it: `expect.col("country") == "US"`.
        arguments
            The check's own arguments, named as in Great Expectations.

        Raises
        ------
        UnknownExpectation
            An argument that the check does not take.
        DeclarationError
            A missing argument, or values that cannot hold together.
        """
        name = self.__name__
        given = {**_positional(name, columns, arguments), **arguments}
        given = {argument: value for argument, value in given.items() if value is not None}
        if row_condition is not None:
            if name in WITHOUT_ROW_CONDITION:
                raise DeclarationError(f"expect.{name}() takes no row_condition.")
            if not isinstance(row_condition, Condition):
                raise DeclarationError(
                    f"The row_condition of expect.{name}() is no condition: write it as "
                    f'expect.col("country") == "US".'
                )
            given["row_condition"] = row_condition
        if severity not in _SEVERITIES:
            raise DeclarationError(
                f"'{severity}' is no severity of expect.{name}(): use one of {_SEVERITIES}."
            )
        _check_arguments(name, given)
        return Expectation(name, canonical(encoded(given, f"expect.{name}()")), severity)


class Expect:
    """Every core expectation of Great Expectations, by its snake-case name.

    Beside them stand `max_missing_percentage`, `min_unique_values` and `max_outlier_percentage`.

    Examples
    --------
    >>> expect.column_values_to_not_be_null("spend_7d", mostly=0.99).severity
    'critical'
    >>> expect.column_mean_to_be_betwen("spend_7d", min_value=1)
    Traceback (most recent call last):
        ...
    feature_store_assets.errors.names.UnknownExpectation: Great Expectations has no expectation \
'expect_column_mean_to_be_betwen'. Did you mean 'column_mean_to_be_between'?
    """

    def __getattr__(self, name: str) -> Check:
        if name.startswith("_"):  # copy, pickle and notebooks probe for special methods
            raise AttributeError(name)
        if name in NEEDS_A_DATABASE:
            raise DeclarationError(
                f"expect.{name} runs SQL in a database; partitions are judged as they are, before "
                f"they are written. Compare tables in an asset check of your own."
            )
        if name not in EXPECTATIONS:
            raise UnknownExpectation(name, self.__dir__())
        return Check(name)

    def __dir__(self) -> list[str]:
        own = ("max_missing_percentage", "min_unique_values", "max_outlier_percentage")
        return ["col", *own, *EXPECTATIONS]

    def col(self, name: str) -> Column:
        """Return a column to compare with values in a `row_condition`."""
        return Column(name)

    def max_missing_percentage(
        self, column: str, percentage: float, *, severity: Severity = "critical"
    ) -> Expectation:
        """At most so many percent of the rows may lack a value, 0 to 100."""
        share = _share(percentage, "max_missing_percentage")
        # 1 - 0.58 is a little more than 0.42.
        mostly = round(1 - share, 12)
        return self.column_values_to_not_be_null(column, mostly=mostly, severity=severity)

    def min_unique_values(
        self, column: str, count: int, *, severity: Severity = "critical"
    ) -> Expectation:
        """At least so many different values, missing ones left out."""
        return self.column_unique_value_count_to_be_between(
            column, min_value=count, severity=severity
        )

    def max_outlier_percentage(
        self,
        column: str,
        percentage: float,
        *,
        method: str = "iqr",
        severity: Severity = "critical",
    ) -> Expectation:
        """At most so many percent of the values may be outliers.

        Parameters
        ----------
        method
            "iqr": beyond the quartiles by one and a half times their distance; "mad": by the
            median absolute deviation, for skewed values; "reference": by the 1st and 99th
            percentile of the 30 partitions before, each widened by their distance (while there
            are none, no value is an outlier). Where most values are the same, none is either.
        """
        check = Check("max_outlier_percentage")
        return check(column, percentage=percentage, method=method, severity=severity)


expect: Final = Expect()


def feature_expectations(
    name: str,
    *,
    ge: float | date | None = None,
    le: float | date | None = None,
    nullable: bool = True,
    unique: bool = False,
    one_of: Iterable[object] | None = None,
    regex: str | None = None,
) -> tuple[Expectation, ...]:
    """Return the expectations that a feature's declared bounds stand for.

    Examples
    --------
    >>> [rule.name for rule in feature_expectations("spend_7d", ge=0, nullable=False)]
    ['column_values_to_not_be_null', 'column_values_to_be_between']
    """
    rules: list[Expectation] = []
    if not nullable:
        rules.append(expect.column_values_to_not_be_null(name))
    if ge is not None or le is not None:
        rules.append(expect.column_values_to_be_between(name, min_value=ge, max_value=le))
    if unique:
        rules.append(expect.column_values_to_be_unique(name))
    if one_of is not None:
        rules.append(expect.column_values_to_be_in_set(name, value_set=one_of))
    if regex is not None:
        rules.append(expect.column_values_to_match_regex(name, regex=regex))
    return tuple(rules)


def _signature(name: str) -> Signature:
    required, optional = _CHECKS[name]
    positional = [
        Parameter(argument, Parameter.POSITIONAL_OR_KEYWORD)
        for argument in (*required, *optional)
        if argument in _COLUMN_ARGUMENTS
    ]
    named = [
        Parameter(argument, Parameter.KEYWORD_ONLY, default=default)
        for arguments, default in ((required, Parameter.empty), (optional, None))
        for argument in arguments
        if argument not in _COLUMN_ARGUMENTS
    ]
    severity = Parameter("severity", Parameter.KEYWORD_ONLY, default="critical")
    condition = (
        []
        if name in WITHOUT_ROW_CONDITION
        else [Parameter("row_condition", Parameter.KEYWORD_ONLY, default=None)]
    )
    return Signature([*positional, *named, *condition, severity], return_annotation=Expectation)


def _positional(
    name: str, columns: tuple[str | Iterable[str], ...], named: Mapping[str, object]
) -> dict[str, object]:
    """Give the positional column names to the arguments they stand for."""
    wanted = [
        argument
        for arguments in _CHECKS[name]
        for argument in arguments
        if argument in _COLUMN_ARGUMENTS
    ]
    if not columns:
        return {}
    if len(wanted) == 1 and wanted[0] in ("column_list", "column_set"):
        first = columns[0]
        several = columns if len(columns) > 1 or isinstance(first, str) else tuple(first)
        given: dict[str, object] = {wanted[0]: list(several)}
    elif len(columns) > len(wanted):
        raise DeclarationError(
            f"expect.{name}() takes {len(wanted)} column name(s), {len(columns)} were given; name "
            f"the other arguments."
        )
    else:
        given = dict(zip(wanted, columns, strict=False))
    if twice := sorted(given.keys() & named.keys()):
        raise DeclarationError(f"expect.{name}() was given '{twice[0]}' twice.")
    return given


def _check_arguments(name: str, given: Mapping[str, Any]) -> None:
    required, optional = _CHECKS[name]
    for argument in given:
        if argument not in (*required, *optional, "row_condition"):
            raise UnknownExpectation(name, (*required, *optional), argument=argument)
    missing = [argument for argument in required if argument not in given]
    if missing:
        raise DeclarationError(f"expect.{name}() needs {' and '.join(missing)}.")
    for argument in _COLUMN_ARGUMENTS:
        _check_columns(name, argument, given.get(argument, ()))
    if name in OWN:
        _share(given["percentage"], name)
    choices = {"method": OUTLIER_METHODS} if name in OWN else CHOICES
    for argument, allowed in choices.items():
        if (value := given.get(argument)) is not None and value not in allowed:
            raise DeclarationError(f"The {argument} of expect.{name}() is one of {allowed}.")
    for argument in _PATTERNS:
        _check_patterns(name, argument, given.get(argument, ()))
    _check_mostly(name, given.get("mostly", 1))
    _check_bounds(name, given)
    if "value_set" in given:
        _check_values(name, given["value_set"])


def _check_columns(name: str, argument: str, value: object) -> None:
    several = argument in ("column_list", "column_set")
    names = [value] if isinstance(value, str) and not several else value
    right = isinstance(names, list | tuple | set | frozenset)
    if not right or not all(isinstance(each, str) for each in cast("Iterable[object]", names)):
        what = "a list of column names" if several else "a column name"
        raise DeclarationError(f"The {argument} of expect.{name}() is {what}, not {value!r}.")


def _check_mostly(name: str, mostly: object) -> None:
    number = isinstance(mostly, int | float) and not isinstance(mostly, bool)
    if not number or not 0 <= cast("float", mostly) <= 1:
        raise DeclarationError(f"mostly of expect.{name}() is a share from 0 to 1, not {mostly!r}.")


def _share(percentage: object, name: str) -> float:
    number = isinstance(percentage, int | float) and not isinstance(percentage, bool)
    if not number or not 0 <= cast("float", percentage) <= 100:  # noqa: PLR2004  # percent
        raise DeclarationError(f"expect.{name}() takes percent from 0 to 100, not {percentage!r}.")
    return cast("float", percentage) / 100


def _check_bounds(name: str, given: Mapping[str, Any]) -> None:
    bounds = [given[argument] for argument in _BOUNDS if argument in given]
    if not bounds and name.endswith("_to_be_between") and "quantile_ranges" not in given:
        raise DeclarationError(f"expect.{name}() needs min_value, max_value or both.")
    for bound in bounds:
        if isinstance(bound, bool) or not isinstance(bound, int | float | date):
            raise DeclarationError(
                f"{bound!r} cannot bound expect.{name}(): use a number, date or datetime."
            )
    if len(bounds) == len(_BOUNDS):
        try:
            upside_down = bounds[0] > bounds[1]
        except TypeError:
            raise DeclarationError(
                f"The bounds {bounds[0]!r} and {bounds[1]!r} of expect.{name}() do not compare."
            ) from None
        if upside_down:
            raise DeclarationError(
                f"The bounds of expect.{name}() are upside down: {bounds[0]} > {bounds[1]}."
            )


def _check_patterns(name: str, argument: str, given: object) -> None:
    if argument == "regex" and given == ():
        return
    patterns = [given] if argument == "regex" else given
    if not isinstance(patterns, list | tuple) or not all(isinstance(p, str) for p in patterns):
        raise DeclarationError(f"The {argument} of expect.{name}() is made of strings.")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise DeclarationError(
                f"The regular expression {pattern!r} of expect.{name}() is malformed: {error}."
            ) from None


def _check_values(name: str, values: object) -> None:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise DeclarationError(f"The value_set of expect.{name}() is a list, not {values!r}.")
    if not list(values):
        raise DeclarationError(f"The value_set of expect.{name}() is empty: nothing would pass.")

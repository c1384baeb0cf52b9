"""Rules about text whose verdict on a value depends on the value alone.

The definitions are those of Great Expectations: a pattern is searched for anywhere in the text,
and what is no JSON, or no time of the format, is at fault. Patterns are judged in linear time,
whatever the text: a server must not hang on one that somebody pushes.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import reduce
from operator import and_, or_
from typing import Any

import polars as pl

from feature_store_assets.declaration.expect import Expectation


def right_texts(expectation: Expectation, texts: pl.Series) -> pl.Series | None:
    """Return which texts are right, as booleans.

    None if the rule is not about single texts, or searches for what needs backtracking, such as
    looking ahead: Great Expectations judges these.
    """
    given = expectation.kwargs
    name = expectation.name.removeprefix("column_values_to_")
    if name == "be_json_parseable":
        return _each(texts, lambda text: _reads(json.loads, text))
    if name == "match_strftime_format":
        layout = given["strftime_format"]
        return _each(texts, lambda text: _reads(datetime.strptime, text, layout))
    negated = name.startswith("not_")
    if not name.removeprefix("not_").startswith(("match_regex", "match_like_pattern")):
        return None
    patterns = _patterns(given)
    if not patterns:
        return None
    try:
        for pattern in patterns:  # also where there are no texts
            pl.Series([""]).str.contains(pattern)
        found = [texts.str.contains(pattern) for pattern in patterns]
    except pl.exceptions.ComputeError:
        return None
    matches: pl.Series = reduce(and_ if given.get("match_on") == "all" else or_, found)
    return ~matches if negated else matches


def _each(texts: pl.Series, is_right: Callable[[str], bool]) -> pl.Series:
    return pl.Series([is_right(text) for text in texts], dtype=pl.Boolean)


def _patterns(given: Mapping[str, Any]) -> list[str]:
    if "like_pattern" in given or "like_pattern_list" in given:
        listed = given.get("like_pattern_list", [given.get("like_pattern")])
        return [_like_as_regex(pattern, given.get("escape")) for pattern in listed]
    return list(given.get("regex_list", [given.get("regex", "")]))


def _like_as_regex(pattern: str, escape: str | None) -> str:
    """Return a SQL LIKE pattern, which Great Expectations judges only in databases."""
    literal = iter(pattern)
    parts = {"%": ".*", "_": "."}
    spelled = [
        _escaped(next(literal, "")) if sign == escape else parts.get(sign, _escaped(sign))
        for sign in literal
    ]
    return rf"(?s)\A{''.join(spelled)}\z"


def _escaped(sign: str) -> str:
    return sign if sign.isalnum() or not sign else rf"\x{{{ord(sign):X}}}"


def _reads(read: Callable[..., object], *given: str) -> bool:
    try:
        read(*given)
    except (ValueError, RecursionError, OverflowError):
        return False
    return True

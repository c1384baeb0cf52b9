"""Rules about text whose verdict on a value depends on the value alone, in Python's own terms.

The definitions are those of Great Expectations: a pattern is searched for anywhere in the text,
and what is no JSON, or no time of the format, is at fault. Patterns are those of Python's `re`.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from feature_store_assets.declaration.expect import Expectation

Test = Callable[[str], bool]


def test_of(expectation: Expectation) -> Test | None:
    """Return what tells whether a text is right, or None if the rule is not about single texts."""
    given = expectation.kwargs
    name = expectation.name.removeprefix("column_values_to_")
    if name == "be_json_parseable":
        return lambda text: _reads(json.loads, text)
    if name == "match_strftime_format":
        layout = given["strftime_format"]
        return lambda text: _reads(datetime.strptime, text, layout)
    negated = name.startswith("not_")
    if not name.removeprefix("not_").startswith(("match_regex", "match_like_pattern")):
        return None
    patterns = _patterns(given)
    if not patterns:
        return None
    matches = _matching(patterns, all if given.get("match_on") == "all" else any)
    return (lambda text: not matches(text)) if negated else matches


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
        re.escape(next(literal, "")) if sign == escape else parts.get(sign, re.escape(sign))
        for sign in literal
    ]
    return rf"(?s)\A{''.join(spelled)}\Z"


def _matching(patterns: Iterable[str], quantifier: Callable[[Iterable[bool]], bool]) -> Test:
    searches = [re.compile(pattern).search for pattern in patterns]
    return lambda text: quantifier(search(text) is not None for search in searches)


def _reads(read: Callable[..., object], *given: str) -> bool:
    try:
        read(*given)
    except (ValueError, RecursionError, OverflowError):
        return False
    return True

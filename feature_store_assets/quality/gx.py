"""Running Great Expectations on pandas frames: quiet, side by side with the user's own context.

Nothing here is imported by Great Expectations' users at start: both it (seconds) and pandas load
inside the functions.
"""

import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import polars as pl

if TYPE_CHECKING:
    import pandas as pd

# The current context is one per process: two sessions at once would restore each other's.
_ONE_AT_A_TIME: Final = threading.Lock()
# COMPLETE is the format that lists every row at fault; the rows themselves stay out of it.
_RESULT_FORMAT: Final = {
    "result_format": "COMPLETE",
    "partial_unexpected_count": 0,
    "exclude_unexpected_values": True,
    "return_unexpected_index_query": False,
}
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_HARMLESS: Final = re.compile(
    r"""['"](?:[<>=!]=?|str|int|float|bool|NoneType|list|dict|Timestamp|datetime\.date(?:time)?)['"]"""
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One expectation for Great Expectations: its name without `expect_`, and its arguments."""

    name: str
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `error` says why there is no verdict, `found` is the result mapping."""

    success: bool
    found: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def rows(self) -> list[int]:
        """The index labels of the rows at fault."""
        return list(self.found.get("unexpected_index_list") or ())


class Validate(Protocol):
    """Judge a frame; the answers come in the order of the questions."""

    def __call__(self, frame: "pd.DataFrame", asks: Sequence[Ask]) -> list[Answer]: ...


@contextmanager
def session() -> Iterator[Validate]:
    """Open an ephemeral context of our own and put the user's current one back afterwards."""
    with warnings.catch_warnings():
        # Great Expectations imports modules that Python deprecates.
        warnings.filterwarnings("ignore", "module 'sre_", DeprecationWarning)
        import great_expectations
    from great_expectations.data_context.data_context.context_factory import project_manager
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
    )
    from great_expectations.exceptions.exceptions import DataContextRequiredError

    with _ONE_AT_A_TIME:
        try:
            theirs = project_manager.get_current_project()
        except DataContextRequiredError:
            theirs = None
        try:
            # The defaults would leave an empty folder for documentation pages behind each time.
            stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
            context: Any = great_expectations.get_context(
                mode="ephemeral", project_config=DataContextConfig(store_backend_defaults=stores)
            )
            context.variables.progress_bars = {"globally": False}
            asset = context.data_sources.add_pandas("partitions").add_dataframe_asset("rows")
            batch = asset.add_batch_definition_whole_dataframe("all")

            def validate(frame: "pd.DataFrame", asks: Sequence[Ask]) -> list[Answer]:
                return _validated(batch, frame, asks)

            yield validate
        finally:
            project_manager.set_project(theirs)


def _validated(batch: Any, frame: "pd.DataFrame", asks: Sequence[Ask]) -> list[Answer]:
    from great_expectations import ExpectationSuite
    from great_expectations.expectations.registry import get_expectation_impl
    from great_expectations.validator.v1_validator import Validator

    answers: dict[int, Answer] = {}
    suite: list[Any] = []
    for number, ask in enumerate(asks):
        try:
            check = get_expectation_impl(f"expect_{ask.name}")
            suite.append(check(**ask.kwargs, meta={"number": number}))
        except Exception as error:  # noqa: BLE001  # of many kinds; each means "cannot be judged"
            answers[number] = Answer(success=False, error=_told(str(error), frame))
    if suite:
        validator = Validator(
            batch_definition=batch,
            batch_parameters={"dataframe": frame},
            result_format=_RESULT_FORMAT,
        )
        with warnings.catch_warnings():
            # numpy warns of infinite values on the way to a NaN that is reported anyway.
            warnings.simplefilter("ignore", RuntimeWarning)
            outcome: Any = validator.validate_expectation_suite(
                ExpectationSuite(name="all", expectations=suite)
            )
        # Results come in another order than asked, hence the numbers.
        for result in outcome.results:
            answers[result.expectation_config.meta["number"]] = _answer(result, frame)
    silent = Answer(success=False, error="Great Expectations gave no result")
    return [answers.get(number, silent) for number in range(len(asks))]


def _answer(result: Any, frame: "pd.DataFrame") -> Answer:
    info = result.exception_info or {}
    # Either flat, or one entry for each metric that failed (issue 10849 there).
    entries = [info] if "raised_exception" in info else list(info.values())
    for entry in entries:
        if entry.get("raised_exception"):
            return Answer(success=False, error=_told(entry.get("exception_message"), frame))
    return Answer(success=bool(result.success), found=result.result or {})


def _told(message: str | None, frame: "pd.DataFrame") -> str:
    """Return the first line of an error; what it quotes may be a value of the data."""
    lines = (message or "").strip().splitlines()

    def shown(match: re.Match[str]) -> str:
        quoted = match.group()
        return quoted if _HARMLESS.fullmatch(quoted) or quoted[1:-1] in frame.columns else "'...'"

    return _QUOTED.sub(shown, lines[0]).rstrip(".") if lines else "an error without a message"


def to_pandas(frame: pl.DataFrame, index: Sequence[int] | None = None) -> "pd.DataFrame":
    """Return a frame that Great Expectations judges rightly.

    Floats and timestamps as numpy, so that NaN counts as missing and bounds compare; all else
    as Arrow, so that integers stay exact beside nulls.
    """
    import pandas as pd

    columns: dict[str, Any] = {}
    for series in frame:
        arrow = series.to_arrow(compat_level=pl.CompatLevel.oldest())
        if series.dtype.is_float() or isinstance(series.dtype, pl.Datetime):
            columns[series.name] = arrow.to_pandas()
        else:
            columns[series.name] = pd.Series(pd.arrays.ArrowExtensionArray(arrow))
    shaped = pd.DataFrame(columns, index=range(frame.height))
    if index is not None:
        shaped.index = pd.Index(index)
    return shaped

"""Hypothesis strategies for histories and spines: few keys and instants, so that ties happen."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

START = datetime(2024, 3, 30, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

# Around a European clock change, some a microsecond apart.
instants = st.builds(
    lambda hours, micros: START + timedelta(hours=hours, microseconds=micros),
    st.integers(0, 40),
    st.integers(-1, 1),
)
ttls = st.one_of(st.none(), st.integers(0, 20).map(lambda hours: timedelta(hours=hours)))
KEY_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(0, 2),
    "string": st.sampled_from(["a", "b", "1", "", "6f2c1e0a-7b54-4c8f-9d3e-2a1b0c9d8e7f"]),
    "timestamp[us, UTC]": st.sampled_from([START, START + MICROSECOND]),
    "date32": st.sampled_from([date(2024, 3, 30), date(2024, 3, 31)]),
}
values = st.fixed_dictionaries(
    {"x": st.one_of(st.none(), st.integers(-5, 5)), "y": st.one_of(st.none(), st.floats(0, 1))}
)


def histories_of(keys: dict[str, str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Histories by keys, name -> type; unique by (keys, event, created)."""
    drawn = st.fixed_dictionaries({name: KEY_VALUES[kind] for name, kind in keys.items()})
    rows = st.tuples(drawn, instants, instants, values).map(
        lambda row: {**row[0], "event": row[1], "created": row[2], **row[3]}
    )
    return st.lists(
        rows,
        max_size=25,
        unique_by=lambda row: (*(row[name] for name in keys), row["event"], row["created"]),
    )


def spines(keys: dict[str, str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Spines with keys, some of them null, a time and a label."""
    holes = st.fixed_dictionaries(
        {name: st.one_of(st.none(), KEY_VALUES[kind]) for name, kind in keys.items()}
    )
    rows = st.tuples(holes, instants, st.integers()).map(
        lambda row: {**row[0], "t": row[1], "label": row[2] % 100}
    )
    return st.lists(rows, max_size=15)


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, str], list[dict[str, Any]], list[dict[str, Any]]]:
    """Draw key types, a history unique by (keys, event, created), and a spine."""
    kinds = draw(st.lists(st.sampled_from(sorted(KEY_VALUES)), min_size=1, max_size=2))
    keys = {f"k{number}": kind for number, kind in enumerate(kinds)}
    return keys, draw(histories_of(keys)), draw(spines(keys))

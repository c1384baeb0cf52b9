"""Declarations drawn at random: every field of each, now and then."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from feature_store_assets.declaration.expect import expect
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.declaration.types import SCALARS

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
WORDS = st.from_regex(r"[a-z0-9_.-]{1,8}", fullmatch=True)
TAGS = st.dictionaries(WORDS, WORDS, max_size=2)
OWNERS = st.lists(st.sampled_from(["team:growth", "ada@example.org"]), max_size=2)
SPANS = st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(days=4000))

_MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**53), 2**53),
    "float64": st.floats(-1e6, 1e6),
    "bool": st.booleans(),
    "string": st.text(max_size=5),
    "date32": st.dates(),
    "timestamp[us, UTC]": st.datetimes(timezones=st.just(UTC)),
}


@st.composite
def features(draw: st.DrawFn, name: str) -> Feature:
    dtype = draw(st.sampled_from([*SCALARS, "list<float64>"]))
    given: dict[str, Any] = {"unique": dtype in SCALARS and draw(st.booleans())}
    if dtype in {"int64", "float64"}:
        low, high = sorted(draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9))))
        given |= {"ge": draw(st.none() | st.just(low)), "le": draw(st.none() | st.just(high))}
    if dtype in SCALARS:
        members = st.lists(_MEMBERS[dtype], min_size=1, max_size=3)
        given["one_of"] = draw(st.none() | members)
    if dtype == "string":
        given["regex"] = draw(st.none() | st.sampled_from(["^a", "b+$"]))
    pii = draw(st.booleans())
    return Feature(
        name,
        dtype,
        draw(st.text(max_size=5)),
        nullable=draw(st.booleans()),
        owner=draw(st.none() | st.just("team:growth")),
        tags=draw(TAGS),
        pii=pii,
        mask=draw(st.sampled_from([None, "hash", "redact"])) if pii else None,
        derived_from=draw(st.lists(st.just("orders.amount"), max_size=2)),
        **given,
    )


@st.composite
def entities(draw: st.DrawFn) -> Entity:
    kinds = st.sampled_from([None, "int64", "string", "bool", "date32", "timestamp[us, UTC]"])
    keys = draw(st.dictionaries(NAMES.map("k_{}".format), kinds, min_size=1, max_size=3))
    return Entity(draw(NAMES), keys, draw(st.text(max_size=5)))


DAILY = Partitions(
    "daily", datetime(2024, 1, 1, tzinfo=UTC), timezone="UTC", cron="0 0 * * *", fmt="%Y-%m-%d"
)
PARTITIONS = [None, DAILY, Partitions.calendar(["year"])]


@st.composite
def groups(draw: st.DrawFn) -> FeatureGroup:
    names = draw(st.lists(NAMES.map("f_{}".format), min_size=1, max_size=4, unique=True))
    checks = [
        expect.column_values_to_not_be_null(names[0], severity="warning"),
        expect.table_row_count_to_be_between(min_value=1, max_value=10),
        expect.column_distinct_values_to_be_in_set(names[0], value_set={date(2024, 1, 1)}),
    ]
    return FeatureGroup(
        draw(NAMES),
        entity=draw(entities()),
        features=[draw(features(name)) for name in names],
        timestamp=draw(st.sampled_from(["event_timestamp", "at"])),
        created=draw(st.sampled_from([None, "arrived", "created_timestamp"])),
        version=draw(st.integers(1, 3)),
        description=draw(st.text(max_size=5)),
        partitions=draw(st.sampled_from(PARTITIONS)),
        upstream=draw(st.lists(NAMES, max_size=2)),
        expectations=draw(st.lists(st.sampled_from(checks), max_size=2)),
        closed=draw(st.sampled_from(["left", "right"])),
        timezone=draw(st.sampled_from([None, "Europe/Paris"])),
        ttl=draw(SPANS),
        freshness=draw(SPANS),
        retention=draw(SPANS),
        online=draw(st.booleans()),
        per_partition=draw(st.booleans()),
        owners=draw(OWNERS),
        tags=draw(TAGS),
    )

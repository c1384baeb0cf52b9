"""Feature groups: what is computed or pushed together, for one entity, as one table."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from feature_store_assets.declaration.canonical import duration, group_hash, seconds
from feature_store_assets.declaration.drift import Drift, fits
from feature_store_assets.declaration.expect import Expectation
from feature_store_assets.declaration.feature import (
    RESERVED,
    Entity,
    Feature,
    Pairs,
    checked_name,
    checked_owners,
    checked_tags,
)
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.declaration.slots import is_empty, moved
from feature_store_assets.errors import DeclarationError, FeatureNotFound, suggestion

Closed = Literal["left", "right"]
NewFeatures = Literal["draft", "refuse"]
Function = Callable[..., Any]
_SPANS = ("ttl", "freshness", "freshness_warning", "retention")

# Parameters of an author's function that are no upstream assets.
OWN_PARAMETERS = frozenset({"window", "context"})


@dataclass(frozen=True)
class Window:
    """What a run of a group's function is to produce.

    `start` and `end` are UTC instants, half-open like the group's partitions: `[start, end)`, or
    `(start, end]` where the group says `closed="right"`. Both are None for a group without time
    partitions. `keys` are the partition keys asked for.
    """

    start: datetime | None
    end: datetime | None
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """Features of one group as a view takes them: (stored name, name in the view).

    `types` are theirs, in this order, as long as the group is at hand: they are not stored.
    """

    group: str
    version: int
    features: tuple[tuple[str, str], ...]
    types: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def rename(self, names: Mapping[str, str]) -> Self:
        """Give features other names in the view: `{"stored": "in the view"}`."""
        stored = [name for name, _ in self.features]
        for old, new in names.items():
            if old not in stored:
                raise FeatureNotFound(old, self.group, stored)
            checked_name(new, "feature")
        return replace(
            self, features=tuple((old, names.get(old, shown)) for old, shown in self.features)
        )


@dataclass(frozen=True)
class FeatureGroup:
    """A declared feature group; see `feature_group` for what most of the fields mean.

    Parameters
    ----------
    new_features
        What a push of columns that are not declared does: `"refuse"`, or `"draft"`, which adds
        them as draft features. Groups made by `register_feature` have `"draft"`.
    slots
        The features' places in online rows, once one was dropped; kept by the registry.
    """

    name: str
    _: KW_ONLY
    entity: Entity
    features: tuple[Feature, ...] = ()
    timestamp: str = "event_timestamp"
    created: str | None = None
    version: int = 1
    description: str = ""
    partitions: Partitions | None = None
    partition_by: tuple[tuple[str, str], ...] = ()
    upstream: tuple[str, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    closed: Closed = "left"
    timezone: str | None = None
    ttl: timedelta | None = None
    freshness: timedelta | None = None
    freshness_warning: timedelta | None = None
    retention: timedelta | None = None
    cron: str | None = None
    drift: tuple[Drift, ...] = ()
    online: bool = False
    per_partition: bool = False
    new_features: NewFeatures = "refuse"
    owners: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    slots: tuple[str, ...] = field(default=(), compare=False, repr=False)
    function: Function | None = field(default=None, compare=False, repr=False)
    ins: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    if TYPE_CHECKING:
        # What may be written; __post_init__ makes it what is stored.
        def __init__(
            self,
            name: str,
            *,
            entity: Entity,
            features: Sequence[Feature] = (),
            timestamp: str = "event_timestamp",
            created: str | None = None,
            version: int = 1,
            description: str = "",
            partitions: Any = None,
            partition_by: Pairs = (),
            upstream: Sequence[str] = (),
            expectations: Sequence[Expectation] = (),
            closed: Closed = "left",
            timezone: str | None = None,
            ttl: timedelta | None = None,
            freshness: timedelta | None = None,
            freshness_warning: timedelta | None = None,
            retention: timedelta | None = None,
            cron: str | None = None,
            drift: Sequence[Drift] = (),
            online: bool = False,
            per_partition: bool = False,
            new_features: NewFeatures = "refuse",
            owners: Sequence[str] = (),
            tags: Pairs = (),
            slots: Sequence[str] = (),
            function: Function | None = None,
            ins: Mapping[str, Any] = {},  # never made: the dataclass's own is
        ) -> None: ...

    def __post_init__(self) -> None:
        freeze = object.__setattr__
        checked_name(self.name, "feature group")
        partitions = self.partitions
        if partitions is not None and not isinstance(partitions, Partitions):
            freeze(self, "partitions", Partitions.of(partitions))
        freeze(self, "features", tuple(self.features))
        freeze(self, "expectations", tuple(self.expectations))
        freeze(self, "drift", tuple(self.drift))
        freeze(self, "owners", checked_owners(self.owners, self.name))
        freeze(self, "upstream", tuple(self.upstream))
        freeze(self, "slots", tuple(self.slots))
        freeze(self, "tags", checked_tags(dict(self.tags), self.name))
        freeze(self, "partition_by", tuple(sorted(dict(self.partition_by).items())))
        self._check_columns()
        self._check_quality()
        self._check_time()
        self._check_partition_by()

    def _check_columns(self) -> None:
        names = [feature.name for feature in self.features]
        for name in names:
            if names.count(name) > 1:
                raise DeclarationError(f"'{self.name}' declares the feature '{name}' twice.")
        fixed = [*self.entity.join_keys, self.timestamp, *([self.created] if self.created else [])]
        for name in fixed:
            if name in names:
                raise DeclarationError(
                    f"'{name}' of '{self.name}' is a key or a timestamp, not a feature as well."
                )
            if name in RESERVED and name != self.created:
                raise DeclarationError(f"'{name}' is a column of every table: rename it.")
        if len(set(fixed)) < len(fixed):
            raise DeclarationError(f"'{self.name}' uses a column twice: {', '.join(fixed)}.")

    def _check_quality(self) -> None:
        fixed = [*self.entity.join_keys, self.timestamp, *([self.created] if self.created else [])]
        names = self.feature_names
        for expectation in self.expectations:
            for column in expectation.columns:
                if column not in names and column not in fixed:
                    raise FeatureNotFound(column, self.name, [*names, *fixed])
            kept = [each.name for each in self.features if not each.pii]
            if expectation.kwargs.get("method") == "reference" and expectation.column not in kept:
                raise DeclarationError(
                    f"Outliers of '{expectation.column}' cannot be told by reference: no "
                    f"statistics are kept of keys, times and personal features. Take another "
                    f"method."
                )
        for rule in self.drift:
            for name in rule.features:
                feature = self.feature(name)
                if not fits(rule.metric, feature.dtype, pii=feature.pii):
                    whose = "a personal feature" if feature.pii else feature.dtype
                    raise DeclarationError(
                        f"The drift of '{name}' cannot be measured by {rule.metric}: it is {whose}."
                    )

    def _check_time(self) -> None:
        if self.version < 1:
            raise DeclarationError(f"Versions of '{self.name}' start at 1, not {self.version}.")
        for what, allowed in (("closed", Closed), ("new_features", NewFeatures)):
            if (given := getattr(self, what)) not in get_args(allowed):
                ways = " or ".join(map(repr, get_args(allowed)))
                raise DeclarationError(f"{what} of '{self.name}' is {ways}, not '{given}'.")
        for what in _SPANS:
            span: timedelta | None = getattr(self, what)
            if span is not None and span <= timedelta(0):
                raise DeclarationError(f"{what} of '{self.name}' must be longer than nothing.")
        warned = self.freshness_warning
        if warned is not None and (self.freshness is None or warned >= self.freshness):
            raise DeclarationError(
                f"freshness_warning of '{self.name}' must be shorter than its freshness, "
                f"{self.freshness}."
            )
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (ZoneInfoNotFoundError, ValueError):
                raise DeclarationError(f"'{self.timezone}' is no time zone.") from None

    def _check_partition_by(self) -> None:
        partitions = self.partitions
        wanted: set[str] = set()
        if partitions is not None and partitions.kind == "static":
            wanted = {"static"}
        if partitions is not None and partitions.kind == "multi":
            wanted = {name for name, part in partitions.dimensions if not part.is_time}
        given = dict(self.partition_by)
        if set(given) != wanted:
            example = dict.fromkeys(sorted(wanted), "column")
            raise DeclarationError(
                f"partition_by of '{self.name}' must say which column holds each dimension's key: "
                f"partition_by={example}, not {given}."
            )
        known = [*self.entity.join_keys, *self.feature_names]
        for column in given.values():
            if column not in known:
                raise FeatureNotFound(column, self.name, known)

    @property
    def materialized(self) -> bool:
        """True for groups that Dagster computes, false for groups that are pushed to."""
        return self.partitions is None or self.partitions.kind != "calendar"

    @property
    def revised(self) -> bool:
        """Whether a fact, (keys, event timestamp), may be stored more than once."""
        return self.created is not None or not self.materialized or bool(self.partition_by)

    @property
    def feature_names(self) -> list[str]:
        return [feature.name for feature in self.features]

    @property
    def personal(self) -> list[str]:
        """The features of which no value may be shown or kept beside the rows."""
        return [feature.name for feature in self.features if feature.pii]

    @property
    def confidential(self) -> list[str]:
        """The join keys and the personal features: columns that are masked in samples."""
        return [*self.entity.join_keys, *self.personal]

    @property
    def all_expectations(self) -> tuple[Expectation, ...]:
        """The features' bounds, then the declared expectations, each once."""
        bounds = (rule for feature in self.features for rule in feature.expectations)
        return tuple(dict.fromkeys((*bounds, *self.expectations)))

    @property
    def vacuous_expectations(self) -> tuple[Expectation, ...]:
        """The bounds of features that may be null, which hold where all values are missing."""
        bounds = (rule for each in self.features if each.nullable for rule in each.expectations)
        return tuple(rule for rule in bounds if rule not in self.expectations)

    def feature(self, name: str) -> Feature:
        """Return the feature of that name."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise FeatureNotFound(name, self.name, self.feature_names)

    def __getitem__(self, names: str | tuple[str, ...]) -> Selection:
        chosen = [self.feature(name) for name in ((names,) if isinstance(names, str) else names)]
        pairs = tuple((each.name, each.name) for each in chosen)
        return Selection(self.name, self.version, pairs, tuple(each.dtype for each in chosen))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the author's function as it is, for tests."""
        if self.function is None:
            raise DeclarationError(f"'{self.name}' was read from the registry: it has no function.")
        return self.function(*args, **kwargs)

    def to_json(self) -> dict[str, Any]:
        """Return what is declared; defaults are left out, so that new ones change no hash."""
        full: dict[str, Any] = {
            "name": self.name,
            "entity": self.entity.to_json(),
            "features": [feature.to_json() for feature in self.features],
            "timestamp": self.timestamp,
            "created": self.created,
            "version": self.version,
            "description": self.description,
            "partitions": None if self.partitions is None else self.partitions.to_json(),
            "partition_by": dict(self.partition_by) or None,
            "upstream": list(self.upstream) or None,
            "expectations": [rule.to_json() for rule in self.expectations] or None,
            "closed": self.closed if self.closed != "left" else None,
            "timezone": self.timezone,
            "ttl": seconds(self.ttl),
            "freshness": seconds(self.freshness),
            "freshness_warning": seconds(self.freshness_warning),
            "retention": seconds(self.retention),
            "cron": self.cron,
            "drift": [rule.to_json() for rule in self.drift] or None,
            "online": self.online or None,
            "per_partition": self.per_partition or None,
            "new_features": self.new_features if self.new_features != "refuse" else None,
            "slots": list(self.slots) or None,
            "owners": list(self.owners) or None,
            "tags": dict(self.tags) or None,
        }
        return {key: value for key, value in full.items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        given = dict(value)
        if unknown := given.keys() - _STORED:
            raise DeclarationError(f"A stored group has no field '{min(unknown)}'.")
        partitions = given.get("partitions")
        given["partitions"] = None if partitions is None else Partitions.from_json(partitions)
        given["entity"] = Entity.from_json(given["entity"])
        given["features"] = tuple(Feature.from_json(each) for each in given["features"])
        given["upstream"] = tuple(given.get("upstream", ()))
        given["expectations"] = tuple(
            Expectation.from_json(each) for each in given.get("expectations", ())
        )
        given["drift"] = tuple(Drift.from_json(each) for each in given.get("drift", ()))
        for span in _SPANS:
            given[span] = duration(given.get(span))
        group = cls(**given)
        # Code that had no such field took new columns of pushes wherever it had made the group.
        registered = any({"type", "stage"} & dict(each.tags).keys() for each in group.features)
        if "new_features" not in given and not group.materialized and registered:
            return replace(group, new_features="draft")
        return group

    @property
    def hash(self) -> str:
        """32 hex digits that name the declared content, whatever the features' order and slots."""
        return group_hash(self.to_json())

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Name and type of the feature in each slot of an online row; no name where it is empty."""
        types = {feature.name: feature.dtype for feature in self.features}
        slots = self.slots or self.feature_names
        return tuple((name, types[name]) if name in types else ("", "int64") for name in slots)

    def in_order_of(self, older: Self) -> Self:
        """Return the group with features in the order in which they were added to its table."""
        place = {name: index for index, name in enumerate(older.feature_names)}
        known = sorted(self.features, key=lambda feature: place.get(feature.name, len(place)))
        slots = moved(older.slots or older.feature_names, [feature.name for feature in known])
        dropped = any(map(is_empty, slots))
        return replace(self, features=tuple(known), slots=slots if dropped else ())


_STORED = {each.name for each in fields(FeatureGroup)} - {"function", "ins"}


def feature_group(
    *,
    entity: Entity,
    features: Sequence[Feature],
    timestamp: str = "event_timestamp",
    created: str | None = None,
    name: str | None = None,
    version: int = 1,
    partitions: Any = None,
    partition_by: Mapping[str, str] | None = None,
    ins: Mapping[str, Any] | None = None,
    expectations: Sequence[Expectation] = (),
    closed: Closed = "left",
    timezone: str | None = None,
    ttl: timedelta | None = None,
    freshness: timedelta | None = None,
    freshness_warning: timedelta | None = None,
    retention: timedelta | None = None,
    cron: str | None = None,
    drift: Sequence[Drift] = (),
    online: bool = False,
    per_partition: bool = False,
    owners: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> Callable[[Function], FeatureGroup]:
    """Declare a feature group by the function that computes it.

    Parameters
    ----------
    entity, features
        What the rows describe, and the columns that describe it.
    timestamp
        The column that says when the fact was known.
    created
        The column that says when the row was recorded, where the data has one: corrections then
        never leak into training. Without it the write time is kept.
    name, version
        The function's name by default. A breaking change needs the next version.
    partitions, partition_by
        Dagster's partitions; for static and multi ones the column that holds each key.
    ins
        Dagster's `AssetIn` for parameters of the function that need one (look-back, mappings).
    expectations
        `expect.*` checks beside the features' own bounds.
    closed
        Which end of its window a partition holds: `"left"`, `[start, end)`, or `"right"`,
        `(start, end]`, for rows that sum up a period and are known at its end.
    timezone
        The zone of naive timestamps in the data; without it they are refused.
    ttl
        How long a value stays true, offline and online alike.
    freshness, freshness_warning
        After how long the group is stale, and after how long it is about to be.
    retention
        How long its partitions are kept.
    cron
        When the newest partition is asked for by itself, once its upstream assets are there
        (`"0 6 * * *"`, in UTC); Dagster's automation sensor must be on.
    drift
        How far a partition's values may lie from those before; see `Drift`.
    online
        Serve the newest row of each entity.
    per_partition
        Call the function key by key: for groups that read their own past.
    owners, tags
        E-mail addresses or `team:name`; words to find it by.

    Returns
    -------
    A decorator that turns a function into a `FeatureGroup`. The names of the function's
    parameters are its upstream assets; `window` and `context` are given if asked for.
    """

    def declare(function: Function) -> FeatureGroup:
        parameters = list(inspect.signature(function).parameters)
        upstream = tuple(each for each in parameters if each not in OWN_PARAMETERS)
        group = FeatureGroup(
            name or function.__name__,
            entity=entity,
            features=features,
            timestamp=timestamp,
            created=created,
            version=version,
            description=inspect.cleandoc(function.__doc__ or ""),
            partitions=partitions,
            partition_by=partition_by or {},
            upstream=upstream,
            expectations=expectations,
            closed=closed,
            timezone=timezone,
            ttl=ttl,
            freshness=freshness,
            freshness_warning=freshness_warning,
            retention=retention,
            cron=cron,
            drift=drift,
            online=online,
            per_partition=per_partition,
            owners=owners,
            tags=tags or {},
            function=function,
            ins=dict(ins or {}),
        )
        _check_computed(group)
        return group

    return declare


def _check_computed(group: FeatureGroup) -> None:
    """Refuse a computed group without features, or with inputs that its function does not take."""
    if not group.features:
        raise DeclarationError(f"'{group.name}' declares no features.")
    for parameter in group.ins:
        if parameter not in group.upstream:
            raise DeclarationError(
                f"ins names '{parameter}', but the function of '{group.name}' takes no such "
                f"parameter." + suggestion(parameter, group.upstream)
            )

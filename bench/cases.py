"""The cases of the point-in-time join: what is asked of whom, and what is aimed at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from bench.children import Limits, Outcome
from bench.measuring import aim
from bench.shapes import Group, Shape, Spine
from feature_store_assets import FeatureStoreConfig

Aim = Callable[[Mapping[str, Outcome]], str]

_WEEK = timedelta(days=7)
_MONTH = timedelta(days=30)
_DAY = timedelta(days=1)
_LIMITS = Limits()


@dataclass(frozen=True)
class Run:
    """One contender's part: its label in the table, its spine, settings of our store."""

    label: str
    spine: Spine
    contender: str = ""
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def who(self) -> str:
        return self.contender or self.label


@dataclass(frozen=True)
class Question:
    """One line: the runs take turns, and the first is what the others are compared with."""

    title: str
    shape: Shape
    runs: tuple[Run, ...]
    ttl: timedelta | None = None
    pandas: bool = False
    aims: tuple[Aim, ...] = ()
    limits: Limits = _LIMITS
    sample: int = 1000
    chart: str = ""

    def scaled(self, divisor: int) -> "Question":
        """Return the same question about so many times fewer rows."""
        runs = [
            replace(run, spine=replace(run.spine, rows=run.spine.rows // divisor))
            for run in self.runs
        ]
        return replace(
            self,
            title=f"{self.title} (sizes / {divisor})",
            shape=self.shape.scaled(divisor),
            runs=tuple(runs),
        )


@dataclass(frozen=True)
class Case:
    about: str
    questions: tuple[Question, ...]


def _ratio(of: str, label: str, base: str, outcomes: Mapping[str, Outcome]) -> float:
    """Return how many times one costs of another; without end for one that was stopped."""
    if outcomes[label].stopped:
        return float("inf")
    ratio: float = getattr(outcomes[label], of) / getattr(outcomes[base], of)
    return ratio


def _at_least(of: str, times: float, label: str, base: str = "ours") -> Aim:
    def judge(outcomes: Mapping[str, Outcome]) -> str:
        ratio = _ratio(of, label, base, outcomes)
        found = outcomes[label].stopped or f"{ratio:.1f}x"
        asked = f"{of} of {label} >= {times:g}x that of {base}"
        return aim(asked, met=ratio >= times) + f" ({found})"

    return judge


def _at_most(of: str, times: float, label: str) -> Aim:
    def judge(outcomes: Mapping[str, Outcome]) -> str:
        ratio = 1 / _ratio(of, label, "ours", outcomes)
        asked = f"{of} of ours <= {times:g}x that of {label}"
        return aim(asked, met=ratio <= times) + f" ({ratio:.2f}x)"

    return judge


def _memory(gigabytes: float) -> Aim:
    def judge(outcomes: Mapping[str, Outcome]) -> str:
        peak = outcomes["ours"].peak / 1e9
        return aim(f"peak of ours <= {gigabytes:g} GB", met=peak <= gigabytes) + f" ({peak:.2f} GB)"

    return judge


def _told(count: int) -> str:
    return f"{count // 1_000_000}M" if count % 1_000_000 == 0 else f"{count // 1000}k"


def _rivals(*names: str, spine: int) -> tuple[Run, ...]:
    return tuple(Run(name, Spine(spine)) for name in names)


def _one_group(
    name: str, rows: int, *, spine: int, floats: int, strings: int, rivals: tuple[str, ...]
) -> Question:
    """About 100 facts of each entity over 100 days."""
    group = Group("spending", rows, rows // 100, floats, strings)
    asked = f"{_told(rows)} rows x {floats + strings} features, {_told(spine)} asked"
    runs = _rivals("ours", "polars", "duckdb", *rivals, spine=spine)
    shape = Shape(name, (group,), 100, monthly=rows < 10_000_000)
    return Question(asked, shape, runs, chart=f"{_told(rows)} x {_told(spine)}")


def _with_ttl(question: Question, ttl: timedelta, *aims: Aim) -> Question:
    told = f"ttl {ttl.days} d"
    return replace(
        question,
        title=f"{question.title}, {told}",
        chart=question.chart and f"{question.chart}, {told}",
        ttl=ttl,
        aims=aims,
    )


def _small(name: str, rows: int, spine: int) -> Question:
    feast = ("feast-duckdb", "feast-file")
    aims = (_at_least("cpu", 8, "feast-duckdb"), _at_least("cpu", 34, "feast-file"))
    question = _one_group(name, rows, spine=spine, floats=10, strings=2, rivals=feast)
    return replace(question, aims=aims)


def _week(ttl: timedelta, times: float) -> Question:
    """The same number of questions about one week in the middle and about the whole year."""
    shape = Shape("week", (Group("spending", 10_000_000, 100_000, 20),), 365)
    middle = 180
    runs = (
        Run("ours, one week", Spine(100_000, middle, middle + _WEEK.days), "ours"),
        Run("ours, whole year", Spine(100_000), "ours"),
    )
    question = Question("10M rows x 20 features in a year, 100k asked", shape, runs)
    return _with_ttl(question, ttl, _at_least("wall", times, "ours, whole year", "ours, one week"))


def _groups() -> Question:
    keys = ("customer_id", "customer_id", "customer_id", "merchant_id", "merchant_id")
    groups = [
        Group(f"group_{number}", 1_000_000, 10_000, 10, key=key) for number, key in enumerate(keys)
    ]
    return Question(
        "5 groups of 1M rows x 10 features, two keys, 100k asked",
        Shape("groups", tuple(groups), 100),
        _rivals("ours", "polars", "feast-duckdb", spine=100_000),
        chart="5 groups of 1M",
    )


def _taxi(millions: int) -> Question:
    spine = millions * 1_000_000
    trips = Group("trips", spine, spine, 14, 2, key="row", key_type="int64", trips=True)
    pickups = Group("pickups", 774_000, 260, 2, 1, key="pu_location_id", key_type="int64")
    dropoffs = Group("dropoffs", 387_000, 260, 2, 1, key="do_location_id", key_type="int64")
    rivals = ("ours", "feast-duckdb") if millions == 1 else ("ours",)
    return Question(
        f"{millions}M trips and two groups by zone, to pandas",
        Shape(f"taxi_{millions}m", (trips, pickups, dropoffs), 31),
        _rivals(*rivals, spine=spine),
        pandas=True,
        chart=f"taxi, {millions}M" if millions == 1 else "",
    )


def _hundred() -> Question:
    group = Group("spending", 100_000_000, 1_000_000, 4, key_type="int64")
    spine = Spine(10_000_000)
    runs = [Run("ours", spine)]
    if "memory_limit" in FeatureStoreConfig.model_fields:
        runs.append(Run("ours, memory_limit=4GB", spine, "ours", (("memory_limit", "4GB"),)))
    return Question(
        "100M rows x 4 features in a year, 10M asked, ttl 30 d",
        Shape("100m", (group,), 365),
        tuple(runs),
        ttl=_MONTH,
        limits=Limits(seconds=900, gigabytes=18),
        sample=10_000,
    )


_1M = _small("1m", 1_000_000, 100_000)
_10M = _one_group(
    "10m", 10_000_000, spine=1_000_000, floats=20, strings=0, rivals=("feast-duckdb",)
)

CASES = {
    "300k": Case(
        "What Feast's users start with: about 100 rows of each of 3,000 customers.",
        (_small("300k", 300_000, 30_000),),
    ),
    "1m": Case("10,000 customers.", (_1M, _with_ttl(_1M, _MONTH, *_1M.aims))),
    "10m": Case(
        "100,000 customers over 100 days. Feast's `file` store is left out: see how it grows from "
        "300k to 1m.",
        (_with_ttl(_10M, _MONTH, _at_most("cpu", 1, "polars"), _memory(1.1)), _10M),
    ),
    "week": Case(
        "As many questions about one week in the middle of a year as about all of it: what files "
        "that cannot matter cost.",
        (_week(_MONTH, 5), _week(_DAY, 10)),
    ),
    "groups": Case("A view over five groups; Polars joins them one by one.", (_groups(),)),
    "taxi": Case(
        "The shape of the public recipe of featurestore.org (New York taxi trips; features by "
        "zone of pick-up in quarters of an hour, and of drop-off in half hours), not its data: "
        "three groups are joined and handed over as pandas, without a ttl.",
        tuple(_taxi(millions) for millions in (1, 2, 5, 10)),
    ),
    "100m": Case(
        "1M customers with whole numbers as keys; 10,000 rows are checked by brute force.",
        (_hundred(),),
    ),
}
# What runs when nothing is named: all but what takes a quarter of an hour.
USUAL = [name for name in CASES if name != "100m"]

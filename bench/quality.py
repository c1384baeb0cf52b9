"""The quality gate beside bare Polars and plain Great Expectations; its memory; drift; a year."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from bench.measuring import Row, aim, in_turn, once, versus
from feature_store_assets import Entity, Feature, FeatureGroup, FeatureStore, FeatureStoreConfig
from feature_store_assets.declaration.drift import Drift, Metric
from feature_store_assets.declaration.expect import Expectation, expect
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.ingestion.gate import Judged
from feature_store_assets.offline.schema import PARTITION
from feature_store_assets.quality.drift import measure
from feature_store_assets.quality.expectations import check
from feature_store_assets.quality.statistics import profile
from feature_store_assets.quality.verdicts import Verdict
from feature_store_assets_tests.orchestration.shop import START, customer, day

_ROWS, _PARTITIONS, _DAYS = 1_000_000, 10, 365
_FLOATS = [f"float_{number}" for number in range(20)]
_INTS = [f"int_{number}" for number in range(6)]
_STRINGS = [f"string_{number}" for number in range(4)]
_KINDS = [f"kind {number}" for number in range(40)]
_TYPES = {
    **dict.fromkeys(_FLOATS, "float64"),
    **dict.fromkeys(_INTS, "int64"),
    **dict.fromkeys(_STRINGS, "string"),
}
_METRICS: tuple[Metric, ...] = ("psi", "jensen_shannon", "ks")
_REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class Asked:
    """An expectation, and the number behind it as Polars computes it: rows at fault, or a value."""

    expectation: Expectation
    number: pl.Expr


def judge(folder: Path) -> Iterator[Row]:
    """50 and 200 checks of 1M rows x 30 columns, some with a few values at fault.

    20 columns of floats, 6 of integers, 4 of strings; checks of missing values, bounds, sets,
    means, medians, deviations, distinct values and outliers, with 200 of extremes, lengths and
    patterns too. Bare Polars computes the same counts and values in one call; it judges nothing and
    looks up no rows at fault. Great Expectations judges the whole pandas frame in its documented
    way (`batch.validate`), once, with its default result format; that the frame was made pandas'
    is not counted, and its import is counted nowhere.

    Memory beyond the frame is that of a fresh process which has judged a small frame and read
    the large one: the most that is resident during the check, less what was before it (VmHWM
    after a reset, VmRSS). The raw figure is the frame's size in Arrow.
    """
    frame = _frame()
    path = folder / "frame.arrow"
    frame.write_ipc(path)
    yield _beside_polars(frame, ["p0"])
    tenths = (pl.lit("p") + (pl.int_range(pl.len()) % _PARTITIONS).cast(pl.String)).alias(PARTITION)
    yield _beside_polars(
        frame.with_columns(tenths), [f"p{number}" for number in range(_PARTITIONS)]
    )
    yield _beside_great_expectations(frame)
    for number in (50, 200):
        yield _extra_memory(path, number)
    yield _drift()
    yield _year(folder)
    yield _loaded(folder / "store")


# ------------------------------------------------------------------ what is asked


def _frame(rows: int = _ROWS) -> pl.DataFrame:
    random = np.random.default_rng(7)
    floats = {name: random.standard_normal(rows) for name in _FLOATS}
    ints = {name: random.integers(0, 10_000, rows) for name in _INTS}
    kinds = pl.Series(_KINDS)
    strings = {name: kinds.gather(random.integers(0, len(kinds), rows)) for name in _STRINGS}
    index = pl.int_range(pl.len())
    return pl.DataFrame({**floats, **ints, **strings}).with_columns(
        pl.when(index % (rows // 4) != 0).then(pl.col(*_FLOATS[:3], *_INTS[:2], _STRINGS[0])),
        pl.lit("p0").alias(PARTITION),
    )


def _checks(number: int) -> list[Asked]:
    """Return 50 or 200 checks."""
    few = number == 50
    names, numbers = list(_TYPES), [*_FLOATS, *_INTS]
    asked = [
        *map(_not_null, names[:3] + names[-12:] if few else names),
        *(_between(name, 4.0) for name in (_FLOATS[:8] if few else _FLOATS)),
        *(_between(name, 9_999) for name in (_INTS[:4] if few else _INTS)),
        *map(_in_set, _STRINGS),
        *(_statistic("mean", name) for name in (numbers[-6:] if few else numbers)),
        *(_statistic("median", name) for name in (numbers[:2] if few else numbers)),
        *(_statistic("stdev", name) for name in (numbers[2:5] if few else numbers[:20])),
        *(_distinct(name) for name in (_INTS[:4] if few else [*_INTS[:2], *_STRINGS[:2]])),
        *map(_outliers, _FLOATS[:4]),
    ]
    if not few:
        asked += [_statistic("min", name) for name in numbers]
        asked += [_statistic("max", name) for name in numbers]
        asked += [*map(_length, _STRINGS), *map(_pattern, _STRINGS)]
    assert len(asked) == number
    return asked


def _not_null(name: str) -> Asked:
    return Asked(expect.column_values_to_not_be_null(name), pl.col(name).null_count())


def _between(name: str, limit: float) -> Asked:
    asked = expect.column_values_to_be_between(name, min_value=-limit, max_value=limit, mostly=0.9)
    return Asked(asked, (~pl.col(name).is_between(-limit, limit)).sum())


def _in_set(name: str) -> Asked:
    asked = expect.column_values_to_be_in_set(name, value_set=_KINDS[1:], mostly=0.9)
    return Asked(asked, (~pl.col(name).is_in(_KINDS[1:])).sum())


def _statistic(kind: str, name: str) -> Asked:
    of = "std" if kind == "stdev" else kind
    values = pl.col(name).drop_nulls() if kind == "median" else pl.col(name)
    high = 10_000 if name in _INTS else 6
    declared = getattr(expect, f"column_{kind}_to_be_between")
    return Asked(declared(name, min_value=-high, max_value=high), getattr(values, of)())


def _distinct(name: str) -> Asked:
    asked = expect.column_unique_value_count_to_be_between(name, min_value=1, max_value=10_000)
    return Asked(asked, pl.col(name).drop_nulls().n_unique())


def _outliers(name: str) -> Asked:
    values = pl.col(name)
    low, high = (values.drop_nulls().quantile(share, "linear") for share in (0.25, 0.75))
    reach = 1.5 * (high - low)
    asked = expect.column_values_to_not_be_outliers(name, mostly=0.9)
    return Asked(asked, ((values < low - reach) | (values > high + reach)).sum())


def _length(name: str) -> Asked:
    asked = expect.column_value_lengths_to_be_between(name, min_value=6, max_value=7)
    return Asked(asked, (~pl.col(name).str.len_chars().is_between(6, 7)).sum())


def _pattern(name: str) -> Asked:
    asked = expect.column_values_to_match_regex(name, regex=r"^kind \d+$")
    return Asked(asked, (~pl.col(name).str.contains(r"^kind \d+$")).sum())


# ------------------------------------------------------------------ beside others


def _beside_polars(frame: pl.DataFrame, keys: list[str]) -> Row:
    asked = _checks(50)
    numbers = [each.number.alias(str(at)) for at, each in enumerate(asked)]

    def bare() -> pl.DataFrame:
        if len(keys) == 1:
            return frame.select(pl.lit(keys[0]).alias(PARTITION), *numbers)
        return frame.group_by(PARTITION).agg(numbers)

    _assert_numbers(_ours(frame, asked, keys), asked, bare())
    mine, plain = in_turn(lambda: _ours(frame, asked, keys), bare, repetitions=3)
    where = "" if len(keys) == 1 else f" in {len(keys)} partitions"
    allowed = 1.5 * plain.wall + 0.5
    return versus(
        f"gate: 50 checks of 1M rows x 30{where}; bare Polars",
        mine,
        plain,
        aim("<= 1.5x + 0.5 s", met=mine.wall <= allowed),
    )


def _ours(frame: pl.DataFrame, asked: Sequence[Asked], keys: Sequence[str]) -> list[Verdict]:
    expectations = [each.expectation for each in asked]
    return check(frame, expectations, partitions=keys, features=_TYPES)


def _assert_numbers(verdicts: list[Verdict], asked: Sequence[Asked], bare: pl.DataFrame) -> None:
    found = {(verdict.expectation, verdict.partition): verdict for verdict in verdicts}
    for row in bare.iter_rows(named=True):
        for at, each in enumerate(asked):
            verdict, number = found[each.expectation, row[PARTITION]], row[str(at)]
            if verdict.unexpected_count is not None:
                assert verdict.unexpected_count == number, verdict
            else:
                assert isinstance(verdict.observed, int | float), verdict
                assert abs(verdict.observed - number) < 1e-9 * max(1, abs(number)), verdict


def _beside_great_expectations(frame: pl.DataFrame) -> Row:
    asked = _checks(200)
    judge_all = _great_expectations(frame.drop(PARTITION), [each.expectation for each in asked])
    outcome: list[tuple[bool, int | None]] = []
    whole = once(lambda: outcome.extend(judge_all()))
    verdicts = _ours(frame, asked, ["p0"])
    mine = in_turn(lambda: _ours(frame, asked, ["p0"]), repetitions=3)[0]
    found = {verdict.expectation: verdict for verdict in verdicts}
    for each, (success, unexpected) in zip(asked, outcome, strict=True):
        verdict = found[each.expectation]
        assert (verdict.outcome == "passed") == success, verdict
        assert verdict.unexpected_count == unexpected, verdict
    return versus(
        "gate: 200 checks of 1M rows x 30; Great Expectations on the frame",
        mine,
        whole,
        aim(">= 8x faster", met=whole.wall >= 8 * mine.wall),
    )


def _great_expectations(
    frame: pl.DataFrame, expectations: Sequence[Expectation]
) -> Callable[[], list[tuple[bool, int | None]]]:
    """Return what judges a pandas frame as the documentation of Great Expectations does."""
    import great_expectations as gx
    import great_expectations.expectations as gxe

    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("bench").add_dataframe_asset("frame")
    definition = asset.add_batch_definition_whole_dataframe("all")
    suite = gx.ExpectationSuite(
        name="checks",
        expectations=[
            getattr(gxe, f"Expect{each.name.title().replace('_', '')}")(
                **each.kwargs, meta={"number": number}
            )
            for number, each in enumerate(expectations)
        ],
    )
    pandas = frame.to_pandas()

    def judge_all() -> list[tuple[bool, int | None]]:
        outcome: Any = definition.get_batch({"dataframe": pandas}).validate(suite)
        found = {each.expectation_config.meta["number"]: each for each in outcome.results}
        ordered = [found[number] for number in range(len(expectations))]
        return [(bool(each.success), each.result.get("unexpected_count")) for each in ordered]

    return judge_all


# ------------------------------------------------------------------ memory


def _extra_memory(path: Path, number: int) -> Row:
    program = f"from bench.quality import print_extra_memory as p; p({str(path)!r}, {number})"
    extra, size = json.loads(_child(program))
    return Row(
        f"gate: memory beyond the frame, {number} checks; the frame",
        f"{extra / 1e6:.0f} MB",
        f"{size / 1e6:.0f} MB",
        f"{extra / size:.2f}",
        aim("<= 1x", met=extra <= size),
    )


def print_extra_memory(path: str, number: int) -> None:
    """Check a frame in this fresh process; print how many bytes that took, and the frame's."""
    asked = _checks(number)
    _ours(_frame(1000), asked, ["p0"])
    with pa.OSFile(path, "rb") as file:
        table = pa.ipc.open_file(file).read_all()
    frame = pl.DataFrame(table)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    _ours(frame, asked, ["p0"])
    print(json.dumps([_resident("VmHWM") - before, table.nbytes]))


def _resident(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{what}:")).split()[1]) * 1024


# ------------------------------------------------------------------ drift


def _drift() -> Row:
    """20 columns of 1M rows against kept profiles; numpy also sorts the reference's rows.

    PSI and the Jensen-Shannon distance are to equal numpy's, KS is to lie within its bound.
    """
    random = np.random.default_rng(3)
    usual = pl.DataFrame({name: random.standard_normal(_ROWS) for name in _FLOATS})
    now = usual.select(pl.all().shuffle(seed=1) * 1.02 + 0.01)
    kept = profile(
        usual.with_columns(pl.lit("p0").alias(PARTITION)), partitions=["p0"], features=_FLOATS
    )["p0"]

    def ours() -> dict[str, dict[str, float]]:
        return {name: measure(kept[name], now[name], _METRICS) for name in _FLOATS}

    def plain() -> dict[str, dict[str, float]]:
        return {name: _by_numpy(usual[name], now[name]) for name in _FLOATS}

    exact: dict[str, dict[str, float]] = {}
    raw = once(lambda: exact.update(plain()))
    for name, found in ours().items():
        assert all(abs(found[m] - exact[name][m]) < 1e-9 for m in ("psi", "jensen_shannon"))
        assert abs(found["ks"] - exact[name]["ks"]) <= 0.01 + 1 / _ROWS
    mine = in_turn(ours, repetitions=3)[0]
    return versus(
        "drift: PSI, JS, KS of 20 columns of 1M rows; numpy",
        mine,
        raw,
        aim("<= 3 s", met=mine.wall <= 3),
    )


def _by_numpy(usual: pl.Series, now: pl.Series) -> dict[str, float]:
    before, after = np.sort(usual.to_numpy()), np.sort(now.to_numpy())
    deciles = np.quantile(before, np.arange(1, 10) / 10)
    p, q = (
        np.diff(np.searchsorted(side, deciles, side="right"), prepend=0, append=_ROWS) / _ROWS
        for side in (before, after)
    )
    middle = (p + q) / 2
    divergence = np.sum(p * np.log2(p / middle) + q * np.log2(q / middle)) / 2
    both = np.concatenate((before, after))
    up_to = [np.searchsorted(side, both, side="right") / _ROWS for side in (before, after)]
    return {
        "psi": float(np.sum((q - p) * np.log(q / p))),
        "jensen_shannon": float(np.sqrt(divergence)),
        "ks": float(np.max(np.abs(up_to[0] - up_to[1]))),
    }


# ------------------------------------------------------------------ a year


def _year(folder: Path) -> Row:
    """365 days of 1000 rows x 20 features: bounds, missing values, statistics, drift, one call."""
    group = FeatureGroup(
        "readings",
        entity=customer,
        features=[Feature(name, "float64", ge=-8, le=8, nullable=False) for name in _FLOATS],
        partitions=Partitions.calendar(["year", "month", "day"]),
        drift=[
            Drift("psi", at_most=0.2),
            Drift("ks", at_most=0.2),
            Drift("missing", at_most=0.1, severity="critical"),
        ],
    )
    keys = [day(number) for number in range(_DAYS)]
    rows = _days(keys)
    with FeatureStore(FeatureStoreConfig(storage_path=folder / "year")) as store:

        def ours() -> Judged:
            return store.review.gate.judge(group, rows, keys)

        judged = ours()
        assert list(judged.rejected) == [keys[100]]
        assert sum(map(len, judged.shifts.values())) == 3 * len(_FLOATS) * _DAYS
        drifted = {each.partition for found in judged.shifts.values() for each in found
                   if each.outcome == "failed"}  # fmt: skip
        assert drifted == {keys[200], keys[201]}
        cost = in_turn(ours, repetitions=1)[0]
    return Row(
        "gate: a year of days of 1k rows x 20, statistics and drift, in one pass",
        str(cost),
        "",
        f"{cost.wall / _DAYS * 1e3:.1f} ms a day",
        aim("<= 10 s", met=cost.wall <= 10),
    )


def _days(keys: list[str]) -> pl.DataFrame:
    """Return days alike, but one with a value out of bounds and one that drifts."""
    random = np.random.default_rng(5)
    number = len(keys) * 1000
    of_day = pl.int_range(pl.len()) // 1000
    columns = {name: random.standard_normal(number) for name in _FLOATS}
    first = pl.col(_FLOATS[0])
    return pl.DataFrame(columns).with_columns(
        pl.when(pl.int_range(pl.len()) == 100_500).then(9.0).when(of_day == 200).then(first + 2)
        .otherwise(first).alias(_FLOATS[0]),
        pl.Series("customer_id", [f"customer {at % 1000}" for at in range(number)]),
        (pl.lit(START) + of_day * timedelta(days=1)).alias("event_timestamp"),
        pl.Series(keys).gather(np.repeat(np.arange(len(keys)), 1000)).alias(PARTITION),
    )  # fmt: skip


# ------------------------------------------------------------------ what is loaded

_OPEN = """
from datetime import UTC, datetime
from pathlib import Path
from feature_store_assets import FeatureStore, FeatureStoreConfig
config = FeatureStoreConfig(storage_path=Path({root!r}))
row = {{"entity_id": "ann", "event_timestamp": datetime.now(UTC), "spent": 1.5}}
store = FeatureStore(config)
"""
_PROGRAMS = (
    "import feature_store_assets",
    _OPEN + "store.write_features([row], 'checked')",
    _OPEN + "assert store.get_online_features('checked', ['ann'])['ann'] == {{'spent': 1.5}}",
    _OPEN + "assert len(store.read_features('checked').to_arrow())",
    _OPEN
    + "from feature_store_assets.orchestration.definitions import build_definitions\n"
    + "from feature_store_assets_tests.orchestration.shop import orders, spending\n"
    + "build_definitions([spending], assets=[orders], config=config)"
    + ".resolve_implicit_global_asset_job_def()",
)
_TELL = "\nimport sys; print('great_expectations' in sys.modules)"


def _loaded(root: Path) -> Row:
    """Fresh processes import, write, read online and offline, and build definitions."""
    assert "great_expectations" in sys.modules
    with FeatureStore(FeatureStoreConfig(storage_path=root)) as store:
        store.register_feature_group(
            FeatureGroup(
                "checked",
                entity=Entity("user", ["entity_id"]),
                features=[Feature("spent", "float64", ge=0, nullable=False)],
                partitions=Partitions.calendar(["year"]),
                online=True,
            )
        )
    told = [_child(program.format(root=str(root)) + _TELL) for program in _PROGRAMS]
    loaded = told.count("True")
    return Row(
        "Great Expectations loaded by import, write, reads, definitions",
        f"{loaded} of {len(told)} processes",
        "",
        "",
        aim("none", met=not loaded),
    )


def _child(program: str) -> str:
    """Return the last line that a fresh process prints."""
    command = [sys.executable, "-W", "ignore", "-c", program]
    told = subprocess.run(
        command, cwd=_REPOSITORY, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return told.splitlines()[-1]

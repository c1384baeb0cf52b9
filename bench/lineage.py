"""Lineage at 1,000 groups of 10 features: warm answers, from Dagster's graph and from what is
applied. There is no raw library to compare with.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measuring import Row, aim, in_turn, once, seconds
from feature_store_assets import FeatureStore, FeatureStoreConfig
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView

_GROUPS, _FEATURES, _ROOTS, _VIEWS = 1000, 10, 100, 100
_LIMIT = 0.05

_HEAD = """\
import dagster as dg
from feature_store_assets import Entity, Feature, build_definitions, feature_group

thing = Entity("thing", ["thing_id"])

def features(parent):
    return [Feature(f"f{n}", "float64", derived_from=[f"{parent}.f{n}"]) for n in range(10)]

GROUPS = []
"""
_GROUP = """
@feature_group(entity=thing, features=features("{parent}"), owners=["team:t{team}"])
def g{number}({parent}):
    return {parent}

GROUPS.append(g{number})
"""


def answers(folder: Path) -> Iterator[Row]:
    """The column that all groups come from, and one feature in their midst."""
    location = folder / "location.py"
    location.write_text(
        _HEAD
        + "".join(
            _GROUP.format(number=number, parent=_parent(number), team=number % 20)
            for number in range(_GROUPS)
        )
        + 'defs = build_definitions(GROUPS, assets=[dg.AssetSpec("source")])\n'
    )
    applied = FeatureStoreConfig(storage_path=folder / "store", enable_lineage=False)
    traced = FeatureStoreConfig(storage_path=folder / "store", definitions=str(location))
    with FeatureStore(applied) as store:
        store.apply(*_declared())
        yield from _measured(store, "what is applied")
    with FeatureStore(traced) as store:
        yield from _measured(store, "Dagster's graph")


def _parent(number: int) -> str:
    return "source" if number < _ROOTS else f"g{(number - _ROOTS) % _ROOTS}"


def _declared() -> list[FeatureGroup | FeatureView]:
    thing = Entity("thing", ["thing_id"])
    groups = [
        FeatureGroup(
            f"g{number}",
            entity=thing,
            features=[
                Feature(f"f{n}", "float64", derived_from=[f"{_parent(number)}.f{n}"])
                for n in range(_FEATURES)
            ],
            upstream=[_parent(number)],
            owners=[f"team:t{number % 20}"],
        )
        for number in range(_GROUPS)
    ]
    views = [
        FeatureView(f"v{number}", [groups[number * 10 + n][f"f{n}"] for n in range(5)])
        for number in range(_VIEWS)
    ]
    return [*groups, *views]


def _measured(store: FeatureStore, source: str) -> Iterator[Row]:
    cold = once(lambda: store.get_feature_lineage("g500.f0"))
    assert len(store.analyze_impact("source.f0", "rename")["features"]) == _GROUPS
    assert len(store.analyze_impact("g0.f0", "rename")["features"]) == (_GROUPS - _ROOTS) / _ROOTS
    for told, work in _questions(store).items():
        cost = in_turn(work)[0]
        yield Row(
            f"lineage at 1000 groups x 10, {source}: {told}",
            str(cost),
            "",
            f"first answer {seconds(cold.wall)}",
            aim("<= 50 ms", met=cost.wall <= _LIMIT),
        )


def _questions(store: FeatureStore) -> dict[str, Callable[[], object]]:
    return {
        "impact on 1000 features": lambda: store.analyze_impact("source.f0", "rename"),
        "lineage of one feature": lambda: store.get_feature_lineage("g50.f3"),
    }

"""Finding by words: one contract, over SQLite's and PostgreSQL's full-text search alike."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given, settings, strategies as st

import feature_store_assets.registry.database as module
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import BreakingChange, StorageUnusable
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.declarations import Applied
from feature_store_assets.registry.lifecycle import Stages, Standing
from feature_store_assets.registry.search import Filters, Freshness, Hit, search, words
from feature_store_assets_tests.counts import examples

USER = Entity("user", {"user_id": "string"})
X = Feature("x", "int64")


def group(name: str, *features: Feature, **given: Any) -> FeatureGroup:
    return FeatureGroup(name, **{"entity": USER, "features": features or (X,), **given})


def stock(database: Database) -> None:
    spending = group(
        "customer_spending",
        Feature("spend_7d", "float64", "Money of the last week, in euro."),
        Feature("orders_7d", "int64", "Orders of the last week.", owner="ann@example.org"),
        Feature("mood", "string", "How they are.", tags={"stage": "draft"}),
        description="What a customer spent of late.",
        tags={"domain": "sales", "gold": ""},
        owners=["team:growth"],
    )
    weather = group(
        "weather",
        Feature("rain", "float64", "Rain, which makes people spend less."),
        entity=Entity("place", ["place_id"]),
        description="Umsätze hängen vom Wetter ab: -5 °C, \0 and 🌧.",
    )
    churn = FeatureView("churn", [spending["spend_7d"]], "Who leaves.", tags={"domain": "spend"})
    Applied(database).apply([spending, weather, churn])


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stocked") / "registry.db"
    database = Database(f"sqlite:///{path}")
    stock(database)
    database.close()
    return path


@pytest.fixture
def shop(database: Database, stocked: Path, tmp_path: Path) -> Database:
    """A registry with something to find."""
    if database.engine.dialect.name == "sqlite":
        shutil.copy(stocked, tmp_path / "registry.db")
    else:
        stock(database)
    return database


def hits(database: Database, text: str, **given: Any) -> list[Hit]:
    return search(database, text, Stages(database).reader(), Filters(**given))


def found(database: Database, text: str, **given: Any) -> list[str]:
    return [hit.name for hit in hits(database, text, **given)]


def test_a_name_is_split_where_people_split_it() -> None:
    assert words("spend_7d") == ["spend", "7d"]
    assert words("Ann.Smith@example-shop.org") == ["ann", "smith", "example", "shop", "org"]
    assert words("Ünïcode ﬁne STRASSE straße №5 東京") == [
        "unicode", "fine", "strasse", "strasse", "no5", "東京",
    ]  # fmt: skip
    assert words("\0 -- ** '\" 🎉 \ud800") == []


def test_the_name_comes_first_then_labels_then_its_group_then_the_description(
    shop: Database,
) -> None:
    told = found(shop, "spend")
    assert told[:3] == ["customer_spending.spend_7d", "customer_spending", "churn"]
    assert set(told[3:5]) == {"customer_spending.mood", "customer_spending.orders_7d"}
    assert told[5:] == ["weather.rain"]
    Applied(shop).apply([group("spend")])
    assert found(shop, "spend")[:2] == ["spend", "customer_spending.spend_7d"]
    scores = [hit.score for hit in hits(shop, "spend")]
    assert scores[0] == 100
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0


def test_a_word_finds_what_starts_with_it(shop: Database) -> None:
    assert found(shop, "spen")[0] == "customer_spending.spend_7d"
    assert found(shop, "SPEND_7")[0] == "customer_spending.spend_7d"
    assert found(shop, "pend") == []


def test_a_feature_is_found_by_its_full_name(shop: Database) -> None:
    first = hits(shop, "customer_spending.spend_7d")[0]
    assert (first.kind, first.name, first.score) == ("feature", "customer_spending.spend_7d", 100)
    assert found(shop, "customer_spending.ord")[0] == "customer_spending.orders_7d"
    assert found(shop, "customer_spending")[0] == "customer_spending"
    assert "customer_spending.mood" in found(shop, "customer_spending")


def test_all_words_must_fit_wherever_they_are(shop: Database) -> None:
    assert found(shop, "week euro") == ["customer_spending.spend_7d"]
    assert found(shop, "growth late customer") == ["customer_spending"]
    assert found(shop, "week euro rain") == []


def test_case_and_accents_do_not_count(shop: Database) -> None:
    assert found(shop, "umsatze") == found(shop, "UMSÄTZE") == ["weather"]


def test_tags_and_owners_are_found_and_a_feature_is_owned_by_its_groups(shop: Database) -> None:
    assert found(shop, "domain:sales") == ["customer_spending"]
    assert found(shop, "gold") == ["customer_spending"]
    assert found(shop, "ann@example.org") == ["customer_spending.orders_7d"]
    assert set(found(shop, "team:growth")) == {
        "customer_spending", "customer_spending.spend_7d", "customer_spending.mood",
    }  # fmt: skip


def test_what_is_found_is_shown_as_its_author_wrote_it(shop: Database) -> None:
    description = "Umsätze hängen vom Wetter ab: -5 °C, \0 and 🌧."
    assert hits(shop, "weather")[0] == Hit(
        "group", "weather", description, 100, "active", "unknown"
    )
    assert hits(shop, "churn") == [Hit("view", "churn", "Who leaves.", 100, "active", "")]


def test_filters_without_words_list_by_name(shop: Database) -> None:
    every = found(shop, "")
    assert every == sorted(every)
    assert len(every) == 7
    assert found(shop, " \n", kind="view") == ["churn"]
    assert found(shop, "", dtype="float64") == ["customer_spending.spend_7d", "weather.rain"]
    assert found(shop, "", entity="place") == ["weather", "weather.rain"]
    assert found(shop, "", tag="domain") == ["churn", "customer_spending"]
    assert found(shop, "", tag="domain:spend") == ["churn"]
    assert found(shop, "", owner="ann@example.org") == ["customer_spending.orders_7d"]
    assert found(shop, "spend", dtype="float64", entity="place") == ["weather.rain"]


@pytest.mark.parametrize("column", ["kind", "tag", "owner", "dtype", "entity", "stage"])
@pytest.mark.parametrize("value", ["\0", "\ud800", "%", "'", '"', "\\", "", "nothing"])
def test_a_filter_that_nothing_passes_finds_nothing(
    shop: Database, column: str, value: str
) -> None:
    if (column, value) not in {("tag", ""), ("dtype", ""), ("entity", "")}:
        assert found(shop, "", **{column: value}) == []


def test_stages_are_those_of_now(shop: Database) -> None:
    assert found(shop, "", stage="draft") == ["customer_spending.mood"]
    Stages(shop).move(Standing("group", "customer_spending", 1, "active"), "deprecated")
    Stages(shop).move(Standing("view", "churn", 1, "active"), "deprecated")
    assert found(shop, "", stage="active") == ["weather", "weather.rain"]
    assert {hit.stage for hit in hits(shop, "customer_spending")} == {"deprecated"}


def test_freshness_is_asked_for_once_a_group_and_only_of_what_is_found(shop: Database) -> None:
    asked: list[str] = []

    def freshness(group: FeatureGroup) -> Freshness:
        asked.append(group.name)
        return "stale" if group.name == "weather" else "fresh"

    def told(text: str, limit: int | None = None, **given: Any) -> list[tuple[str, str]]:
        asked.clear()
        stages = Stages(shop).reader()
        some = search(shop, text, stages, Filters(**given), freshness=freshness, limit=limit)
        return [(hit.name, hit.freshness) for hit in some]

    assert told("rain") == [("weather.rain", "stale")]
    assert asked == ["weather"]
    assert told("churn") == [("churn", "")]
    assert asked == []
    assert told("spend", limit=1) == [("customer_spending.spend_7d", "fresh")]
    assert asked == ["customer_spending"]
    assert told("", freshness="stale") == [("weather", "stale"), ("weather.rain", "stale")]
    assert sorted(asked) == ["customer_spending", "weather"]
    assert told("", freshness="unknown") == []
    assert told("", freshness="stale", entity="user") == []


def test_what_cannot_be_known_is_unknown(shop: Database) -> None:
    assert found(shop, "", freshness="unknown", kind="group") == ["customer_spending", "weather"]
    assert found(shop, "", freshness="fresh") == []


HOSTILE = [
    "'", '"', '""', "'; DROP TABLE applied; --", "AND", "OR", "NOT", "NEAR(a b)", "*", "spend*",
    "^x", "name:spend", "{name labels}: spend", "-spend", "spend -rain", ":*", "a:*", "!x", "a & b",
    "a | b", "<->", "(", ")", "\\", "\\'", "%", "%s", "%(query)s", ":query", "\0", "sp\0end",
    "\ud800", "🌧", "x" * 10_000, "x " * 10_000, " ".join(map(str, range(5_000))), "\u200b",
    "e\u0301", "½ ² ①", "𞤀𞤁",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_is_query_syntax(shop: Database, text: str) -> None:
    given = words(text)
    every = {hit.name: hit for hit in hits(shop, "")}
    assert set(found(shop, text)) <= set(every)
    assert found(shop, text) == found(shop, " ".join(given)) if given else not found(shop, text)


def test_operators_are_words(shop: Database) -> None:
    Applied(shop).apply([group("near_and_far", description="Not or not.")])
    assert found(shop, "AND") == ["near_and_far", "near_and_far.x", "weather"]
    assert found(shop, "far NOT") == ["near_and_far"]
    assert found(shop, "near OR rain") == []
    assert found(shop, '"near" (far)*') == ["near_and_far", "near_and_far.x"]


@settings(
    max_examples=examples(25),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=st.text(max_size=40))
def test_whatever_is_asked_all_its_words_start_words_of_what_is_found(
    shop: Database, text: str
) -> None:
    for hit in hits(shop, text):
        labels = "domain sales gold stage draft team growth ann example org spend"
        held = words(f"{hit.name} {hit.description} {labels}")
        for word in words(text):
            assert any(each.startswith(word) for each in held)


@settings(
    max_examples=examples(25),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(description=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_whatever_a_description_says_it_is_found_by_its_words(
    database: Database, description: str
) -> None:
    Applied(database).apply([group("g", description=description)])
    assert hits(database, "g")[0].description == description
    if words(description):
        assert "g" in found(database, description)
    for word in words(description):
        assert "g" in found(database, word[:3])


def test_words_as_long_as_a_book_are_found(database: Database) -> None:
    text = " ".join(f"w{number}" for number in range(30_000)) + " " + "y" * 5_000
    Applied(database).apply([group("g", description=text)])
    assert found(database, "w0 w1999") == ["g"]
    Applied(database).apply([group("h", description="y" * 5_000)])
    assert found(database, "y" * 5_000) == ["h"]


def test_the_index_follows_what_is_applied(database: Database) -> None:
    applied = Applied(database)
    applied.apply([group("g", description="Apples.")])
    assert found(database, "apples") == ["g"]
    applied.apply([group("g", X, Feature("y", "int64", "Cherries."), description="Pears.")])
    assert (found(database, "apples"), found(database, "pears")) == ([], ["g"])
    assert found(database, "cherries") == ["g.y"]

    def extended(old: FeatureGroup | None) -> FeatureGroup:
        assert old is not None
        return group("g", *old.features, Feature("z", "int64", "Plums."))

    applied.extend("g", extended, prepare=lambda _: None)
    assert found(database, "plums") == ["g.z"]
    applied.apply([FeatureView("v", [group("g")], "Grapes.")])
    applied.apply([FeatureView("v", [group("g")], "Figs.")])
    assert (found(database, "grapes"), found(database, "figs")) == ([], ["v"])


def test_the_newest_version_of_a_group_counts(database: Database) -> None:
    applied = Applied(database)
    applied.apply([group("g", description="Apples.")])
    applied.apply([group("g", Feature("y", "string"), version=2, description="Pears.")])
    applied.apply([group("g", description="Plums.")])
    assert (found(database, "apples"), found(database, "plums")) == ([], [])
    assert found(database, "") == ["g", "g.y"]
    Stages(database).move(Standing("group", "g", 2, "active"), "deprecated")
    assert [hit.stage for hit in hits(database, "pears")] == ["deprecated"]


def test_what_is_refused_is_not_found(database: Database) -> None:
    applied = Applied(database)
    applied.apply([group("g", description="Apples.")])
    with pytest.raises(BreakingChange):
        applied.apply([group("new"), group("g", Feature("x", "string"), description="Pears.")])

    def full(_: FeatureGroup) -> None:
        raise StorageUnusable("/data", "it is full")

    with pytest.raises(StorageUnusable):
        applied.apply([group("h", description="Pears.")], prepare=full)
    assert found(database, "") == ["g", "g.x"]


def test_nothing_is_found_where_nothing_was_applied(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'none.db'}")
    assert found(database, "x") == found(database, "") == []
    assert not database.exists


@pytest.fixture
def old(url: str) -> str:
    """A registry of the schema before there was an index, with two versions of a group."""
    database = Database(url)
    scripts = Config()
    scripts.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    first = group("g", description="Apples.")
    second = group("g", Feature("y", "string", "Pears."), version=2)
    view = FeatureView("v", [first], "Plums.")
    with database.engine.execution_options(writes=True).begin() as connection:
        scripts.attributes["connection"] = connection
        command.upgrade(scripts, "0005")
        for kind, each in (("group", first), ("group", second), ("view", view)):
            row = {
                "kind": kind, "name": each.name, "version": getattr(each, "version", 1),
                "hash": each.hash, "definition": json.dumps(each.to_json()),
                "applied_at": datetime.now(UTC),
            }  # fmt: skip
            connection.execute(sa.insert(module.applied).values(**row))
    database.close()
    return url


def test_a_registry_from_before_the_index_is_indexed_when_it_is_brought_up_to_date(
    old: str,
) -> None:
    database = Database(old)
    Applied(database).apply([])
    assert found(database, "") == ["g", "g.y", "v"]
    assert (found(database, "pears"), found(database, "plums")) == (["g.y"], ["v"])
    assert found(database, "apples") == []
    database.close()

"""SQL over feature groups: it reads what `read_features` reads, and changes nothing."""

from typing import Any

import pyarrow as pa
import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.errors import DataError, SnapshotNotFound
from feature_store_assets.offline.sql import is_query
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.stores import once, pushed, row, traces


@pytest.fixture
@once
def shop(store: FeatureStore) -> FeatureStore:
    """Groups 'orders' (u: 1 then 2, v: 5), 'people' (with addresses), and 'empty'."""
    store.apply(
        pushed("orders", Feature("spent", "int64"), online=False),
        pushed("people", Feature("mail", "string"), online=False),
        pushed("empty", Feature("nothing", "int64"), online=False),
    )
    store.write_features(
        [row("u", 0, spent=1), row("u", 1, spent=2), row("v", 0, spent=5)], "orders"
    )
    store.write_features([row("u", 0, mail="ada@secret.org")], "people")
    return store


def answer(store: FeatureStore, query: str, **given: Any) -> list[Any]:
    return store.sql(query, **given).to_arrow().to_pylist()


def test_rows_are_grouped_joined_and_sorted(shop: FeatureStore) -> None:
    assert answer(
        shop,
        "SELECT entity_id, SUM(spent) AS total FROM orders GROUP BY entity_id ORDER BY total",
    ) == [{"entity_id": "u", "total": 3}, {"entity_id": "v", "total": 5}]
    joined = """
        WITH last AS (SELECT entity_id, MAX(spent) AS most FROM orders GROUP BY entity_id)
        SELECT last.most, people.mail FROM last JOIN people ON last.entity_id = people.entity_id
    """
    assert answer(shop, joined) == [{"most": 2, "mail": "ada@secret.org"}]


def test_a_table_is_what_read_features_returns(shop: FeatureStore) -> None:
    query = "SELECT * FROM orders ORDER BY event_timestamp, entity_id"
    assert shop.sql(query).to_arrow().equals(shop.read_features("orders").to_arrow())
    assert shop.sql(query).schema.field("entity_id").type == pa.string()


def test_superseded_revisions_are_not_shown(shop: FeatureStore) -> None:
    shop.write_features([row("v", 0, spent=7)], "orders", mode="upsert")
    assert answer(shop, "SELECT spent FROM orders WHERE entity_id = 'v'") == [{"spent": 7}]
    assert answer(shop, "SELECT COUNT(*) AS n FROM orders") == [{"n": 3}]


def test_a_snapshot_is_asked_as_it_was(shop: FeatureStore) -> None:
    shop.create_snapshot("orders", "before")
    shop.write_features([row("v", 0, spent=7)], "orders", mode="upsert")
    query = "SELECT spent FROM orders WHERE entity_id = 'v'"
    assert answer(shop, query, as_of="before") == [{"spent": 5}]
    assert answer(shop, query) == [{"spent": 7}]
    with pytest.raises(SnapshotNotFound, match=r"'befor'\. Did you mean 'before'"):
        shop.sql(query, as_of="befor")
    with pytest.raises(SnapshotNotFound, match="'before' with 'people'"):
        shop.sql("SELECT mail FROM people", as_of="before")


def test_a_query_may_name_no_table_and_ask_how_it_would_be_answered(shop: FeatureStore) -> None:
    assert answer(shop, "SELECT 1 AS one") == [{"one": 1}]
    (plan,) = {tuple(each) for each in answer(shop, "EXPLAIN SELECT spent FROM orders")}
    assert plan == ("Logical Plan",)


@pytest.mark.parametrize(
    "query",
    [
        "select spent from orders",
        "\n  SELECT spent FROM orders ;",
        "-- what was\n--spent\n\nSELECT spent FROM orders -- all of it",
        "/* what was\nspent */ /**/SELECT spent FROM orders",
        "(SELECT spent FROM orders)",
        "( -- why not\n SELECT spent FROM orders)",
        'SELECT"spent"FROM orders',
        "SELECT/**/spent FROM orders",
    ],
)
def test_comments_brackets_and_case_do_not_matter(shop: FeatureStore, query: str) -> None:
    assert len(answer(shop, query)) == 3


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE orders",
        "DELETE FROM orders",
        "INSERT INTO orders VALUES (1)",
        "CREATE TABLE copied AS SELECT * FROM orders",
        "UPDATE orders SET spent = 0",
        "TRUNCATE TABLE orders",
        "SHOW TABLES",
        "-- SELECT\nDROP TABLE orders",
        "/* SELECT */ DROP TABLE orders",
        "SELEC spent FROM orders",
        "selected FROM orders",
        "",
    ],
)
def test_what_is_no_select_is_refused(shop: FeatureStore, query: str) -> None:
    before = traces(shop)
    with pytest.raises(DataError, match=r"answers SELECT .* changes nothing.*write_features"):
        shop.sql(query)
    assert traces(shop) == before


@pytest.mark.parametrize(
    "query",
    [
        "SELECT spent FROM orders; SELECT spent FROM orders",
        "SELECT spent FROM orders; DROP TABLE orders",
        "WITH o AS (SELECT spent FROM orders) DELETE FROM orders",
        "WITH o AS (DELETE FROM orders) SELECT * FROM o",
        "SELECT * INTO copied FROM orders",
        "SELECT spent FORM orders",
        "SELECT spent FROM orders WHERE",
        "SELECT nosuchfunction(spent) FROM orders",
        "SELECT spent FROM orders WHERE entity_id > 5",
    ],
)
def test_what_polars_cannot_answer_is_a_clear_error(shop: FeatureStore, query: str) -> None:
    before = traces(shop)
    with pytest.raises(DataError, match=r"The query cannot be answered: .+"):
        shop.sql(query)
    assert traces(shop) == before
    assert len(shop.read_features("orders")) == 3


def test_an_explained_deletion_deletes_nothing(shop: FeatureStore) -> None:
    before = traces(shop)
    for query in ("EXPLAIN DELETE FROM orders", "EXPLAIN DROP TABLE orders"):
        shop.sql(query)
    assert traces(shop) == before
    assert len(answer(shop, "SELECT * FROM orders")) == 3


def test_a_misspelt_name_gets_a_suggestion(shop: FeatureStore) -> None:
    with pytest.raises(
        DataError,
        match=r"named 'order'. Tables are: empty, orders, people. Did you mean 'orders'\?$",
    ):
        shop.sql("SELECT * FROM order")
    with pytest.raises(DataError, match=r"named 'zzz'. Tables are: empty, orders, people.$"):
        shop.sql("SELECT * FROM orders JOIN zzz ON orders.entity_id = zzz.entity_id")
    with pytest.raises(DataError, match=r'unable to find column "spend"'):
        shop.sql("SELECT spend FROM orders")


def test_a_store_without_groups_says_so(store: FeatureStore) -> None:
    with pytest.raises(DataError, match=r"named 'orders'. Tables are: none yet.$"):
        store.sql("SELECT * FROM orders")


def test_a_group_without_rows_matters_only_where_it_is_a_table(shop: FeatureStore) -> None:
    with pytest.raises(DataError, match="'empty' holds no rows yet"):
        shop.sql("SELECT * FROM empty")
    assert answer(shop, "SELECT spent AS empty FROM orders WHERE spent = 5") == [{"empty": 5}]
    assert answer(shop, "SELECT 'empty' AS word") == [{"word": "empty"}]
    assert answer(shop, "WITH empty AS (SELECT 1 AS a) SELECT * FROM empty") == [{"a": 1}]


@pytest.mark.parametrize("kind", ["INT", "DOUBLE", "DATE", "TIMESTAMP", "BOOLEAN", "TIME"])
def test_no_error_shows_a_value(shop: FeatureStore, kind: str) -> None:
    with pytest.raises(DataError) as error:
        shop.sql(f"SELECT CAST(mail AS {kind}) FROM people")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("select 1", True),
        ("WITH a AS (SELECT 1) SELECT * FROM a", True),
        ("select", True),
        ("select.parquet", False),
        ("with-labels.parquet", False),
        ("select/spine.parquet", False),
        ("selection", False),
        ("explain_me.parquet", False),
        ("/data/select", False),
    ],
)
def test_a_query_is_told_from_a_path(text: str, query: bool) -> None:
    assert is_query(text) is query

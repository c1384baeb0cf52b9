"""Finding groups, views and features by words.

The words of all that is applied are kept in the database's own full-text index, written in the
transaction that applies. Both databases get them folded and split by `words`, so that both find
the same, and no text that is searched for can mean anything in their query languages.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSQUERY

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.registry.database import applied, search_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from feature_store_assets.registry.database import Database

Kind = Literal["group", "feature", "view"]
Freshness = Literal["fresh", "stale", "unknown"]

_WORD = re.compile(r"[^\W_]+")
_LONGEST = 64  # letters of a word that count
_MOST_ASKED = 64  # words that are looked for; the stack of PostgreSQL's queries is no deeper
_MOST_KEPT = 2_000  # words of one text that are found; PostgreSQL keeps 1 MB
_PLACES = 16_383  # the greatest position in a tsvector
_FIELDS = ("name", "labels", "feature_group", "description")
# What a word is worth in each field; PostgreSQL calls them A to D and counts from D.
_WORTH = (10.0, 4.0, 2.0, 1.0)
_LETTERS = dict(zip(_FIELDS, "ABCD", strict=True))
# Scores: the name itself, the name's start, anything else.
_NAME, _START, _TEXT = 100, 51, 1
_SPREAD = 48  # by how much the rank of the words moves a score

_search_index = sa.table("search_index", *map(sa.column, ("rowid", "id", "words")))
_INSERT_SQLITE = sa.text(
    "INSERT INTO search_index (rowid, name, labels, feature_group, description) "
    "VALUES (:number, :name, :labels, :feature_group, :description)"
)
_INSERT_POSTGRES = sa.text(
    "INSERT INTO search_index (id, words) VALUES (:number, CAST(:lexemes AS tsvector))"
)


@dataclass(frozen=True)
class Hit:
    """Something that was found.

    Attributes
    ----------
    kind, name
        `group`, `view` or `feature`, and its name; a feature's is `group.feature`.
    description
        What its author says of it.
    score
        How well it fits, to 100, which is the name itself; 0 if no words were given.
    stage
        `draft`, `active`, `deprecated` or `retired`.
    freshness
        `fresh`, `stale` or `unknown` as its group is; "" for a view.
    """

    kind: str
    name: str
    description: str
    score: int
    stage: str = "active"
    freshness: str = ""


@dataclass(frozen=True)
class Filters:
    """What is looked for beside words; None takes all.

    Attributes
    ----------
    kind
        `group`, `feature` or `view`.
    tag
        `key` or `key:value`.
    owner, dtype, entity, stage
        An owner; a feature's type; the entity's name; a stage.
    freshness
        `fresh`, `stale` or `unknown`; a view is none of these.
    """

    kind: str | None = None
    tag: str | None = None
    owner: str | None = None
    dtype: str | None = None
    entity: str | None = None
    stage: str | None = None
    freshness: Freshness | None = None


class Stages(Protocol):
    """What knows where things stand."""

    def named(self, kind: Kind, name: str, owner: str, version: int, *, draft: bool) -> str:
        """Return the stage of a group, view or feature; `draft` is what it was declared as."""
        ...


@dataclass(frozen=True)
class _Entry:
    """One row of `search_entries`, and how well it fits."""

    kind: Kind
    name: str
    owner: str
    version: int
    card: str
    score: float


def words(text: str) -> list[str]:
    """Return the words of a text or name as they are indexed: without case and accents.

    Examples
    --------
    >>> words("Umsätze (spend_7d), team:growth")
    ['umsatze', 'spend', '7d', 'team', 'growth']
    """
    bare = text.lower()
    if not bare.isascii():
        plain = unicodedata.normalize("NFKD", text)
        plain = unicodedata.normalize("NFKD", plain.casefold())
        bare = "".join(each for each in plain if not unicodedata.combining(each))
    return [word[:_LONGEST] for word in _WORD.findall(bare)]


def search(
    database: Database,
    text: str,
    stages: Stages,
    filters: Filters = Filters(),  # frozen
    *,
    freshness: Callable[[FeatureGroup], str] | None = None,
    limit: int | None = None,
) -> list[Hit]:
    """Return what has words that start with every word of the text, the best first.

    Names count more than tags and owners, these more than descriptions. A name that is the text
    comes first, then names that start with it.

    Parameters
    ----------
    text
        Any text: it has no syntax. Without words, all that the filters let through is found.
    stages
        Knows where everything stands now.
    freshness
        Says of a group whether it is `fresh` or `stale`; asked at most once for each group of
        what is returned, or of what else fits if that is filtered by. Without it all are
        `unknown`.
    limit
        Return so many at most.
    """
    asked = words(text)
    if not database.exists or (text.strip() and not asked):
        return []
    # What is filtered in memory cannot be cut off before.
    whole = filters.tag is filters.owner is filters.stage is filters.freshness is None
    with database.read() as connection:
        found = _found(connection, asked, filters, limit if whole else None)
    known = _Known(database, freshness)
    hits: list[Hit] = []
    for entry in found:
        if limit is not None and len(hits) >= limit:
            break
        card = json.loads(entry.card)
        draft = entry.kind == "feature" and card["tags"].get("stage") == "draft"
        stage = stages.named(entry.kind, entry.name, entry.owner, entry.version, draft=draft)
        if not _fits(card, stage, filters):
            continue
        state = "" if entry.kind == "view" else known.of(entry.owner, entry.version)
        if filters.freshness in {None, state}:
            score = round(entry.score)
            hits.append(Hit(entry.kind, entry.name, card["description"], score, stage, state))
    return hits


class _Known:
    """The freshness of groups, each asked for once."""

    def __init__(self, database: Database, freshness: Callable[[FeatureGroup], str] | None) -> None:
        self._database, self._freshness = database, freshness
        self._states: dict[str, str] = {}

    def of(self, name: str, version: int) -> str:
        if self._freshness is None:
            return "unknown"
        if name not in self._states:
            query = sa.select(applied.c.definition).where(
                applied.c.kind == "group", applied.c.name == name, applied.c.version == version
            )
            with self._database.read() as connection:
                text = connection.execute(query).scalar_one()
            self._states[name] = self._freshness(FeatureGroup.from_json(json.loads(text)))
        return self._states[name]


def _found(
    connection: sa.Connection, asked: Sequence[str], filters: Filters, limit: int | None
) -> list[_Entry]:
    """Return what has all the words and passes the filters that are columns, the best first."""
    entry = search_entries.c
    score: sa.ColumnElement[Any] = sa.literal(0.0)
    conditions = []
    if asked:
        match = _match(connection, list(dict.fromkeys(asked))[:_MOST_ASKED])
        conditions.append(match.c.id == entry.id)
        score = _score(" ".join(asked), match)
    for column in ("kind", "dtype", "entity"):
        wanted: str | None = getattr(filters, column)
        if wanted is not None:
            if not wanted.isprintable():
                return []  # nothing is called so, and not every database takes it
            conditions.append(entry[column] == wanted)
    # A sieve, so that few cards are read.
    tag = (filters.tag or "").partition(":")[0]
    conditions += [
        entry.card.contains(json.dumps(word), autoescape=True)
        for word in (filters.owner, tag)
        if word
    ]
    columns = (entry.kind, entry.name, entry.owner, entry.version, entry.card)
    # By letters in both, whatever PostgreSQL's locale is.
    by_name = entry.name.collate("BINARY" if connection.dialect.name == "sqlite" else "C")
    query = sa.select(*columns, score.label("score")).where(*conditions)
    rows = connection.execute(query.order_by(sa.desc("score"), by_name).limit(limit))
    return [_Entry(*row) for row in rows]


def _match(connection: sa.Connection, asked: Sequence[str]) -> sa.CTE:
    """Return the numbers of the entries that have all the words, and how well they fit."""
    index = _search_index.c
    if connection.dialect.name == "sqlite":
        every = sa.literal(" ".join(f'"{word}"*' for word in asked))
        worth = ", ".join(map(str, _WORTH))
        rank: sa.ColumnElement[Any] = sa.literal_column(f"-bm25(search_index, {worth})")
        fits = sa.literal_column("search_index").op("MATCH")(every)
        found = sa.select(index.rowid.label("id"), rank.label("rank")).where(fits)
    else:
        # The words are lexemes already: a parser could only split them otherwise.
        query = sa.cast(sa.literal(" & ".join(f"'{word}':*" for word in asked)), TSQUERY)
        worth = "{" + ", ".join(str(each / _WORTH[0]) for each in reversed(_WORTH)) + "}"
        rank = sa.func.ts_rank(sa.literal_column(f"'{worth}'::float4[]"), index.words, query, 1)
        fits = index.words.op("@@")(query)
        found = sa.select(index.id, rank.label("rank")).where(fits)
    # SQLite ranks only where it matches.
    return found.cte("match").prefix_with("MATERIALIZED")


def _score(text: str, match: sa.CTE) -> sa.ColumnElement[Any]:
    """Return the score of entries for words, by their names, then by the rank of the best."""
    own, group = search_entries.c.own, search_entries.c.within
    this, length = sa.literal(text), len(text)
    full = group + own
    start = sa.or_(
        sa.func.substr(own, 1, length) == this,
        # Its full name counts where more is asked for than its group.
        sa.and_(
            sa.func.length(group) < length,
            group != "",
            sa.func.substr(full, 1, length) == this,
        ),
    )
    best = sa.select(sa.func.max(match.c.rank)).scalar_subquery()
    share = sa.func.coalesce(match.c.rank / sa.func.nullif(best, 0), 1.0)
    return sa.case(
        (sa.or_(own == this, full == this), sa.literal(float(_NAME))),
        (start, _START + _SPREAD * share),
        else_=_TEXT + _SPREAD * share,
    )


def _fits(card: Mapping[str, Any], stage: str, filters: Filters) -> bool:
    key, _, value = (filters.tag or "").partition(":")
    tags: Mapping[str, str] = card["tags"]
    return (
        (not key or (key in tags and value in ("", tags[key])))
        and (filters.owner is None or filters.owner in card["owners"])
        and filters.stage in (None, stage)
    )


# Writing the index


def index(connection: sa.Connection, kind: str, name: str) -> None:
    """Index the newest applied version of a group or view, in the transaction that applies it."""
    newest = (
        sa.select(applied.c.definition)
        .where(applied.c.kind == kind, applied.c.name == name)
        .order_by(applied.c.version.desc())
        .limit(1)
    )
    definition = json.loads(connection.execute(newest).scalar_one())
    _forget(connection, name)
    # Writers never interleave: nobody else takes these numbers.
    last = connection.execute(sa.select(sa.func.max(search_entries.c.id))).scalar() or 0
    things = list(enumerate(_things(kind, definition), last + 1))
    connection.execute(
        sa.insert(search_entries),
        [{**vars(thing), "card": json.dumps(thing.card), "id": number} for number, thing in things],
    )
    texts = [{"number": number, **thing.texts()} for number, thing in things]
    if connection.dialect.name == "sqlite":
        connection.execute(_INSERT_SQLITE, texts)
    else:
        lexemes = [{"number": each.pop("number"), "lexemes": _lexemes(each)} for each in texts]
        connection.execute(_INSERT_POSTGRES, lexemes)


def index_all(connection: sa.Connection) -> None:
    """Index all that is applied."""
    every = sa.select(applied.c.kind, applied.c.name).distinct()
    for kind, name in connection.execute(every).all():
        index(connection, kind, name)


def _forget(connection: sa.Connection, owner: str) -> None:
    this = search_entries.c.owner == owner
    key = "rowid" if connection.dialect.name == "sqlite" else "id"
    numbers = sa.select(search_entries.c.id).where(this)
    connection.execute(sa.delete(_search_index).where(_search_index.c[key].in_(numbers)))
    connection.execute(sa.delete(search_entries).where(this))


@dataclass(frozen=True)
class _Thing:
    """A group, feature or view as its definition tells."""

    kind: str
    name: str
    owner: str
    version: int
    own: str
    within: str
    entity: str
    dtype: str
    card: dict[str, Any]

    def texts(self) -> dict[str, Any]:
        """Return the words of each field, a space between them."""
        tags: Mapping[str, str] = self.card["tags"]
        labels = [*tags, *tags.values(), *self.card["owners"]]
        found = {
            "name": self.own,
            "labels": " ".join(labels),
            "feature_group": self.within,
            "description": self.card["description"],
        }
        return {field: " ".join(words(text)[:_MOST_KEPT]) for field, text in found.items()}


def _things(kind: str, definition: Mapping[str, Any]) -> Iterator[_Thing]:
    name, version = definition["name"], definition.get("version", 1)
    entity = definition.get("entity", {}).get("name", "")
    card = {
        "description": definition.get("description", ""),
        "tags": definition.get("tags", {}),
        "owners": definition.get("owners", []),
    }
    own = " ".join(words(name))
    yield _Thing(kind, name, name, version, own, "", entity, "", card)
    for each in definition.get("features", []) if kind == "group" else []:
        owner = each.get("owner")
        its = {
            "description": each.get("description", ""),
            "tags": each.get("tags", {}),
            "owners": [owner] if owner else card["owners"],
        }
        feature, its_own = f"{name}.{each['name']}", " ".join(words(each["name"]))
        yield _Thing(
            "feature", feature, name, version, its_own, f"{own} ", entity, each["dtype"], its
        )


def _lexemes(texts: Mapping[str, str]) -> str:
    """Return a tsvector as PostgreSQL reads it: each word with its place and weight."""
    split = [(field, word) for field in _FIELDS for word in texts[field].split()]
    return " ".join(
        f"'{word}':{min(place, _PLACES)}{_LETTERS[field]}"
        for place, (field, word) in enumerate(split, 1)
    )

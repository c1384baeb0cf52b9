"""Entities and features: frozen values, checked where they are written."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set as AbstractSet
from dataclasses import KW_ONLY, dataclass
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from feature_store_assets.declaration.conditions import decoded, encoded
from feature_store_assets.declaration.expect import Expectation, feature_expectations
from feature_store_assets.declaration.mask import MASKS
from feature_store_assets.declaration.types import type_name
from feature_store_assets.errors import DataError, DeclarationError, suggestion

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
# Columns of every table beside the declared ones, and prefixes that joins use inside.
RESERVED = frozenset({"partition", "created_timestamp"})
_OWNER = re.compile(r"team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+\.[^@\s]+")
Pairs = Mapping[str, str] | Iterable[tuple[str, str]]
# Values of `one_of`, by feature type; subclasses would come back from JSON as another type.
_PYTHON_TYPES: Mapping[type, str] = {
    int: "int64",
    float: "float64",
    bool: "bool",
    str: "string",
    date: "date32",
    datetime: "timestamp[us, UTC]",
}
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_TAG = re.compile(r"[A-Za-z0-9_.-]{1,63}")


def checked_name(name: str, what: str) -> str:
    """Return `name` if tables, folders, keys and Dagster can all carry it."""
    if not _NAME.fullmatch(name):
        raise DeclarationError(
            f"'{name}' cannot name a {what}: use letters, digits and '_', starting with a letter."
        )
    return name


def checked_label(name: str, what: str, most: int = 100) -> str:
    """Return `name` if it can name what is recorded: dots and dashes may be in it."""
    if len(name) > most or not _LABEL.fullmatch(name):
        raise DataError(
            f"'{name}' cannot name a {what}: use up to {most} letters, digits, '_', '-' and '.', "
            f"starting with a letter."
        )
    return name


def checked_owners(owners: Sequence[str], whose: str) -> tuple[str, ...]:
    """Return owners as Dagster takes them: an e-mail address or `team:name`."""
    for owner in owners:
        if not _OWNER.fullmatch(owner):
            raise DeclarationError(
                f"'{owner}' cannot own '{whose}': give an e-mail address or 'team:name'."
            )
    return tuple(owners)


def checked_tags(tags: Mapping[str, str], whose: str) -> tuple[tuple[str, str], ...]:
    """Return tags, sorted; Dagster's limits on their characters hold."""
    for word in (*tags.keys(), *(value for value in tags.values() if value)):
        if not _TAG.fullmatch(word):
            raise DeclarationError(
                f"'{word}' cannot be a tag of '{whose}': up to 63 letters, digits, '_', '.', '-'."
            )
    return tuple(sorted(tags.items()))


@dataclass(frozen=True, init=False)
class Entity:
    """What features describe: a customer, a route, a plane.

    Parameters
    ----------
    name
        The entity's name.
    join_keys
        The key columns, in order. A mapping gives their types too; a key without a type takes
        that of the first rows written.
    description
        What one such thing is.

    Examples
    --------
    >>> Entity("route", join_keys={"origin": "string", "dest": "string"}).join_keys
    ('origin', 'dest')
    """

    name: str
    join_keys: tuple[str, ...]
    key_types: tuple[str | None, ...]
    description: str

    def __init__(
        self, name: str, join_keys: Sequence[str] | Mapping[str, Any], description: str = ""
    ) -> None:
        if isinstance(join_keys, str):
            raise DeclarationError(f"join_keys of '{name}' is a list: join_keys=['{join_keys}'].")
        if not join_keys:
            raise DeclarationError(f"Entity '{name}' needs at least one join key.")
        keys = tuple(checked_name(key, "join key") for key in join_keys)
        if len(set(keys)) < len(keys):
            raise DeclarationError(f"Entity '{name}' names a join key twice: {', '.join(keys)}.")
        types: tuple[str | None, ...] = (None,) * len(keys)
        if isinstance(join_keys, Mapping):
            types = tuple(None if kind is None else type_name(kind) for kind in join_keys.values())
        for key, kind in zip(keys, types, strict=True):
            if kind == "float64" or (kind or "").startswith("list"):
                raise DeclarationError(f"Join key '{key}' cannot be {kind}: equality is undefined.")
        object.__setattr__(self, "name", checked_name(name, "entity"))
        object.__setattr__(self, "join_keys", keys)
        object.__setattr__(self, "key_types", types)
        object.__setattr__(self, "description", description)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "join_keys": [list(pair) for pair in zip(self.join_keys, self.key_types, strict=True)],
            "description": self.description,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(value["name"], dict(value["join_keys"]), value["description"])


@dataclass(frozen=True)
class Feature:
    """One column of a feature group.

    Parameters
    ----------
    name, dtype, description
        `dtype` is one of int64, float64, bool, string, date32, timestamp[us, UTC], or a list of
        these (`"list<float64>"`); Python types and usual spellings are taken too.
    ge, le, nullable, unique, one_of, regex
        Bounds, inclusive; each becomes an expectation of the quality gate by itself.
    owner, tags
        Who answers for it, and words to find it by.
    pii, mask
        Personal data, and what is shown of it: `"hash"` or `"redact"` (the default for pii).
    derived_from
        Source columns as `"asset.column"`: the feature's column lineage.
    """

    name: str
    dtype: str
    description: str = ""
    _: KW_ONLY
    ge: float | None = None
    le: float | None = None
    nullable: bool = True
    unique: bool = False
    one_of: tuple[Any, ...] | None = None
    regex: str | None = None
    owner: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    pii: bool = False
    mask: str | None = None
    derived_from: tuple[str, ...] = ()

    if TYPE_CHECKING:
        # What may be written; __post_init__ makes it what is stored.
        def __init__(
            self,
            name: str,
            dtype: object,
            description: str = "",
            *,
            ge: float | None = None,
            le: float | None = None,
            nullable: bool = True,
            unique: bool = False,
            one_of: Collection[Any] | None = None,
            regex: str | None = None,
            owner: str | None = None,
            tags: Pairs = (),
            pii: bool = False,
            mask: str | None = None,
            derived_from: Sequence[str] = (),
        ) -> None: ...

    def __post_init__(self) -> None:
        checked_name(self.name, "feature")
        if self.name in RESERVED:
            raise DeclarationError(f"'{self.name}' is a column of every table: rename the feature.")
        for what in ("one_of", "derived_from"):
            given = getattr(self, what)
            if isinstance(given, str):
                raise DeclarationError(f"{what} of '{self.name}' is a list: {what}=[{given!r}].")
        freeze = object.__setattr__
        freeze(self, "dtype", type_name(self.dtype))
        freeze(self, "one_of", None if self.one_of is None else self._members(self.one_of))
        freeze(self, "tags", checked_tags(dict(self.tags), self.name))
        freeze(self, "derived_from", tuple(self.derived_from))
        if self.owner is not None:
            checked_owners([self.owner], self.name)
        if self.mask is not None and self.mask not in MASKS:
            raise DeclarationError(
                f"'{self.mask}' is no mask of '{self.name}'." + suggestion(self.mask, MASKS)
            )
        if self.mask is not None and not self.pii:
            raise DeclarationError(f"'{self.name}' has a mask but is not declared pii=True.")
        if self.pii and self.mask is None:
            freeze(self, "mask", "redact")
        for source in self.derived_from:
            if not all(source.rpartition(".")):
                raise DeclarationError(
                    f"derived_from of '{self.name}' names 'asset.column', not '{source}'."
                )
        self._check_bounds()

    def _members(self, one_of: Collection[Any]) -> tuple[Any, ...]:
        """Return the allowed values; a set has no order, but equal declarations need one."""
        for value in one_of:
            kind = _PYTHON_TYPES.get(type(value))
            if kind != self.dtype and (kind, self.dtype) != ("int64", "float64"):
                raise DeclarationError(
                    f"one_of of '{self.name}' holds {value!r}, which is no {self.dtype}."
                )
        unordered = isinstance(one_of, AbstractSet)
        return tuple(sorted(one_of, key=repr) if unordered else dict.fromkeys(one_of))

    def _check_bounds(self) -> None:
        if self.ge is not None and self.le is not None and self.ge > self.le:
            raise DeclarationError(f"'{self.name}' has ge={self.ge} above le={self.le}.")
        numeric = self.dtype in {"int64", "float64"}
        if not numeric and (self.ge is not None or self.le is not None):
            raise DeclarationError(f"'{self.name}' is {self.dtype}: ge and le bound numbers only.")
        if self.regex is not None:
            if self.dtype != "string":
                raise DeclarationError(f"'{self.name}' is {self.dtype}: a regex needs a string.")
            try:
                re.compile(self.regex)
            except re.error as error:
                raise DeclarationError(f"The regex of '{self.name}' is wrong: {error}.") from None
        if self.unique and self.dtype.startswith("list"):
            raise DeclarationError(f"'{self.name}' is {self.dtype}: only single values are unique.")
        # What else an expectation refuses is said here, not when the gate first meets it.
        assert self.expectations is not None

    @cached_property
    def expectations(self) -> tuple[Expectation, ...]:
        """The declared bounds, as expectations of the quality gate."""
        return feature_expectations(
            self.name,
            ge=self.ge,
            le=self.le,
            nullable=self.nullable,
            unique=self.unique,
            one_of=self.one_of,
            regex=self.regex,
        )

    @cached_property
    def bounds(self) -> dict[str, Expectation]:
        """Each declared bound by itself, as it was written: `"ge=0"`."""
        given: dict[str, Any] = {
            "nullable": self.nullable,
            "ge": self.ge,
            "le": self.le,
            "unique": self.unique,
            "one_of": None if self.one_of is None else list(self.one_of),
            "regex": self.regex,
        }
        return {
            f"{self.name} {bound}={value}": rule
            for bound, value in given.items()
            for rule in feature_expectations(self.name, **{bound: value})
        }

    def to_json(self) -> dict[str, Any]:
        """Return what is declared; defaults are left out, so that new ones change no hash."""
        full: dict[str, Any] = {
            "name": self.name,
            "dtype": self.dtype,
            "description": self.description,
            "ge": self.ge,
            "le": self.le,
            "nullable": None if self.nullable else False,
            "unique": self.unique or None,
            "one_of": None if self.one_of is None else encoded(self.one_of, "one_of"),
            "regex": self.regex,
            "owner": self.owner,
            "tags": dict(self.tags) or None,
            "pii": self.pii or None,
            "mask": self.mask,
            "derived_from": list(self.derived_from) or None,
        }
        return {key: value for key, value in full.items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        given = dict(value)
        if "one_of" in given:
            given["one_of"] = decoded(given["one_of"])
        return cls(**given)

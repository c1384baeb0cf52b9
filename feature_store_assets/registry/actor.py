"""Who acts: the person, service or run on whose behalf a call is made."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import Literal

from feature_store_assets.errors import DataError

_LONGEST = 128
# How it is known who acts: by a token over HTTP, by an identity provider, by the run in Dagster;
# `asserted` is whatever a process says of itself.
Source = Literal["asserted", "dagster", "oidc", "token"]


@dataclass(frozen=True)
class Actor:
    """Who acts.

    Parameters
    ----------
    name
        Of a person, service, token or job.
    roles
        What policies may ask for.
    source
        How it is known.
    """

    name: str
    roles: tuple[str, ...] = ()
    source: Source = "asserted"

    def __post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise DataError(
                f"{ascii(name)[:60]} is no name of an actor: give a text of printable characters."
            )
        if len(name) > _LONGEST:
            raise DataError(f"The name of an actor has at most {_LONGEST} characters.")

    @classmethod
    def of(cls, actor: Actor | str | None) -> Actor:
        """Return an actor, given as one or by name; by default the user of this process."""
        if actor is None:
            return cls.of_process()
        return actor if isinstance(actor, Actor) else cls(actor)

    @classmethod
    def of_process(cls) -> Actor:
        """Return the user who runs this process."""
        try:
            return cls(getpass.getuser())
        except (OSError, KeyError):  # a container's user without a name
            return cls("unknown")

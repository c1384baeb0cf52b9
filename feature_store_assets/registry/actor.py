"""Who acts: the person, service or run on whose behalf a call is made."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import Literal

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

    @classmethod
    def of_process(cls) -> Actor:
        """Return the user who runs this process."""
        try:
            return cls(getpass.getuser())
        except (OSError, KeyError):  # a container's user without a name
            return cls("unknown")

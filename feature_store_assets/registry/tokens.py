"""Who may use the HTTP server; of each token only its digest is kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feature_store_assets.declaration.feature import checked_label
from feature_store_assets.errors import NameTaken, TokenNotFound
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.database import api_tokens

if TYPE_CHECKING:
    from feature_store_assets.registry.database import Database


def hashed(token: str) -> str:
    """Return a token's SHA-256 in hex. Tokens are long and random, so they need no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class Token:
    """One token, without what would let anyone use it."""

    name: str
    created_at: datetime


class Tokens:
    """The table of tokens.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str) -> str:
        """Make a token and return it; nobody can read it again.

        Raises
        ------
        NameTaken
            A token of that name exists.
        """
        checked_label(name, "token", 128)
        secret = f"fs_{secrets.token_urlsafe(32)}"
        with self._database.write() as connection:
            taken = sa.select(api_tokens.c.name).where(api_tokens.c.name == name)
            if connection.execute(taken).first():
                raise NameTaken(name, "token")
            append(connection, "grant", f"token {name}")
            connection.execute(
                sa.insert(api_tokens).values(
                    name=name, digest=hashed(secret), created_at=datetime.now(UTC)
                )
            )
        return secret

    def names(self) -> list[Token]:
        """Return every token, by name."""
        query = sa.select(api_tokens.c.name, api_tokens.c.created_at).order_by(api_tokens.c.name)
        return [Token(**row) for row in self._database.rows(query)]

    def digests(self) -> dict[str, str]:
        """Return the digest of each token, by its name."""
        query = sa.select(api_tokens.c.name, api_tokens.c.digest)
        return {row["name"]: row["digest"] for row in self._database.rows(query)}

    def revoke(self, name: str) -> None:
        """Take a token back.

        Raises
        ------
        TokenNotFound
            The registry has no token of that name.
        """
        known = [token.name for token in self.names()]
        if name not in known:
            raise TokenNotFound(name, known)
        with self._database.write() as connection:
            append(connection, "revoke", f"token {name}")
            connection.execute(sa.delete(api_tokens).where(api_tokens.c.name == name))

"""Who may use the HTTP server: whoever presents a token that the settings or the registry know."""

from __future__ import annotations

import base64
import hmac
import logging
import threading
import time
from typing import TYPE_CHECKING, Self

from feature_store_assets.errors import ConfigError, RegistryUnusable
from feature_store_assets.registry.actor import Actor
from feature_store_assets.registry.tokens import hashed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from feature_store_assets.store import FeatureStore

_log = logging.getLogger(__name__)


class Guard:
    """Decides by tokens; asks the registry at once, then whenever `refresh` is called and due.

    Parameters
    ----------
    given
        Digests of the settings, by name.
    recorded
        Reads the registry's.
    anyone
        Who acts while everyone may come in.
    refresh
        How many seconds the registry's answer is good for.
    """

    def __init__(
        self,
        given: Mapping[str, str],
        recorded: Callable[[], Mapping[str, str]],
        *,
        anyone: Actor | None = None,
        refresh: float = 10.0,
    ) -> None:
        self.anyone = anyone or Actor.of_process()
        self._given = tuple(given.items())
        self._recorded = recorded
        self._period = refresh
        self._known = self._given
        # Until the registry has answered once, there may be tokens that nobody here knows of.
        self._answered = False
        self._asks = bool(given)
        self._failing = False
        self._next = time.monotonic()
        self._asking = threading.Lock()
        self.refresh()

    @classmethod
    def of(cls, store: FeatureStore) -> Self:
        """Guard a store by its settings and its registry."""
        pairs = [token.partition("=")[::2] for token in store.config.api_tokens]
        given = dict(pairs)
        if len(given) < len(pairs):
            raise ConfigError(
                f"Setting 'api_tokens' gives {len(pairs)} tokens only {len(given)} names "
                f"({', '.join(sorted(given))}): name each differently."
            )
        return cls(given, store.tokens.digests, anyone=store.actor)

    @property
    def open(self) -> bool:
        """Whether everyone may come in: no token is configured anywhere.

        Once there was one it stays closed: neither a lost registry nor taking back the last token,
        perhaps a leaked one, lets everyone into a server that runs.
        """
        return self._answered and not self._asks

    @property
    def due(self) -> bool:
        """Whether it is time for `refresh`."""
        return time.monotonic() >= self._next

    def admit(
        self, authorization: str | None, api_key: str | None, *, browser: bool = False
    ) -> Actor | None:
        """Return whoever presents a valid token, None if nobody does.

        Parameters
        ----------
        authorization
            The header of that name, which counts as `Bearer <token>`.
        api_key
            The header `X-API-Key`, a token.
        browser
            Whether the password of `Basic` counts, too. Nothing that writes may say so: a browser
            that knows one sends it along with what other sites ask here.
        """
        scheme, _, given = (authorization or "").partition(" ")
        scheme, found = scheme.lower(), None
        shown = given.strip() if scheme == "bearer" else None
        if browser and scheme == "basic":
            shown = _password(given.strip())
        for token in (shown, api_key):
            if not token:  # not even where someone hashed an empty variable
                continue
            digest = hashed(token)
            for owner, known in self._known:
                # To the end in every case: how long it takes tells nothing of who is known.
                if hmac.compare_digest(digest, known):
                    found = Actor(owner, source="token")
        return found

    def refresh(self) -> None:
        """Ask the registry again if that is due; while it cannot be read, nothing changes."""
        if not self.due or not self._asking.acquire(blocking=False):
            return
        try:
            self._next = time.monotonic() + self._period
            self._known = (*self._given, *self._recorded().items())
            self._asks = self._asks or bool(self._known)
            self._answered, self._failing = True, False
        except RegistryUnusable as error:
            if not self._failing:
                _log.warning("Tokens stay as they were known last: %s", error)
            self._failing = True
        finally:
            self._asking.release()


def _password(encoded: str) -> str | None:
    """The password of `Basic`, which follows the first colon; None if there is none."""
    try:
        _, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return None
    return password if colon else None

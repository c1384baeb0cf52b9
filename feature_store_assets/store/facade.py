"""What all verbs of the store share: its parts, and how it is opened and closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.parts import Parts
from feature_store_assets.registry.actor import Actor

if TYPE_CHECKING:
    from types import TracebackType

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.ingestion.revalidation import Review
    from feature_store_assets.lineage.queries import Lineage
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.registry.alerts import Alerts
    from feature_store_assets.registry.audit import Audit
    from feature_store_assets.registry.declarations import Applied
    from feature_store_assets.registry.holds import Holds
    from feature_store_assets.registry.lifecycle import Stages
    from feature_store_assets.registry.tokens import Tokens
    from feature_store_assets.registry.usage import Usage
    from feature_store_assets.retrieval.online import Serving
    from feature_store_assets.snapshots import Snapshots
    from feature_store_assets.storage import Location


class Facade:
    """An open store; its verbs stand in the classes beside this one, by theme.

    Attributes
    ----------
    parts
        What it is made of; programs use the verbs.
    """

    def __init__(
        self, config: FeatureStoreConfig | None = None, *, actor: Actor | str | None = None
    ) -> None:
        self.parts = Parts.of(config or FeatureStoreConfig(), actor)

    @classmethod
    def from_env(cls) -> Self:
        """Open the store that `FEATURE_STORE_*` variables (or the defaults) point at."""
        return cls(FeatureStoreConfig())

    def acting_as(self, actor: Actor | str) -> Self:
        """Return the same store, over the same connections, in which somebody else acts.

        Parameters
        ----------
        actor
            Who, or a name, which counts as asserted. Whoever closes one of the two closes both.
        """
        other = object.__new__(type(self))
        other.parts = self.parts.acting_as(actor if isinstance(actor, Actor) else Actor(actor))
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and connections."""
        self.parts.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of files and connections, with those of the running event loop."""
        await self.parts.aclose()

    def __repr__(self) -> str:
        return f"FeatureStore('{self.config.root}')"

    @property
    def config(self) -> FeatureStoreConfig:
        """The settings."""
        return self.parts.config

    @property
    def location(self) -> Location:
        """Where tables and all other files lie."""
        return self.parts.location

    @property
    def actor(self) -> Actor:
        """Who acts: it stands in the audit log, in counts of reads, and in `created_by`."""
        return self.parts.database.actor

    # Parts, for rooms above this one and for notebooks.

    @property
    def applied(self) -> Applied:
        """What is declared."""
        return self.parts.applied

    @property
    def stages(self) -> Stages:
        """How far each declaration is in its life."""
        return self.parts.stages

    @property
    def holds(self) -> Holds:
        """Legal holds."""
        return self.parts.holds

    @property
    def snapshots(self) -> Snapshots:
        """Pinned tables."""
        return self.parts.snapshots

    @property
    def tokens(self) -> Tokens:
        """Tokens of the HTTP server."""
        return self.parts.tokens

    @property
    def alerts(self) -> Alerts:
        """Alerts on their way."""
        return self.parts.alerts

    @property
    def audit(self) -> Audit:
        """The audit log."""
        return self.parts.audit

    @property
    def usage(self) -> Usage:
        """Who reads what."""
        return self.parts.usage

    @property
    def serving(self) -> Serving:
        """The online side."""
        return self.parts.serving

    @property
    def review(self) -> Review:
        """Statistics, quarantine and the gate."""
        return self.parts.review

    @property
    def lineage(self) -> Lineage:
        """The graph of what comes from what, for drawing and export."""
        return self.parts.lineage

    def groups(self) -> list[FeatureGroup]:
        """Return the applied groups, the newest version of each, by name."""
        return self.applied.groups()

    def table(self, group: FeatureGroup) -> OfflineTable:
        """Return the offline table of a group's version."""
        return self.parts.table(group)

    def sizes(self) -> dict[str, int]:
        """Return the bytes that each group's newest rows take, by name."""
        tables = {group.name: self.table(group) for group in self.groups()}
        return {name: table.size() for name, table in tables.items() if table.exists}

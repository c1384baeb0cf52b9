"""The online rows: publish, rebuild, delete, read."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import DataError
from feature_store_assets.store.facade import Facade

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feature_store_assets.online import OnlineStore
    from feature_store_assets.online.generations import Rebuilt
    from feature_store_assets.online.publish import Published
    from feature_store_assets.online.result import Output


class OnlineVerbs(Facade):
    """Keeps and reads online rows."""

    @property
    def online(self) -> OnlineStore:
        """The online store, opened on first use."""
        return self.serving.store

    def publish(
        self,
        group: FeatureGroup,
        partitions: Sequence[str],
        *,
        now: datetime | None = None,
        told: Callable[[int], None] = lambda _: None,
    ) -> Published:
        """Make the online rows of a group follow partitions of its table.

        Whatever else of the group was committed and is not online yet, because a process was
        killed or only the table was written, is published in the same call. `told` hears of rows
        as they are put, every 20,000 of them.
        """
        return self.parts.publish(group, partitions, now=now, told=told)

    def rebuild_online(self, name: str) -> Rebuilt:
        """Write all online rows of a group anew, then switch readers to them at once.

        For an online store that lost rows, or holds some that it should not. Until the switch the
        old rows are served; they go half a minute after it, which this call waits for (longer if
        `serve_stale_seconds` is: until no reader can use them). Memory and disk hold both
        meanwhile. If it fails, or is killed, nothing changes for readers: run it again.

        Returns
        -------
        The generation that is read now, what was written, and how many old rows were removed.
        """
        group = self._online_group(name)
        return self.serving.rebuild(group, self.parts.filled(group))

    def delete_online_features(self, feature_group: str, entity_ids: Sequence[Any]) -> int:
        """Remove the online rows of entities; return how many there were.

        Delete the rows offline first: publishing a partition that still holds them brings them
        back.

        Parameters
        ----------
        feature_group
            The group's name.
        entity_ids
            As `get_online_features` takes them.
        """
        group = self._online_group(feature_group)
        removed = self.serving.remove(group, entity_ids)
        told = {"entities": len(entity_ids), "removed": removed}
        self.audit.add("erase", f"online {feature_group}", told)
        return removed

    def _online_group(self, name: str) -> FeatureGroup:
        group = self.applied.group(name)
        if not group.online:
            raise DataError(f"'{name}' is not served: declare online=True on it.")
        return group

    def get_online_features(
        self,
        feature_group: Any,
        entity_ids: Sequence[Any],
        features: Sequence[str] | None = None,
        *,
        at: datetime | None = None,
        include_status: bool = False,
        output: Output = "dicts",
    ) -> Any:
        """Read the newest features of entities.

        Parameters
        ----------
        feature_group
            A view or group, by name or as declared, or a list of `"group.feature"`.
        entity_ids
            Values of the one join key; tuples of several; or dicts by join key, as a view over
            groups with different keys needs them, and one with request values, which stand there
            too.
        features
            Only these.
        at
            Count ages from this instant instead of now; it does not travel in time.
        include_status
            Tell `{"values", "status", "event_timestamp", "age_seconds", "stale"}` of each entity;
            status is `present`, `missing` or `expired`. With Arrow these are columns.
        output
            `"dicts"`; `"arrow"`, a `pyarrow.Table` of keys and features, a row per entity; or
            `"numpy"`, a float64 array of entities by features, NaN where there is no value.

        Returns
        -------
        `{entity: {feature: value}}`, or a list in the order asked where the entities are dicts.
        A missing or expired feature is None, or the view's default.
        """
        query = self.serving.query(feature_group, features, self.actor.name)
        return query.ask(self.serving.rows, entity_ids, at, status=include_status, output=output)

    async def get_online_features_async(
        self,
        feature_group: Any,
        entity_ids: Sequence[Any],
        features: Sequence[str] | None = None,
        *,
        at: datetime | None = None,
        include_status: bool = False,
        output: Output = "dicts",
    ) -> Any:
        """Read the newest features of entities without blocking the event loop.

        Look-ups that arrive together share one command to Redis. Everything else is as in
        `get_online_features`.
        """
        query = await self.serving.query_async(feature_group, features, self.actor.name)
        return await query.ask_async(
            self.serving.rows, entity_ids, at, status=include_status, output=output
        )

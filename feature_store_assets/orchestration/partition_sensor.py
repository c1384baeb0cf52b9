"""The sensor that asks for partitions: missing ones, late ones, and those not yet online."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance

from feature_store_assets.dagster_io.names import ALL
from feature_store_assets.dagster_io.partitions import as_ranges, dagster_partitions
from feature_store_assets.declaration.group import FeatureGroup

_SECONDS = 60
_RUNS = 5  # that this sensor asked for and that are not over yet, at most
_TAG = "feature_store/requested_by"
_NAME = "partitions"
_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def partition_sensor(
    groups: Sequence[FeatureGroup], *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> dg.SensorDefinition:
    """Return the sensor that keeps groups complete, up to date and published.

    It asks for a partition when all that it reads is there and it is missing or older than what
    it reads, and for its online copy when that is older than the partition. Neighbours become one
    run. What was asked for once is not asked for again until the code or something that it reads
    changed: a rejected partition does not run in circles.
    """
    names = [key for group in groups for key in _assets(group, published=group.online)]
    upstream: dict[tuple[str, dg.AssetKey, str], tuple[str, ...]] = {}

    @dg.sensor(
        name=_NAME,
        asset_selection=dg.AssetSelection.assets(*names),
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Asks for partitions that are missing, behind what they read, or not online.",
    )
    def ask(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before: dict[str, dict[str, str]] = json.loads(context.cursor or "{}")
        assert context.repository_def is not None
        filters = dg.RunsFilter(tags={_TAG: _NAME}, statuses=_UNFINISHED)
        room = _RUNS - context.instance.get_runs_count(filters)
        world = _World(context.instance, context.repository_def.asset_graph, now(), upstream)
        requests: list[dg.RunRequest] = []
        asked: dict[str, dict[str, str]] = {}
        for group in groups:
            wanted = dict(world.wanted(group))
            told = before.get(group.name, {})
            asked[group.name] = {key: told[key] for key in wanted if told.get(key) == wanted[key]}
            fresh = {key: why for key, why in wanted.items() if key not in asked[group.name]}
            for keys, request in _requests(group, fresh, world.keys(group)):
                if len(requests) < room:
                    requests.append(request)
                    asked[group.name].update({key: fresh[key] for key in keys})
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else "Nothing is missing, late or unpublished.",
            cursor=json.dumps({name: keys for name, keys in asked.items() if keys}),
        )

    return ask


def _assets(group: FeatureGroup, *, computed: bool = True, published: bool) -> list[dg.AssetKey]:
    own = [dg.AssetKey([group.name])] if computed else []
    return [*own, *([dg.AssetKey(["online", group.name])] if published else [])]


@dataclass
class _World:
    """What the instance has recorded, looked up once a tick.

    `upstream` remembers which partitions each partition reads: that never changes, and asking
    Dagster for it takes a millisecond each.
    """

    instance: DagsterInstance
    graph: Any
    now: datetime
    upstream: dict[tuple[str, dg.AssetKey, str], tuple[str, ...]]
    found: dict[dg.AssetKey, Mapping[str, int]] = field(default_factory=dict)

    def keys(self, group: FeatureGroup) -> list[str]:
        """The partitions of a group that have ended and are still to be kept, in order."""
        definition = dagster_partitions(group.partitions)
        if definition is None:
            return [ALL]
        keys = list(definition.get_partition_keys(self.now))
        if group.retention is None or not isinstance(definition, dg.TimeWindowPartitionsDefinition):
            return keys
        oldest = self.now - group.retention
        return [key for key in keys if definition.time_window_for_partition_key(key).end >= oldest]

    def written(self, key: dg.AssetKey) -> Mapping[str, int]:
        """When each partition was last written, as the event log counts."""
        if key not in self.found:
            if self.graph.get(key).partitions_def is None:
                records = self.instance.fetch_materializations(key, limit=1).records
                self.found[key] = {ALL: records[0].storage_id} if records else {}
            else:
                self.found[key] = self.instance.get_latest_storage_id_by_partition(
                    key, DagsterEventType.ASSET_MATERIALIZATION
                )
        return self.found[key]

    def wanted(self, group: FeatureGroup) -> Iterator[tuple[str, str]]:
        """Give each partition to ask for, with what must change before it is asked for again."""
        own, online = dg.AssetKey([group.name]), dg.AssetKey(["online", group.name])
        version = self.graph.get(own).code_version
        written = self.written(own)
        published = self.written(online) if group.online else {}
        for key in self.keys(group):
            newest = self._newest_read(group, key)
            if newest is not None and newest >= written.get(key, 0):
                yield key, f"compute {version} {newest}"
            elif group.online and key in written and published.get(key, 0) < written[key]:
                yield key, f"publish {written[key]}"

    def _newest_read(self, group: FeatureGroup, key: str) -> int | None:
        """When the newest of what a partition reads was written; None while some is missing."""
        newest = 0
        for parent in self.graph.get(dg.AssetKey([group.name])).parent_keys:
            if not self.graph.get(parent).is_materializable:
                continue
            written = self.written(parent)
            read = self._read(group.name, parent, key)
            for each in written if read is None else read:
                if each not in written:
                    return None
                newest = max(newest, written[each])
            if read is None and not written:
                return None
        return newest

    def _read(self, name: str, parent: dg.AssetKey, key: str) -> tuple[str, ...] | None:
        """Which partitions of a parent a partition reads; None means all there are."""
        if self.graph.get(parent).partitions_def is None:
            return (ALL,)
        if key == ALL:
            return None
        place = (name, parent, key)
        if place not in self.upstream:
            result = self.graph.get_parent_partition_keys_for_child(
                key, parent, dg.AssetKey([name])
            )
            self.upstream[place] = tuple(result.partitions_subset.get_partition_keys())
        return self.upstream[place]


def _requests(
    group: FeatureGroup, wanted: Mapping[str, str], every: Sequence[str]
) -> Iterator[tuple[list[str], dg.RunRequest]]:
    """Give runs for partitions: neighbours together, where the group can run so."""
    itself = group.name in group.upstream
    apart = itself or (group.partitions is not None and group.partitions.kind == "multi")
    for computed in (True, False):
        chosen = {key for key, why in wanted.items() if why.startswith("compute") == computed}
        selection = _assets(group, computed=computed, published=group.online)
        ranges = (
            [(key, key) for key in every if key in chosen] if apart else as_ranges(every, chosen)
        )
        # A group that reads its own past goes on when that is there.
        for first, last in ranges[:1] if itself and computed else ranges:
            keys = list(every[every.index(first) : every.index(last) + 1])
            tags = {_TAG: _NAME}
            if first != last:
                tags |= dict(zip(_RANGE, (first, last), strict=True))
            yield (
                keys,
                dg.RunRequest(
                    run_key=f"{group.name} {first} {last} {max(wanted[key] for key in keys)}",
                    asset_selection=selection,
                    partition_key=first if first == last and first != ALL else None,
                    tags=tags,
                ),
            )

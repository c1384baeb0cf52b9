"""What Dagster's event log says of partitions: when each was written, and what went wrong."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

from feature_store_assets.dagster_io.asset_graph import Location, asset_graph
from feature_store_assets.dagster_io.names import ALL, DRIFT, QUALITY
from feature_store_assets.errors import DataError, NotFound, suggestion

_HISTORY = 5_000


class Cell(NamedTuple):
    """One partition of an asset; `all` of one without."""

    asset: str
    partition: str


class Written(NamedTuple):
    """One materialization, as the event log counts."""

    number: int
    run_id: str
    at: datetime


def root_cause(
    home: Path, location: Location, feature_id: str, partition: str, tables: Collection[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the partitions behind one value, and what is wrong with them.

    Parameters
    ----------
    tables
        The assets and groups upstream of the feature, and its own.
    """
    group, _, feature = feature_id.rpartition(".")
    graph = asset_graph(*location)
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        dg.partition_loading_context(dynamic_partitions_store=instance),
    ):
        search = _Search(graph, instance, set(tables))
        search.read(Cell(group, _checked(graph, group, partition)))
        causes = [*search.missing_and_newer(), *search.failed_runs()]
        for asset in search.by_asset:
            about = feature if asset == group else None
            causes += search.failed_checks(asset, about)
        return list(search.rows()), causes


def _checked(graph: Any, group: str, partition: str) -> str:
    key = dg.AssetKey([group])
    if not graph.has(key) or not graph.get(key).is_materializable:
        raise DataError(
            f"'{group}' is not computed by Dagster, which knows no cause of its values."
        )
    definition = graph.get(key).partitions_def
    known = [ALL] if definition is None else definition.get_partition_keys()
    if partition not in known:
        raise NotFound(f"'{group}' has no partition '{partition}'." + suggestion(partition, known))
    return partition


@dataclass
class _Search:
    """Partitions upstream of one, with what the event log says of each."""

    graph: Any
    instance: dg.DagsterInstance
    tables: set[str]
    depth: dict[Cell, int] = field(default_factory=dict)
    reads: dict[Cell, list[Cell]] = field(default_factory=dict)
    by_asset: dict[str, list[str]] = field(default_factory=dict)
    written: dict[Cell, list[Written]] = field(default_factory=dict)

    def read(self, start: Cell) -> None:
        """Find the partitions that one comes from, and when each was written."""
        self.depth[start] = 0
        front = [start]
        while front:
            reached: list[Cell] = []
            for cell in front:
                self.reads[cell] = list(self._parents(cell))
                # A group that reads its own past goes back one step, not to its beginning.
                for parent in self.reads[cell]:
                    if parent not in self.depth:
                        self.depth[parent] = self.depth[cell] + 1
                        if parent.asset != cell.asset:
                            reached.append(parent)
            front = reached
        for cell in self.depth:
            self.by_asset.setdefault(cell.asset, []).append(cell.partition)
        for asset, partitions in self.by_asset.items():
            self._look_up(asset, partitions)

    def _parents(self, cell: Cell) -> Iterator[Cell]:
        key = dg.AssetKey.from_user_string(cell.asset)
        for parent in sorted(self.graph.get(key).parent_keys):
            name = parent.to_user_string()
            if name not in self.tables or not self.graph.get(parent).is_materializable:
                continue
            if self.graph.get(parent).partitions_def is None:
                yield Cell(name, ALL)
            elif cell.partition == ALL:  # it reads all that there are
                for partition in sorted(self.instance.get_materialized_partitions(parent)):
                    yield Cell(name, partition)
            else:
                found = self.graph.get_parent_partition_keys_for_child(cell.partition, parent, key)
                for partition in found.partitions_subset.get_partition_keys():
                    yield Cell(name, partition)

    def _look_up(self, asset: str, partitions: Sequence[str]) -> None:
        """Remember how often each partition was written, the newest first."""
        key = dg.AssetKey.from_user_string(asset)
        chosen = None if list(partitions) == [ALL] else list(partitions)
        filters = dg.AssetRecordsFilter(key, asset_partitions=chosen)
        for record in self.instance.fetch_materializations(filters, limit=_HISTORY).records:
            cell = Cell(asset, record.partition_key or ALL)
            at = datetime.fromtimestamp(record.timestamp, UTC)
            self.written.setdefault(cell, []).append(Written(record.storage_id, record.run_id, at))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Give the partitions, the nearest first."""
        for cell, depth in sorted(self.depth.items(), key=lambda pair: (pair[1], pair[0])):
            newest = next(iter(self.written.get(cell, ())), None)
            yield {
                "asset": cell.asset,
                "partition": cell.partition,
                "depth": depth,
                "run_id": newest.run_id if newest else None,
                "materialized_at": newest.at if newest else None,
            }

    def missing_and_newer(self) -> Iterator[dict[str, Any]]:
        """Give upstream partitions that are not there, and those written after what reads them."""
        told = set()
        for cell, parents in self.reads.items():
            mine = self.written.get(cell)
            if not mine:
                told.add(cell)
                yield self._cause("missing partition", cell, None, "It was never materialized.")
            for parent in parents:
                theirs = self.written.get(parent)
                if not theirs and parent not in self.reads and parent not in told:
                    told.add(parent)
                    detail = "It was never materialized."
                    yield self._cause("missing partition", parent, None, detail)
                if mine and theirs and theirs[0].number > mine[0].number:
                    late = theirs[-1].number > mine[0].number
                    yield self._cause(
                        "late input" if late else "changed input",
                        parent,
                        theirs[0],
                        f"Materialized after {cell.asset} {cell.partition}, which read it"
                        f"{' before it was there' if late else ' as it was before'}.",
                    )

    def failed_runs(self) -> Iterator[dict[str, Any]]:
        """Give runs that were to write a partition, and did not."""
        storage = self.instance.event_log_storage
        for asset, partitions in self.by_asset.items():
            key = dg.AssetKey.from_user_string(asset)
            attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(  # noqa: E501  # Dagster's name
                key
            )
            for partition in partitions:
                run_id, _ = attempts.get(partition, ("", 0))
                run = self.instance.get_run_record_by_id(run_id) if run_id else None
                if run is not None and run.dagster_run.status is dg.DagsterRunStatus.FAILURE:
                    at = datetime.fromtimestamp(run.end_time or run.start_time or 0, UTC)
                    cell = Cell(asset, partition)
                    detail = f"Its run failed; job {run.dagster_run.job_name}."
                    yield self._cause("failed run", cell, Written(0, run_id, at), detail)

    def failed_checks(self, asset: str, about: str | None) -> Iterator[dict[str, Any]]:
        """Give the newest results of checks that failed, of one feature if it is named."""
        cells = {Cell(asset, each) for each in self.by_asset[asset]}
        for check in sorted(
            self.graph.get_check_keys_for_assets({dg.AssetKey.from_user_string(asset)})
        ):
            for cell, result in _newest(self.instance, asset, check):
                if cell in cells and not result.passed:
                    reasons = _reasons(result.metadata, about)
                    if reasons is not None:
                        severe = result.severity is dg.AssetCheckSeverity.ERROR
                        problem = "failed check" if severe else "warned check"
                        detail = f"{check.name}: {'; '.join(reasons) or 'failed'}"
                        yield self._cause(problem, cell, result.written, detail)

    def _cause(
        self, problem: str, cell: Cell, written: Written | None, detail: str
    ) -> dict[str, Any]:
        return {
            "problem": problem,
            "asset": cell.asset,
            "partition": cell.partition,
            "depth": self.depth[cell],
            "at": written.at if written else None,
            "run_id": written.run_id if written else None,
            "detail": detail,
        }


class _Result(NamedTuple):
    passed: bool
    severity: dg.AssetCheckSeverity
    metadata: Mapping[str, Any]
    written: Written


def _results(
    instance: dg.DagsterInstance, asset: str, check: dg.AssetCheckKey, limit: int
) -> Iterator[tuple[Cell, _Result]]:
    """Give the results of a check by partition, the newest first; not a run's summary of many."""
    storage = instance.event_log_storage
    for record in storage.get_asset_check_execution_history(check, limit):
        event = record.event
        if event is None or event.dagster_event is None:
            continue
        data: Any = event.dagster_event.event_specific_data
        if not isinstance(data, dg.AssetCheckEvaluation) or "failed_partitions" in data.metadata:
            continue
        at = datetime.fromtimestamp(event.timestamp, UTC)
        written = Written(0, event.run_id, at)
        yield (
            Cell(asset, data.partition or record.partition or ALL),
            _Result(data.passed, data.severity, data.metadata, written),
        )


def _newest(
    instance: dg.DagsterInstance, asset: str, check: dg.AssetCheckKey
) -> Iterable[tuple[Cell, _Result]]:
    found: dict[Cell, _Result] = {}
    for cell, result in _results(instance, asset, check, _HISTORY):
        found.setdefault(cell, result)
    return found.items()


def _reasons(metadata: Mapping[str, Any], about: str | None) -> list[str] | None:
    """Return why a check failed; None if it failed for features other than the one asked about."""
    table: Any = metadata.get("reasons")
    if table is None:
        return []
    records = [record.data for record in table.records]
    chosen = [
        row for row in records if about is None or about in str(row.get("feature")).split(", ")
    ]
    return [str(row["reason"]) for row in chosen] if chosen else None


def events(home: Path, feature_id: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest materializations of a feature's group, and its checks that failed."""
    group, _, feature = feature_id.rpartition(".")
    key = dg.AssetKey([group])
    with dg.DagsterInstance.from_config(str(home)) as instance:
        found = [
            {
                "at": datetime.fromtimestamp(record.timestamp, UTC),
                "event": "materialized",
                "name": f"{group} {record.partition_key or ALL}",
                "detail": record.run_id,
            }
            for record in instance.fetch_materializations(key, limit=limit).records
        ]
        for name in (QUALITY, DRIFT):
            for cell, result in _results(instance, group, dg.AssetCheckKey(key, name), limit):
                reasons = None if result.passed else _reasons(result.metadata, feature)
                if reasons is not None:
                    found.append(
                        {
                            "at": result.written.at,
                            "event": f"{name} failed",
                            "name": f"{group} {cell.partition}",
                            "detail": "; ".join(reasons),
                        }
                    )
    return found

"""Questions about lineage, answered from one graph that is kept as long as nothing changes."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import DagsterUnavailable, DataError, FeatureStoreError
from feature_store_assets.lineage.builder import build
from feature_store_assets.lineage.graph import TABLES, Graph, Node
from feature_store_assets.offline.quarantine import Quarantine
from feature_store_assets.registry.database import applied, models, pins, training_sets
from feature_store_assets.registry.declarations import Applied
from feature_store_assets.registry.dependents import (
    Dependents,
    TrainingSetFeatures,
    features_of,
)
from feature_store_assets.registry.models import Models
from feature_store_assets.registry.pins import Pins, training_pin
from feature_store_assets.registry.training_sets import TrainingSetTable
from feature_store_assets.storage import location

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from feature_store_assets.config import FeatureStoreConfig
    from feature_store_assets.dagster_io.asset_graph import Location, Traced
    from feature_store_assets.registry.database import Database
    from feature_store_assets.registry.models import Model

_log = logging.getLogger(__name__)

Direction = Literal["upstream", "downstream", "both"]
_DIRECTIONS = ("upstream", "downstream", "both")


class Lineage:
    """The lineage of a store.

    Parameters
    ----------
    config, database
        The store's.
    manifest
        Returns the manifest of a training set by its name.
    """

    def __init__(
        self,
        config: FeatureStoreConfig,
        database: Database,
        manifest: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self._config, self._database, self._manifest = config, database, manifest
        self._applied, self._pins = Applied(database), Pins(database)
        self._training_sets = TrainingSetTable(database)
        self.models = Models(database)
        self._graph: tuple[object, Graph] | None = None
        self._learnt: dict[str, TrainingSetFeatures] = {}

    # The graph

    def graph(self) -> Graph:
        """Return all lineage there is now."""
        state = self._state()
        if self._graph is None or self._graph[0] != state:
            code = self._location()
            traced = None if code is None else self._traced(code)
            self._graph = state, build(self.dependents(), traced)
        return self._graph[1]

    def _traced(self, code: Location) -> Traced:
        from feature_store_assets.dagster_io.asset_graph import trace

        return trace(*code, self._config.dagster_home)

    def _location(self) -> Location | None:
        """Return the module or file of the definitions, and the project root."""
        given, root = self._config.definitions, self._config.project
        if not self._config.enable_lineage:
            return None
        if given is not None:
            named = (None, root / given) if given.endswith(".py") else (given, None)
            return *named, root
        return (None, None, root) if (root / "workspace.yaml").exists() else None

    def _state(self) -> object:
        """What the registry holds, in short: a graph of the same state is still true."""
        if not self._database.exists:
            return None
        queries = (
            sa.select(applied.c.kind, applied.c.name, applied.c.version, applied.c.hash),
            sa.select(sa.func.count(), sa.func.max(pins.c.created_at)),
            sa.select(training_sets.c.digest),
            sa.select(models.c.name, models.c.logged_at),
        )
        with self._database.read() as connection:
            return [set(map(tuple, connection.execute(query))) for query in queries]

    def dependents(self) -> Dependents:
        """Return what the registry knows that may use groups and views."""
        for recorded in self._training_sets.all():
            if recorded.name not in self._learnt:  # training sets never change
                learnt = self._learnt_by(recorded.name, recorded.created_by)
                self._learnt[recorded.name] = learnt
        return Dependents(
            tuple(self._applied.groups()),
            tuple(self._applied.views()),
            tuple(self._pins.all()),
            tuple(self._learnt.values()),
            tuple(self.models.all()),
        )

    def _learnt_by(self, name: str, created_by: str) -> TrainingSetFeatures:
        try:
            snapshot = self._manifest(name).get("snapshot")
            return TrainingSetFeatures(name, created_by, self._features(name), snapshot)
        except FeatureStoreError:
            return TrainingSetFeatures(name, created_by, self._pinned(name))

    def _features(self, training_set: str) -> tuple[str, ...]:
        manifest = self._manifest(training_set)
        return tuple(features_of(FeatureView.from_json(manifest["view"])))

    def _pinned(self, training_set: str) -> tuple[str, ...]:
        """Return all that a training set may hold whose files are gone."""
        held = [pin for pin in self._pins.all() if pin.name == training_pin(training_set)]
        groups = [self._applied.find(pin.feature_group, pin.group_version) for pin in held]
        return tuple(
            f"{group.name}.{name}" for group in groups if group for name in group.feature_names
        )

    # What is logged

    def log(self, model: Model) -> Model:
        """Record a model, and report it to the Dagster instance, if there is one."""
        if not self._config.enable_lineage:
            return model
        if self.models.add(model):
            self._report_model(model)
        return self.models.get(model.name)

    def _report_model(self, model: Model) -> None:
        def report(home: Path) -> None:
            from feature_store_assets.dagster_io.reports import report_materialization

            metadata = {
                "training_set": model.training_set,
                "features": list(model.features),
                "endpoint": model.endpoint,
                "logged_by": model.logged_by,
            }
            report_materialization(home, ["models", model.name], metadata, model.description)

        self._report(report)

    def report_write(self, feature_group: str, metadata: Mapping[str, Any]) -> None:
        """Report rows that were pushed to the Dagster instance, if there is one."""

        def report(home: Path) -> None:
            from feature_store_assets.dagster_io.reports import report_materialization

            report_materialization(home, [feature_group], metadata)

        self._report(report)

    def report_snapshot(self, manifest: Mapping[str, Any], *, deleted: bool = False) -> None:
        """Report a snapshot that was made or deleted to the Dagster instance, if there is one."""

        def report(home: Path) -> None:
            from feature_store_assets.dagster_io import reports

            tell = reports.report_snapshot_deleted if deleted else reports.report_snapshot
            tell(home, manifest)

        self._report(report)

    def _report(self, report: Callable[[Path], None]) -> None:
        """Let the Dagster instance hear of what was done, if there is one.

        It was done all the same if Dagster cannot be told: a failure is only logged.
        """
        home = self._config.dagster_home
        if home is None or not self._config.enable_lineage:
            return
        try:
            report(home)
        except Exception:  # noqa: BLE001 - whatever Dagster's storage raises
            _log.exception("The Dagster instance in %s could not be told.", home)

    def learnt(self, training_set: str) -> tuple[str, tuple[str, ...]]:
        """Return what a training set was made from, and the ids of its features."""
        view = self._training_sets.get(training_set).view
        return view, self._features(training_set)

    # Answers

    def of(
        self, feature_id: str, direction: Direction = "both", depth: int | None = None
    ) -> dict[str, Any]:
        """Answer `get_feature_lineage`."""
        if direction not in _DIRECTIONS:
            raise DataError(f"direction is one of {', '.join(_DIRECTIONS)}, not '{direction}'.")
        if depth is not None and depth < 1:
            raise DataError(f"depth counts steps, from 1 on, not {depth}.")
        graph = self.graph()
        start = graph.find(feature_id)
        up = graph.upstream(start, depth) if direction != "downstream" else {}
        down = graph.downstream(start, depth) if direction != "upstream" else {}
        return {
            "feature_id": start.id,
            "kind": start.kind,
            "owners": list(graph.owners[start]),
            "source": graph.source,
            "upstream": _listed(graph, up),
            "downstream": _listed(graph, down),
            "edges": [
                {
                    "from": edge.origin.id,
                    "from_kind": edge.origin.kind,
                    "to": edge.target.id,
                    "to_kind": edge.target.kind,
                    "known_by": edge.known_by,
                }
                for edge in graph.among({start, *up, *down})
            ],
        }

    def part(
        self, feature_id: str, direction: Direction = "both", depth: int | None = None
    ) -> Graph:
        """Return the graph around a feature or source column, to be drawn or exported."""
        graph, found = self.graph(), self.of(feature_id, direction, depth)
        start = Node(found["kind"], found["feature_id"])
        near = [*found["upstream"], *found["downstream"]]
        return graph.part({start, *(Node(each["kind"], each["id"]) for each in near)})

    def root_cause(self, feature_id: str, partition: str) -> dict[str, Any]:
        """Answer `root_cause`."""
        graph = self.graph()
        start = graph.find(feature_id, ["feature"])
        home, code = self._config.dagster_home, self._location()
        if code is None:
            raise DagsterUnavailable("code location", "Name it in FEATURE_STORE_DEFINITIONS.")
        if home is None:
            raise DagsterUnavailable("instance", "Set DAGSTER_HOME to its folder.")
        tables = {
            each.id if each.kind in TABLES else each.table
            for each in (start, *graph.upstream(start))
        }
        from feature_store_assets.dagster_io import event_log

        read, causes = event_log.root_cause(home, code, start.id, partition, tables)
        asked = {(each["asset"], each["partition"]): each["depth"] for each in read}
        quarantine = Quarantine(location(self._config.root).at("quarantine"))
        for table in sorted({asset for asset, _ in asked}):
            for entry in quarantine.entries(table):
                if (table, entry.partition) in asked:
                    causes.append(
                        {
                            "problem": "quarantined",
                            "asset": table,
                            "partition": entry.partition,
                            "depth": asked[table, entry.partition],
                            "at": entry.rejected_at,
                            "run_id": entry.run_id,
                            "detail": "; ".join(entry.reasons),
                        }
                    )
        causes.sort(key=lambda it: (-it["depth"], it["asset"], it["partition"], it["problem"]))
        return {
            "feature_id": start.id,
            "partition": partition,
            "causes": causes,
            "partitions": read,
        }

    def timeline(self, feature_id: str, limit: int = 100) -> list[dict[str, Any]]:
        """Answer `timeline`."""
        graph = self.graph()
        start = graph.find(feature_id, ["feature"])
        after = {*graph.downstream(start)}
        events = [
            _event(edit.changed_at, f"declaration {edit.action}", edit.name, edit.changed_by)
            for edit in self._applied.history(start.table)
        ]
        seen = dict.fromkeys(
            (pin.created_at, pin.owner, pin.created_by)
            for pin in self._pins.all()
            if pin.feature_group == start.table and pin.of_snapshot
        )
        events += [_event(at, "snapshot", name, by) for at, name, by in seen]
        events += [
            _event(each.created_at, "training set", each.name, each.created_by)
            for each in self._training_sets.all()
            if Node("training_set", each.name) in after
        ]
        events += [
            _event(each.logged_at, "model", each.name, each.logged_by)
            for each in self.models.all()
            if Node("model", each.name) in after
        ]
        home = self._config.dagster_home
        if home is not None and self._config.enable_lineage:
            from feature_store_assets.dagster_io import event_log

            events += event_log.events(home, start.id, limit)
        events.sort(key=lambda event: (event["at"], event["event"], event["name"]))
        return events[-limit:]


def _listed(graph: Graph, found: Mapping[Node, int]) -> list[dict[str, Any]]:
    return [
        {"id": node.id, "kind": node.kind, "depth": steps, "owners": list(graph.owners[node])}
        for node, steps in sorted(found.items(), key=lambda pair: (pair[1], pair[0]))
    ]


def _event(at: datetime, event: str, name: str, detail: str) -> dict[str, Any]:
    return {"at": at, "event": event, "name": name, "detail": detail}

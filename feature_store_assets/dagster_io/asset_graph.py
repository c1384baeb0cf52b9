"""A code location as Dagster has it: its assets, their columns, and what it declares."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg

from feature_store_assets.dagster_io.code_location import declarations, load_definitions
from feature_store_assets.dagster_io.names import RECORDED
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView

_LINEAGE, _SCHEMA = "dagster/column_lineage", "dagster/column_schema"
Location = tuple[str | None, Path | None, Path]


@dataclass(frozen=True)
class Table:
    """An asset as Dagster has it.

    Parameters
    ----------
    name
        Its key, `a/b`.
    parents
        The keys of what it reads.
    columns
        Those that it is known to have.
    lineage
        Column -> (asset, column) that it comes from.
    recorded
        It stands for a snapshot, a training set or a model of the registry.
    """

    name: str
    parents: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    lineage: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    recorded: bool = False


@dataclass(frozen=True)
class Traced:
    """A code location: its assets, and the groups and views that it declares."""

    tables: tuple[Table, ...]
    groups: tuple[FeatureGroup, ...]
    views: tuple[FeatureView, ...]


@lru_cache
def _load(module: str | None, file: Path | None, root: Path) -> dg.Definitions:
    if str(root) not in sys.path:  # modules in the project root are found, as by Dagster
        sys.path.insert(0, str(root))
    return load_definitions(module=module, file=file, workspace=root / "workspace.yaml")


def asset_graph(module: str | None, file: Path | None, root: Path) -> Any:
    """Return the asset graph of a code location."""
    return _load(module, file, root).resolve_asset_graph()


@lru_cache
def trace(module: str | None, file: Path | None, root: Path, home: Path | None) -> Traced:
    """Return what a code location says of lineage; it is loaded once in a process.

    Assets whose definitions say no columns, such as those of dbt, may have said them in a run.

    Parameters
    ----------
    module, file
        Where the definitions are; by default what the workspace file of the root names.
    root
        The project root.
    home
        The folder of the Dagster instance.
    """
    definitions = _load(module, file, root)
    graph = definitions.resolve_asset_graph()
    declared = declarations(definitions)
    nodes = [graph.get(key) for key in graph.toposorted_asset_keys]
    silent = [node.key for node in nodes if not {_LINEAGE, RECORDED} & node.metadata.keys()]
    told = {} if home is None or not silent else _told_in_runs(home, silent)
    return Traced(
        tuple(_table(node, {**told.get(node.key, {}), **node.metadata}) for node in nodes),
        tuple(each for each in declared if isinstance(each, FeatureGroup)),
        tuple(each for each in declared if isinstance(each, FeatureView)),
    )


def _told_in_runs(home: Path, keys: Sequence[dg.AssetKey]) -> dict[dg.AssetKey, Mapping[str, Any]]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        entries = [record.asset_entry for record in instance.get_asset_records(keys)]
    return {
        entry.asset_key: event.asset_materialization.metadata
        for entry in entries
        if (event := entry.last_materialization) is not None and event.asset_materialization
    }


def _table(node: Any, metadata: Mapping[str, Any]) -> Table:
    schema, lineage = metadata.get(_SCHEMA), metadata.get(_LINEAGE)
    by_column = {} if lineage is None else getattr(lineage, "value", lineage).deps_by_column
    columns = () if schema is None else getattr(schema, "value", schema).columns
    return Table(
        node.key.to_user_string(),
        parents=tuple(sorted(key.to_user_string() for key in node.parent_keys)),
        owners=tuple(node.owners),
        columns=tuple(column.name for column in columns),
        lineage={
            column: tuple((dep.asset_key.to_user_string(), dep.column_name) for dep in deps)
            for column, deps in by_column.items()
        },
        recorded=RECORDED in node.metadata,
    )

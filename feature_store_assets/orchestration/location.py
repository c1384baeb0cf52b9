"""Declared groups become a code location: `build_definitions`."""

import importlib.util
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import yaml

from feature_store_assets.config import FeatureStoreConfig, foreign_owner
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import DeclarationError
from feature_store_assets.orchestration.alerting import alert_sensor
from feature_store_assets.orchestration.archiving import export_job, import_job
from feature_store_assets.orchestration.assets import OpenStore, group_asset, online_asset
from feature_store_assets.orchestration.backing import backup_job, backup_schedule
from feature_store_assets.orchestration.catching_up import partition_sensor
from feature_store_assets.orchestration.jobs import (
    compact_job,
    retention_job,
    snapshot_job,
    upkeep_schedules,
)
from feature_store_assets.orchestration.recording import pushed_asset, recorded_assets
from feature_store_assets.orchestration.table_io import TableIOManager
from feature_store_assets.orchestration.validating import (
    pushed_checks,
    validate_job,
    validate_schedule,
)
from feature_store_assets.store import FeatureStore

DECLARATIONS = "feature_store_declarations"


def build_definitions(
    groups: Sequence[FeatureGroup],
    *,
    views: Sequence[FeatureView] = (),
    assets: Sequence[Any] = (),
    config: FeatureStoreConfig | None = None,
) -> dg.Definitions:
    """Build Dagster definitions from declared groups; merge them with your own.

    Parameters
    ----------
    groups, views
        What is declared.
    assets
        The source assets that groups read; those with `io_manager_key="table_io"` are stored in
        the store's own tables.
    config
        The store; by default what `FEATURE_STORE_*` variables say when a run starts.

    Returns
    -------
    Assets for each group and its online copy, and for the snapshots, training sets, models and
    pushed groups in the registry; jobs, sensors, schedules and the IO manager. Nothing is written:
    `feature-store apply` does that.
    """

    def open_store() -> FeatureStore:
        return FeatureStore(config or FeatureStoreConfig())

    with warnings.catch_warnings():
        # Used on purpose: single-run backfills, and checks by partition.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return _built(groups, views, assets, config or FeatureStoreConfig(), open_store)


def _built(
    groups: Sequence[FeatureGroup],
    views: Sequence[FeatureView],
    assets: Sequence[Any],
    settings: FeatureStoreConfig,
    open_store: OpenStore,
) -> dg.Definitions:
    columns = _known_columns(groups, assets)
    computed = [group for group in groups if group.materialized]
    built = [
        group_asset(
            group,
            open_store,
            columns=columns,
            uri=str(settings.root / "offline" / group.name / f"v{group.version}"),
        )
        for group in computed
    ]
    served = [online_asset(group, open_store) for group in computed if group.online]
    pushed = [pushed_asset(group) for group in groups if not group.materialized]
    recorded = recorded_assets(settings, _keys(assets), [group.name for group in groups])
    snapshot, retain = snapshot_job(open_store), retention_job(open_store)
    compact, backup = compact_job(open_store), backup_job(open_store)
    validate = validate_job(groups, open_store)
    by_name = {group.name: group for group in groups}
    # The declarations travel with the location: `feature-store apply` reads them there.
    return dg.Definitions(
        assets=[*assets, *built, *served, *pushed, *recorded],
        asset_checks=[pushed_checks(each, open_store) for each in groups if not each.materialized],
        jobs=[
            snapshot,
            retain,
            compact,
            backup,
            validate,
            export_job(open_store),
            import_job(open_store),
        ],
        schedules=[
            *upkeep_schedules(snapshot, retain, compact),
            validate_schedule(validate),
            backup_schedule(backup),
        ],
        sensors=[alert_sensor(computed, open_store), partition_sensor(computed)],
        resources={"table_io": TableIOManager(by_name, open_store)},
        executor=dg.in_process_executor,
        metadata={
            DECLARATIONS: dg.MetadataValue.json(
                {
                    "groups": [group.to_json() for group in groups],
                    "views": [view.to_json() for view in views],
                }
            )
        },
    )


def load_definitions(
    *, module: str | None = None, file: Path | None = None, workspace: Path = Path("workspace.yaml")
) -> dg.Definitions:
    """Load a code location as Dagster would.

    Parameters
    ----------
    module, file
        Where the definitions are; by default what the workspace file names.
    workspace
        The workspace file.

    Raises
    ------
    DeclarationError
        There is no such location, or it holds no definitions.
    """
    if module is None and file is None:
        module, file = from_workspace(workspace)
    with warnings.catch_warnings():
        # Single-run backfills and partitioned checks are marked as beta on each use.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        loaded = _from_file(file) if file else _from_module(module or "")
    found = [value for value in vars(loaded).values() if isinstance(value, dg.Definitions)]
    if len(found) != 1:
        raise DeclarationError(
            f"{file or module} holds {len(found)} Dagster definitions; one is needed: "
            f"defs = build_definitions([...])."
        )
    return found[0]


def from_workspace(path: Path) -> tuple[str | None, Path | None]:
    """Return the module or file that a workspace file names first."""
    if not path.exists():
        raise DeclarationError(
            f"There is no {path} here. Go to the project's folder, or name the definitions with "
            f"--module or --file."
        )
    _refuse_foreign(path)
    for entry in yaml.safe_load(path.read_text()).get("load_from", []):
        for kind, given in entry.items():
            if kind == "python_module":
                return given if isinstance(given, str) else given["module_name"], None
            if kind == "python_file":
                name = given if isinstance(given, str) else given["relative_path"]
                return None, path.parent / name
    raise DeclarationError(f"{path} names no python_module and no python_file.")


def _refuse_foreign(path: Path) -> None:
    """Refuse a file that names or holds code, if it or its folder belongs to somebody else."""
    for each in (path, path.resolve().parent):
        if path.exists() and (whose := foreign_owner(each)):
            raise DeclarationError(
                f"No code of {path} was run. Look at {each}: {whose}. Copy the project to a folder "
                f"of yours, or change its owner with chown."
            )


def _from_module(name: str) -> ModuleType:
    # Only the top is looked for here: looking further down would import it.
    top = importlib.util.find_spec(name.partition(".")[0]) if name else None
    if top is not None and top.has_location and top.origin is not None:
        _refuse_foreign(Path(top.origin))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # an import inside the module
        raise DeclarationError(f"There is no module '{name}' here.") from None


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise DeclarationError(f"There is no Python file {path}.")
    module = importlib.util.module_from_spec(spec)
    _refuse_foreign(path)
    # Modules beside the file are found, as under `dagster dev`.
    sys.path.insert(0, str(path.parent.resolve()))
    spec.loader.exec_module(module)
    return module


def declarations(definitions: dg.Definitions) -> list[FeatureGroup | FeatureView]:
    """Return the groups and views that a code location was built from.

    Its code was just loaded here, so that the functions of its views are this project's own.
    """
    found: Any = (definitions.metadata or {}).get(DECLARATIONS)
    value = {"groups": [], "views": []} if found is None else found.value
    return [
        *(FeatureGroup.from_json(each) for each in value["groups"]),
        *(FeatureView.from_json(each).as_trusted() for each in value["views"]),
    ]


def _keys(assets: Sequence[Any]) -> set[str]:
    """Return the keys of assets, `a/b`."""
    specs = [spec for asset in assets for spec in getattr(asset, "specs", [asset])]
    return {spec.key.to_user_string() for spec in specs if hasattr(spec, "key")}


def _known_columns(groups: Sequence[FeatureGroup], assets: Sequence[Any]) -> dict[str, set[str]]:
    """Return the columns of assets that say them."""
    known = {group.name: {*group.entity.join_keys, *group.feature_names} for group in groups}
    for asset in assets:
        for spec in getattr(asset, "specs", ()):
            schema: Any = spec.metadata.get("dagster/column_schema")
            if schema is not None:
                known[spec.key.to_user_string()] = {column.name for column in schema.columns}
    return known

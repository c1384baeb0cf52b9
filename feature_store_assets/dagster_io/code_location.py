"""Code locations: loaded as Dagster loads them, and the groups and views that they declare."""

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import yaml

from feature_store_assets.config import foreign_owner
from feature_store_assets.dagster_io.names import DECLARATIONS
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import DeclarationError


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

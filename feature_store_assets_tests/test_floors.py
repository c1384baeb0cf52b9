"""The house: every module imports from floors below its own, by its name, and in no circle."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import feature_store_assets

PACKAGE = Path(feature_store_assets.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "migrations" not in path.parts  # Alembic runs these; none imports them
}
Import = ast.Import | ast.ImportFrom
# They bring Dagster, Great Expectations or Polars, which most calls do without.
HEAVY = (
    "dagster_io",
    "ingestion.push_checks",
    "ingestion.revalidation",
    "lineage.exports",
    "maintenance",
    "orchestration",
    "quality",
    "transfer",
)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_within(tree: ast.AST) -> Iterator[Import]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def targets(node: Import) -> set[str]:
    """The modules of ours that a statement imports."""
    if isinstance(node, ast.Import):
        named = {alias.name for alias in node.names}
    else:
        named = {f"{node.module}.{alias.name}" for alias in node.names}
    found = {name if name in MODULES else name.rpartition(".")[0] for name in named}
    return found & MODULES.keys()


def test_the_contracts_of_the_floors_are_kept() -> None:
    # In a process of its own, because it turns off every logger that exists already.
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


def test_the_contract_names_every_floor() -> None:
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    floors, light = settings["tool"]["importlinter"]["contracts"]
    assert floors["exhaustive"]
    named = {part.strip(" ()") for layer in floors["layers"] for part in layer.split("|")}
    there = {name.split(".")[1] for name in MODULES if "." in name}
    assert there <= named
    reading = ("offline", "online", "retrieval", "ingestion.push", "training")
    assert {f"feature_store_assets.{name}" for name in reading} == set(light["source_modules"])


def is_heavy(module: str) -> bool:
    inner = module.removeprefix("feature_store_assets.")
    return any(inner == room or inner.startswith(f"{room}.") for room in HEAVY)


def test_only_heavy_rooms_are_imported_inside_a_function() -> None:
    hidden = [
        f"{name}:{node.lineno}"
        for name, path in MODULES.items()
        for function in ast.walk(tree_of(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in imports_within(function)
        if not all(map(is_heavy, targets(node)))
    ]
    assert hidden == []


def strings_within(node: ast.AST) -> str:
    """All the text that stands in an expression."""
    return "".join(
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    )


def test_none_of_our_modules_is_imported_by_a_string() -> None:
    loaders = {"import_module", "__import__", "find_spec", "run_module"}
    hidden = [
        f"{name}:{node.lineno}"
        for name, path in MODULES.items()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in loaders
        and ("feature_store_assets" in strings_within(node) or "__name__" in ast.unparse(node))
        and name != "feature_store_assets"  # resolves its names on first use
    ]
    assert hidden == []


def test_nothing_reaches_through_the_parts_of_a_store() -> None:
    """Rooms above it call its verbs, or a part's: `store.audit.verify`, and no deeper."""
    deep = re.compile(r"\bstore\.(?!config\.)\w+\.\w+\.\w+|\bstore\.parts\b")
    above = ("cli", "examples", "orchestration", "server", "definitions")
    found = [
        f"{name}: {each}"
        for name, path in MODULES.items()
        if name.split(".")[1:2] and name.split(".")[1] in above
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        for each in deep.findall(ast.unparse(node))
    ]
    assert found == []


def test_no_import_goes_round_in_a_circle_not_even_for_types_alone() -> None:
    graph = {
        name: {
            target
            for node in imports_within(tree_of(path))
            for target in targets(node)
            if name != "feature_store_assets"  # resolves its names on first use
        }
        for name, path in MODULES.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)

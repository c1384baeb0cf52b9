"""The names that the package offers: one table, sorted, true to what type checkers see."""

import ast
from pathlib import Path

import pytest

import feature_store_assets


def test_all_is_sorted_and_what_dir_shows() -> None:
    assert feature_store_assets.__all__ == sorted(feature_store_assets.__all__, key=str.casefold)
    assert dir(feature_store_assets) == sorted(feature_store_assets.__all__)


@pytest.mark.parametrize("name", feature_store_assets.__all__)
def test_each_name_is_importable_from_the_package(name: str) -> None:
    value = getattr(feature_store_assets, name)
    home = f"feature_store_assets.{feature_store_assets._HOME[name]}"
    assert getattr(value, "__module__", home) == home


def test_type_checkers_see_the_same_names_at_the_same_homes() -> None:
    tree = ast.parse(Path(feature_store_assets.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        assert node.module is not None
        for alias in node.names:
            assert alias.asname == alias.name  # the form that says: exported
            seen[alias.name] = node.module.removeprefix("feature_store_assets.")
    assert seen == feature_store_assets._HOME


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'feature_store_assets' has no attribute 'Featur'"):
        _ = feature_store_assets.Featur

"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import feature_store_assets

MODULES = [
    module.name
    for module in pkgutil.walk_packages(feature_store_assets.__path__, "feature_store_assets.")
    if not module.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    found = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(name) for name in MODULES]
    assert sum(len(each.examples) for module in modules for each in found.find(module)) > 10

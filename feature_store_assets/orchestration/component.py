"""A Dagster component over the same builder, for projects of `defs.yaml` files."""

import importlib
from collections.abc import Sequence
from typing import Any

import dagster as dg

from feature_store_assets.errors import DeclarationError, suggestion
from feature_store_assets.orchestration.definitions import build_definitions


class FeatureGroupComponent(dg.Component, dg.Model, dg.Resolvable):
    """Feature groups, views and their source assets, each named as `module:attribute`.

    In a `defs.yaml`:

        type: feature_store_assets.FeatureGroupComponent
        attributes:
          groups: ["shop.features:customer_spending"]
          views: ["shop.features:churn"]
          assets: ["shop.features:orders"]
    """

    groups: Sequence[str]
    views: Sequence[str] = ()
    assets: Sequence[str] = ()

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build what `build_definitions` builds."""
        del context
        return build_definitions(
            [_named(each) for each in self.groups],
            views=[_named(each) for each in self.views],
            assets=[_named(each) for each in self.assets],
        )


def _named(path: str) -> Any:
    """Return what `module:attribute` names."""
    module_name, _, attribute = path.partition(":")
    if not attribute:
        raise DeclarationError(f"'{path}' is not of the form 'module:attribute'.")
    module = importlib.import_module(module_name)
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise DeclarationError(
            f"Module '{module_name}' has no '{attribute}'." + suggestion(attribute, public)
        )
    return getattr(module, attribute)

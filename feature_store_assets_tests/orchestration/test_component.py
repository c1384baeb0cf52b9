"""The component that `defs.yaml` files name builds what `build_definitions` builds."""

from pathlib import Path

import dagster as dg
import pytest

from feature_store_assets import FeatureGroupComponent
from feature_store_assets.errors import DeclarationError

YAML = """
type: feature_store_assets.FeatureGroupComponent
attributes:
  groups: ["feature_store_assets_tests.orchestration.shop:spending"]
  assets: ["feature_store_assets_tests.orchestration.shop:orders"]
"""


def test_a_defs_yaml_becomes_the_same_assets(tmp_path: Path) -> None:
    project = tmp_path / "bakery"
    (project / "defs" / "sales").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "bakery"\n'
    )
    (project / "__init__.py").touch()
    (project / "defs" / "__init__.py").touch()
    (project / "defs" / "sales" / "defs.yaml").write_text(YAML)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        loaded = dg.load_from_defs_folder(path_within_project=project)
    names = {key.to_user_string() for key in loaded.resolve_asset_graph().get_all_asset_keys()}
    assert names == {"orders", "spending", "online/spending"}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("spending", "not of the form 'module:attribute'"),
        ("feature_store_assets_tests.orchestration.shop:spendin", "Did you mean 'spending'"),
    ],
)
def test_a_wrong_name_is_a_clear_error(path: str, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        FeatureGroupComponent(groups=[path]).build_defs(dg.ComponentTree.for_test().load_context)

"""`feature-store usage` and `registry`."""

import json
from pathlib import Path

import pytest

from feature_store_assets import FeatureStore
from feature_store_assets_tests.cli.commands import cells, refused, run


def test_usage_tells_who_reads_what_and_how_often(stocked: FeatureStore) -> None:
    for _ in range(2):
        stocked.read_features("spend", ["x"])
    stocked.get_online_features("spend", ["u1", "u2"])
    stocked.close()
    rows = json.loads(run("usage", "spend", "--json").stdout)
    told = {(each["feature"], each["path"]): (each["reads"], each["rows"]) for each in rows}
    assert told == {
        ("spend.x", "offline"): (2, 54),
        ("spend.x", "online"): (1, 2),
        ("spend.tags", "online"): (1, 2),
    }
    assert cells(run("usage"))[1][0] == "spend.x"
    assert "Did you mean 'spend'" in refused("usage", "spent")


@pytest.mark.usefixtures("stocked")
def test_the_registrys_state_is_taken_out_and_brought_in(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads(run("registry", "export", "state.json", "--json").stdout)
    assert (told["path"], told["declarations"]) == ("state.json", 4)
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PATH", str(project / "other"))
    assert "state.json is imported" in run("registry", "import", "state.json").stderr
    with FeatureStore.from_env() as store:
        assert [group.name for group in store.groups()] == ["route", "spend", "visit"]
        store.register_feature("y", feature_group="spend", data_type="integer")
    assert "group spend v1" in refused("registry", "import", "state.json")
    kept = json.loads(
        run("registry", "import", "state.json", "--on-conflict", "keep", "--json").stdout
    )
    assert kept["kept"] == ["group spend v1"]
    state = json.loads((project / "state.json").read_text())
    state["parts"]["declarations"].pop()
    (project / "state.json").write_text(json.dumps(state))
    assert "it was changed" in refused("registry", "import", "state.json")
    (project / "state.json").write_text("{")
    assert "state.json is no JSON" in refused("registry", "import", "state.json")

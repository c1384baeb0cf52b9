"""README and docs tell the truth: every Python snippet runs, every command exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

# What a reader does between declaring and training.
FILL = """
from feature_store_assets.dagster_io.code_location import declarations
store = __import__("feature_store_assets").FeatureStore.from_env()
store.apply(*declarations(defs))
with dg.DagsterInstance.ephemeral() as instance:
    tags = {"dagster/asset_partition_range_start": "2024-01-01",
            "dagster/asset_partition_range_end": "2024-01-20"}
    assert defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, tags=tags).success
"""
SEEN = """
joined = train.to_polars()
assert joined["spend_7d"].to_list() == [70.0, 70.0, None], joined
assert answer == {"a": {"spend_7d": 70.0}, "b": {"spend_7d": 70.0}}, answer
assert pinned.to_polars().equals(joined)
"""


def snippets(page: Path, language: str) -> list[str]:
    return [code for kind, code in FENCE.findall(page.read_text()) if kind == language]


MODULE = re.compile(r"# (\w+\.py)\n")


def run(code: str, folder: Path) -> str:
    script = folder / "snippet.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        cwd=folder,
        env={**os.environ, "FEATURE_STORE_STORAGE_PATH": str(folder / "store")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_readme_declares_trains_and_serves_as_it_says(tmp_path: Path) -> None:
    spending, definitions, *story, script = snippets(PAGES[0], "python")
    run(f"{spending}{definitions}{FILL}{''.join(story)}{SEEN}", tmp_path)
    told = run(script, tmp_path)
    assert "'eve': {'age': None}" in told
    assert "shape: (2, 3)" in told


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_the_snippets_of_a_page_run(page: Path, tmp_path: Path) -> None:
    found = snippets(page, "python")
    for snippet in found:
        if named := MODULE.match(snippet):  # others import it
            (tmp_path / named[1]).write_text(snippet)
    code = "".join(found)
    assert run(code, tmp_path) == ""


def test_commands_and_links_of_the_readme_exist() -> None:
    readme = PAGES[0].read_text()
    makefile = (PROJECT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z-]+)", readme):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    help_text = subprocess.run(
        [sys.executable, "-c", "from feature_store_assets.cli import main; main()", "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for command in ("init", "apply", "materialize", "read", "online"):
        assert f"`{command}`" in readme or f"feature-store {command}" in readme, command
        assert re.search(rf"^  {command} ", help_text, re.MULTILINE), command
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (PROJECT / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_that_a_page_names_exist(page: Path) -> None:
    from feature_store_assets import FeatureStoreConfig

    known = {f"FEATURE_STORE_{name.upper()}" for name in FeatureStoreConfig.model_fields}
    named = set(re.findall(r"\bFEATURE_STORE_[A-Z_]+\b", page.read_text()))
    assert named - known <= {"FEATURE_STORE_"}

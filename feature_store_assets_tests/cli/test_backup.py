"""`backup` and `restore`, as a platform owner types them."""

import json
import re
from pathlib import Path

import pytest

from feature_store_assets import FeatureStore
from feature_store_assets_tests.cli.commands import cells, refused, run
from feature_store_assets_tests.stores import row


def test_a_backup_is_made_listed_verified_and_restored(
    stocked: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(tmp_path / "kept")
    made = run("backup", "create", target)
    assert re.search(r"Backup (\S+): (\d+) files of \d+ bytes, \2 of them new", made.stderr)
    assert made.stdout == ""
    stocked.write_features([row("later", 50, x=1.0, tags=[])], "spend")
    second = json.loads(run("backup", "create", target, "--json").stdout)
    assert second["copied"] == 4  # an entry, its file, the registry, the online store
    head, *rows = cells(run("backup", "list", target))
    assert head == ["id", "created", "tables", "files", "bytes", "lost"]
    assert [each[2] for each in rows] == ["3", "3"]
    assert rows[1][0] == second["id"]
    assert "all as they were written" in run("backup", "verify", target).stderr
    assert rows[0][0] in run("backup", "verify", target, rows[0][0]).stderr

    before = run("read", "spend").stdout
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PATH", str(tmp_path / "drill"))
    done = json.loads(run("restore", target, "--json").stdout)
    assert (done["backup"], done["root"]) == (second["id"], str(tmp_path / "drill"))
    assert run("read", "spend").stdout == before
    assert refused("restore", target).startswith(f"'{tmp_path / 'drill'}' is not empty")
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PATH", str(tmp_path / "earlier"))
    assert run("restore", target, "--backup", rows[0][0]).exit_code == 0
    assert "later" not in run("read", "spend", "--limit", "100").stdout


def test_keep_removes_older_backups(stocked: FeatureStore, tmp_path: Path) -> None:
    target = str(tmp_path / "kept")
    for _ in range(2):
        run("backup", "create", target)
    last = run("backup", "create", target, "--keep", "1")
    assert "Removed 2 older backups." in last.stderr
    assert len(json.loads(run("backup", "list", target, "--json").stdout)) == 1


def test_what_is_wrong_is_said_in_a_line(stocked: FeatureStore, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    assert refused("backup", "verify", str(target)) == f"There is no backup in '{target}'."
    assert "lies in the data root" in refused("backup", "create", str(stocked.config.root / "kept"))
    run("backup", "create", str(target))
    assert "is named 'x'. The newest:" in refused("restore", str(target), "--backup", "x")
    next(target.rglob("*.parquet")).unlink()
    assert ".parquet is gone" in refused("backup", "verify", str(target))


def test_a_damaged_target_is_mended_by_the_next_backup(
    stocked: FeatureStore, tmp_path: Path
) -> None:
    target = tmp_path / "kept"
    run("backup", "create", str(target))
    data = next(target.rglob("*.parquet"))
    data.write_bytes(bytes(reversed(data.read_bytes())))
    assert "Run `feature-store backup create` again" in refused("backup", "verify", str(target))
    name = data.relative_to(target).as_posix()
    done = run("backup", "create", str(target), "--json")
    assert f"It was damaged at the target and is copied again: {name}." in done.stderr
    assert json.loads(done.stdout)["mended"] == [name]
    assert "all as they were written" in run("backup", "verify", str(target)).stderr


def test_for_redis_the_commands_that_are_left_to_do_are_told(
    stocked: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("backup", "create", str(tmp_path / "kept"))
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PATH", str(tmp_path / "new"))
    # Nobody has to answer there yet.
    monkeypatch.setenv("FEATURE_STORE_ONLINE_STORE_URI", f"unix://{tmp_path / 'redis'}")
    told = run("restore", str(tmp_path / "kept")).stderr
    for name in ("spend", "route", "visit"):
        assert f"  feature-store rebuild {name}\n" in told

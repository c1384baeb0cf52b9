"""What somebody else made: it comes in whole, or is refused; nothing outside is touched or run."""

import atexit
import gzip
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import FeatureStoreError
from feature_store_assets.storage.sealed_json import seal
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.stores import at, new_store, pushed, row
from feature_store_assets_tests.transfer.backups import config_at, tree

CASES = examples(20)
CANARY = "canary_of_foreign_files"
GROUP = pushed("a", Feature("x", "int64"), online=False)
VIEW = FeatureView("v", [GROUP])


@cache
def made() -> Path:
    """A backup, an archive and a registry's state of one small store."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    with new_store(folder) as store:
        store.apply(GROUP, VIEW)
        store.write_features([row("u", 0, x=1), row("v", 800, x=2)], "a")
        store.create_snapshot("a", "s")
        spine = [{"entity_id": "u", "event_timestamp": at(1)}]
        store.create_training_set("v", spine, "set")
        store.backup(folder / "kept")
        store.export_archive(folder / "archive", snapshot="s")
        (folder / "state.json").write_text(json.dumps(store.export_registry()))
    shutil.rmtree(folder / "store")
    return folder


# Values that no name and no number may have


def nested(depth: int) -> Any:
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


ODD: list[Any] = [
    "../../outside/x", "/", "/outside", "..", ".", "", "a/../../x", "a//b", "a\\b", "C:\\x", "C:x",
    "a\0b", "a\nb", "files/../../outside", "offline/a/v1/_delta_log/_last_checkpoint",
    "training/../../x", "offline/a/v-1", "x" * 5000, "\ud800", "2024-01-01", "9999-12-31T23:00:00",
    f"{CANARY}:run", "subprocess:call", None, True, -1, 0, 2**31, 2**63, 2**64, 10**30, 0.5,
    [], {}, [[]], {"a": 1}, nested(90), nested(300),
]  # fmt: skip


@st.composite
def changes(draw: st.DrawFn) -> Callable[[Any], Any]:
    """One to three edits of JSON: another value, one less, one twice, one under another name."""
    edits = draw(
        st.lists(
            st.tuples(
                st.lists(st.integers(0, 200), min_size=8, max_size=8),
                st.sampled_from(["set", "set", "set", "remove", "twice", "rename"]),
                st.sampled_from(ODD),
            ),
            min_size=1,
            max_size=3,
        )
    )

    def change(content: Any) -> Any:
        for steps, kind, value in edits:
            edit(content, steps, kind, deepcopy(value))
        return content

    return change


def edit(content: Any, steps: list[int], kind: str, value: Any) -> None:
    """Go down by the steps, and change what is there."""
    here = content
    for number, step in enumerate(steps):
        if not here:
            return
        key = [*here][step % len(here)] if isinstance(here, dict) else step % len(here)
        last = number == len(steps) - 1 or step % 5 == 0
        if not last and isinstance(here[key], dict | list) and here[key]:
            here = here[key]
            continue
        if kind == "remove":
            del here[key]
        elif kind == "set":
            here[key] = value
        elif isinstance(here, list):
            here.append(deepcopy(here[key]))
        else:
            here[str(value)] = here.pop(key) if kind == "rename" else deepcopy(here[key])
        return


@contextmanager
def beside() -> Iterator[Path]:
    """A folder whose surroundings must stay as they are, and code that must not run."""
    with tempfile.TemporaryDirectory() as name:
        parent = Path(name)
        for folder in ("outside", "in"):
            (parent / folder).mkdir()
            (parent / folder / "sentinel").write_text("mine")
        (parent / "outside" / f"{CANARY}.py").write_text("def run(): raise SystemExit(7)")
        sys.path.insert(0, str(parent / "outside"))
        before = tree(parent)
        try:
            yield parent / "in" / "made"
        finally:
            sys.path.remove(str(parent / "outside"))
            assert CANARY not in sys.modules
            shutil.rmtree(parent / "in" / "made", ignore_errors=True)
            assert tree(parent) == before


def pick(folder: Path, name: str) -> Path:
    """A copy of what was made, that may be spoilt."""
    return Path(shutil.copytree(made() / name, folder / name))


def resealed(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a file as only its author could; as it is written if no digest can be made of it."""
    content = change(json.loads(path.read_bytes()))
    with suppress(ValueError, TypeError, RecursionError):
        content = seal(content)
    path.write_text(json.dumps(content))


def redumped(kept: Path, change: Callable[[list[Any]], Any], pack: Any = gzip.compress) -> None:
    """Change the rows of a backup's registry, and its digest in the manifest."""
    (dump,) = (kept / "registry").iterdir()
    lines = change([json.loads(line) for line in gzip.decompress(dump.read_bytes()).splitlines()])
    text = lines if isinstance(lines, bytes) else "".join(f"{json.dumps(x)}\n" for x in lines)
    dump.write_bytes(pack(text if isinstance(text, bytes) else text.encode()))
    content = dump.read_bytes()

    def described(manifest: dict[str, Any]) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        manifest["registry"] |= {"bytes": len(content), "sha256": digest}
        return manifest

    resealed(next((kept / "backups").iterdir()), described)


def restored(kept: Path, folder: Path) -> None:
    """A store that reads and can be backed up, or an error of ours that leaves nothing."""
    config = config_at(folder)
    before = tree(kept)
    try:
        FeatureStore.restore(kept, config)
    except FeatureStoreError:
        assert not folder.exists() or not [*folder.iterdir()]
    else:
        with FeatureStore(config) as store, suppress(FeatureStoreError):
            store.groups()
            store.backup(folder / "again")
    assert tree(kept) == before


@settings(max_examples=CASES)
@given(change=changes())
def test_whatever_a_manifest_says_is_restored_or_refused(change: Callable[[Any], Any]) -> None:
    with tempfile.TemporaryDirectory() as name, beside() as folder:
        kept = pick(Path(name), "kept")
        resealed(next((kept / "backups").iterdir()), change)
        restored(kept, folder)


@settings(max_examples=CASES)
@given(change=changes())
def test_whatever_a_dump_says_is_restored_or_refused(change: Callable[[Any], Any]) -> None:
    with tempfile.TemporaryDirectory() as name, beside() as folder:
        kept = pick(Path(name), "kept")
        redumped(kept, change)
        restored(kept, folder)


@settings(max_examples=CASES)
@given(change=changes(), registry=st.booleans())
def test_whatever_an_archive_says_is_imported_or_refused(
    change: Callable[[Any], Any], registry: bool
) -> None:
    with tempfile.TemporaryDirectory() as name, beside() as folder:
        archive = pick(Path(name), "archive")
        if registry:
            resealed(archive / "registry.json", change)
            content = (archive / "registry.json").read_bytes()
            told = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            resealed(
                archive / "archive.json",
                lambda it: {**it, "registry": {**it["registry"], **told}},
            )
        else:
            resealed(archive / "archive.json", change)
        with new_store(folder) as store, suppress(FeatureStoreError):
            store.import_archive(archive)


@settings(max_examples=CASES)
@given(change=changes())
def test_whatever_a_state_says_is_imported_or_refused(change: Callable[[Any], Any]) -> None:
    state = change(json.loads((made() / "state.json").read_text()))
    with suppress(ValueError, TypeError, RecursionError):
        state = seal(state)
    with beside() as folder, new_store(folder) as store, suppress(FeatureStoreError):
        store.import_registry(state)


# Kinds that are no edit of a value


PACKED: dict[str, tuple[Callable[[list[Any]], Any], Any, str]] = {
    "cut": (lambda rows: rows, lambda text: gzip.compress(text)[:-9], "cut off or garbled"),
    "no gzip": (lambda rows: rows, lambda text: text, "cut off or garbled"),
    "empty": (lambda _: [], gzip.compress, "not sound"),
    "no UTF-8": (lambda _: b"\xff\n", gzip.compress, "no UTF-8"),
    "no JSON": (lambda _: b"{\n", gzip.compress, "not sound"),
    "too deep": (lambda _: b"[" * 100_000, gzip.compress, "nested too deep"),
    "a key twice": (
        lambda rows: json.dumps(rows[0])[:-1].encode() + b', "schema": "0007"}\n',
        gzip.compress, "two values of 'schema'",
    ),
    "a table of the database": (
        lambda rows: [{**rows[0], "tables": {"sqlite_master": {"name": "text"}}}],
        gzip.compress, "no table 'sqlite_master'",
    ),
    "a derived table": (
        lambda rows: [{**rows[0], "tables": {"search_entries": {}}}], gzip.compress, "no table",
    ),
    "another column": (
        lambda rows: [{**rows[0], "tables": {"holds": {"x": "text"}}}],
        gzip.compress, "'holds' has other columns",
    ),
    "a table that came later": (
        lambda rows: [{"schema": "0004", "tables": {"holds": rows[0]["tables"]["holds"]}}],
        gzip.compress, "its schema has no table",
    ),
    "a row of no table": (lambda rows: [rows[0], ["x", []]], gzip.compress, "no row of the tables"),
    "a short row": (lambda rows: [rows[0], ["holds", [1]]], gzip.compress, "has 1 values"),
    "a row twice": (lambda rows: [rows[0], rows[1], rows[1]], gzip.compress, "do not fit"),
    "no number after": (
        lambda rows: [rows[0], ["audit", [2**63 - 1, "", "", "", "", "{}", "", "", ""]]],
        gzip.compress, "too great a 'sequence'",
    ),
    "a training set elsewhere": (
        lambda rows: [
            rows[0],
            ["training_sets", ["../x", "d" * 64, "v", 1, "", "", "2024-01-01T00:00:00+00:00"]],
        ],
        gzip.compress, "no sound 'name': '../x' lies outside training",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        name if name in {"cut", "too deep", "a table of the database"}
        else pytest.param(name, marks=pytest.mark.slow)
        for name in PACKED
    ],
)  # fmt: skip
def test_a_registry_that_nobody_dumped_is_refused_and_nothing_is_left(
    tmp_path: Path, kind: str
) -> None:
    change, pack, why = PACKED[kind]
    kept = pick(tmp_path, "kept")
    redumped(kept, change, pack)
    with beside() as folder:
        with pytest.raises(FeatureStoreError, match=why):
            FeatureStore.restore(kept, config_at(folder))
        assert not [*folder.iterdir()]


NAMES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "outside": (lambda it: it["files"][0].update(path="../x"), "outside the data root"),
    "NUL": (lambda it: it["files"][0].update(path="reports/a\0b"), "is no path of a file"),
    "another folder": (lambda it: it["files"][0].update(path="registry.db"), "no file of a store"),
    "a checkpoint": (
        lambda it: it["files"][0].update(path="offline/a/v1/_delta_log/_last_checkpoint"),
        "no file of a store",
    ),
    "twice": (lambda it: it["files"].append(it["files"][0]), "named twice"),
    "file and folder": (
        lambda it: it["files"].append({**it["files"][0], "path": it["files"][0]["path"] + "/x"}),
        "as a file and as a folder",
    ),
    "stored elsewhere": (lambda it: it["files"][0].update(stored="mine/x"), "no file of a backup"),
    "stored beside": (lambda it: it["registry"].update(stored="files/x"), "no place of"),
    "two in one": (
        lambda it: it["files"][0].update(stored=it["files"][1]["stored"]), "with other bytes",
    ),
    "bytes": (lambda it: it["files"][0].update(bytes=-1), "cannot have '-1' bytes"),
    "digest": (lambda it: it["files"][0].update(sha256="X"), "for a SHA-256"),
    "id": (lambda it: it.update(id="../x"), "is not its name"),
    "table": (lambda it: it["tables"].update({"offline/../v1": 1}), "outside the data root"),
    "no table": (lambda it: it["tables"].update({"reports/a": 1}), "is no table of a store"),
    "version": (lambda it: it["tables"].update({"offline/a/v1": -1}), "is no table of a store"),
    "time": (lambda it: it.update(created_at="2024-01-01T00:00:00"), "of which store, or when"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_that_no_backup_has_is_refused(tmp_path: Path, kind: str) -> None:
    change, why = NAMES[kind]
    kept = pick(tmp_path, "kept")
    resealed(next((kept / "backups").iterdir()), lambda it: (change(it), it)[1])
    with pytest.raises(FeatureStoreError, match=why):
        FeatureStore.restore(kept, config_at(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


INSIDE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "a log": ("_delta_log/*1.json", lambda text: text.replace(b'"path":"', b'"path":"../../../')),
    "a training set": ("manifest.json", lambda text: text.replace(b'"all.parquet"', b'"../x"')),
}


@pytest.mark.parametrize("kind", INSIDE)
def test_a_file_that_names_others_outside_is_not_restored(tmp_path: Path, kind: str) -> None:
    pattern, change = INSIDE[kind]
    kept = pick(tmp_path, "kept")
    path = next((kept / "files").rglob(pattern))
    content = change(path.read_bytes())
    assert content != path.read_bytes()
    path.write_bytes(content)

    def described(it: dict[str, Any]) -> dict[str, Any]:
        for file in it["files"]:
            if file["stored"] == str(path.relative_to(kept)):
                digest = hashlib.sha256(content).hexdigest()
                file |= {"bytes": len(content), "sha256": digest}
        return it

    resealed(next((kept / "backups").iterdir()), described)
    with beside() as folder, pytest.raises(FeatureStoreError, match="lies outside its t"):
        FeatureStore.restore(kept, config_at(folder))

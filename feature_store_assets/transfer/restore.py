"""Restores: a backup becomes a store again, where nothing was.

Everything is made in a hidden folder beside the data root and gets its name last. A registry in
another database is filled in one transaction before that. What a killed restore left is known by a
token, in the hidden folder and in the last entry of the audit log: the next restore replaces it.

The online store was copied before the tables were cut off. So no row of it is of a later version
than its table. It says itself up to which version it is: what was committed since is published.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import make_url

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.errors import (
    BackupUnusable,
    FeatureStoreError,
    RestoreRefused,
    StorageUnusable,
)
from feature_store_assets.progress import Told, each_file
from feature_store_assets.registry.database import SCHEMAS, Database
from feature_store_assets.registry.declarations import Applied
from feature_store_assets.storage import Location, location
from feature_store_assets.storage.folder import fsync
from feature_store_assets.storage.untrusted import UNSOUND
from feature_store_assets.transfer.backup_inventory import check_inside, place_of
from feature_store_assets.transfer.backup_repository import (
    Manifest,
    StoredFile,
    manifest_of,
    misfits,
)
from feature_store_assets.transfer.registry_dump import check_free, clear, load

# Publishes what groups committed and did not publish, in the store of these settings; returns how
# many partitions these were, and the groups that refuse.
Follow = Callable[[FeatureStoreConfig, Sequence[tuple[str, int]]], tuple[int, list[str]]]

_STATE = ".restoring.json"
_REGISTRY = ".registry.jsonl.gz"
_LMDB = "lmdb://"
# As often as tables make checkpoints by themselves.
_LONG_LOG = 20


@dataclass(frozen=True)
class Restored:
    """A store that was restored.

    Attributes
    ----------
    backup, created_at
        Which backup that was, and when it was begun: the store is as it was then.
    files, bytes
        What was copied.
    published
        How many partitions were published, because the online copy may have lacked them.
    rebuild
        The groups whose online rows are still to be made: `feature-store rebuild <group>`.
    lost
        Files that the store had lost when it was backed up.
    untrusted
        Functions that views compute features by, and that may not run here until
        `feature-store apply` or a setting says so.
    """

    backup: str
    created_at: datetime
    root: Path
    files: int
    bytes: int
    published: int
    rebuild: tuple[str, ...]
    lost: tuple[str, ...]
    untrusted: tuple[str, ...] = ()


def restore(
    source: str | Path,
    config: FeatureStoreConfig,
    id: str | None = None,  # noqa: A002 - as people say it
    *,
    follow: Follow,
    trust_code: bool = False,
    told: Told = lambda _: None,
) -> Restored:
    """Make a backup, the newest by default, the store of these settings.

    Raises
    ------
    RestoreRefused
        Something is there; nothing was changed.
    BackupUnusable, BackupNotFound
        There is none, it is damaged or too new; nothing is left of it.
    """
    place = location(source)
    manifest = manifest_of(place, id)
    if manifest.schema not in SCHEMAS:
        newer = f"its registry has schema {manifest.schema}, this code knows up to {SCHEMAS[-1]}"
        raise BackupUnusable(place.shown, [newer])
    if problems := misfits(place, manifest):
        raise BackupUnusable(place.shown, [*problems.values()])
    return _Restore(place, manifest, config, follow, told, trust_code=trust_code).run()


@dataclass(frozen=True)
class _Restore:
    place: Location
    manifest: Manifest
    config: FeatureStoreConfig
    follow: Follow
    told: Told
    trust_code: bool

    @property
    def root(self) -> Path:
        return self.config.root

    @property
    def hidden(self) -> Path:
        return _hidden(self.root)

    def run(self) -> Restored:
        if os.path.ismount(self.root):
            raise RestoreRefused(f"'{self.root}'", "is a mount, which nothing can be renamed to")
        _check_empty(self.root)
        with _alone(self.hidden) as (token, killed):
            made = self._moved()
            database = Database(made.registry)
            outside = made.registry == self.config.registry
            filled = killed
            try:
                if outside:
                    check_free(database, over=token)
                online = self._place_online(token)
                files = self._copy()
                filled = True
                foreign = load(
                    database,
                    self.hidden / _REGISTRY,
                    {"backup": self.manifest.id, "token": token},
                    over=token,
                    modules=self.config.request_modules,
                    trust_code=self.trust_code,
                )
                with self._sound("what it holds"):
                    restored = self._finish(made, database, files, copied=online is not None)
                restored = replace(restored, untrusted=tuple(foreign))
                database.close()
                self._name(online, token)
            except BaseException:
                if self.hidden.exists():  # else it is the store already
                    self._take_back(database, token, filled=outside and filled)
                database.close()
                raise
        return restored

    def _take_back(self, database: Database, token: str, *, filled: bool) -> None:
        """Leave nothing of what was made."""
        if filled:
            with suppress(RestoreRefused):
                clear(database, token)
        for folder in self._online_places():
            if (folder / token).exists():
                shutil.rmtree(folder)
        shutil.rmtree(self.hidden)

    # Where it is made

    def _moved(self) -> FeatureStoreConfig:
        """The same settings, for the store while it is made."""
        config = self.config
        given = {name: getattr(config, name) for name in type(config).model_fields}
        url = make_url(config.registry)
        if url.get_backend_name() == "sqlite" and url.database:
            inside = self._inside(Path(url.database))
            moved = url.set(database=str(inside)).render_as_string(hide_password=False)
            given["registry_url"] = moved
        if config.online.startswith(_LMDB):
            given["online_store_uri"] = f"{_LMDB}{self._online_places()[0]}"
        return FeatureStoreConfig(**{**given, "storage_path": self.hidden, "enable_lineage": False})

    def _inside(self, path: Path) -> Path:
        """Where something of the data root is made; what lies elsewhere stays there."""
        return self.hidden / path.relative_to(self.root) if path.is_relative_to(self.root) else path

    def _online_places(self) -> tuple[Path, ...]:
        """Where the embedded online store is made, and where it goes if that is not the root."""
        if not self.config.online.startswith(_LMDB):
            return ()
        place = Path(self.config.online.removeprefix(_LMDB))
        inside = self._inside(place)
        return (inside,) if inside != place else (_hidden(place), place)

    def _place_online(self, token: str) -> Path | None:
        """Make the folder of the embedded online store; None if its copy cannot be used."""
        places = self._online_places()
        for folder in places:
            if (folder / token).exists() or folder == _hidden(places[-1]):
                shutil.rmtree(folder, ignore_errors=True)
        if places:
            _check_empty(places[-1])
        if not places or self.manifest.online is None:
            return None
        places[0].mkdir(parents=True)
        (places[0] / token).touch()
        return places[0]

    # Making it

    def _copy(self) -> list[StoredFile]:
        manifest, places = self.manifest, self._online_places()
        paths = {file: self.hidden / file.path for file in manifest.files}
        paths[manifest.registry] = self.hidden / _REGISTRY
        if manifest.online is not None and places:
            paths[manifest.online.file] = places[0] / "data.mdb"
        chosen = [*paths]
        each_file("Restoring", chosen, lambda file: self._copied(file, paths[file]), self.told)
        return chosen

    def _copied(self, file: StoredFile, path: Path) -> None:
        with self._sound(file.stored):
            content = self.place.stream(file.stored)
            made = location(path.parent).write(path.name, content, sha256=file.sha256)
            if made.sha256 != file.sha256:
                raise BackupUnusable(self.place.shown, [f"{file.stored} has changed"])
            check_inside(file.path, path)

    @contextmanager
    def _sound(self, what: str) -> Iterator[None]:
        """Tell of what somebody else wrote, if it cannot be read."""
        from deltalake.exceptions import DeltaError

        try:
            yield
        except (*UNSOUND, FileNotFoundError, DeltaError) as error:
            if isinstance(error, FeatureStoreError):
                raise
            why = f"{what} is not sound: {error}"
            raise BackupUnusable(self.place.shown, [why]) from error

    def _finish(
        self,
        made: FeatureStoreConfig,
        database: Database,
        files: list[StoredFile],
        *,
        copied: bool,
    ) -> Restored:
        """Bring the tables to speed, and the online store up to them."""
        from deltalake import DeltaTable

        manifest = self.manifest
        for folder, version in manifest.tables.items():
            if version >= _LONG_LOG:
                DeltaTable(str(self.hidden / folder)).create_checkpoint()
        applied = Applied(database)
        places = [place_of(each) for each in manifest.tables if each.startswith("offline/")]
        found = {place: applied.find(*place) for place in places}
        tables = [place for place, group in found.items() if group is not None and group.online]
        published, rebuild = 0, list(dict.fromkeys(name for name, _ in tables))
        if manifest.online is not None and copied:
            published, rebuild = self.follow(made, tables)
        return Restored(
            manifest.id, manifest.created_at, self.root, len(files),
            sum(file.bytes for file in files), published, tuple(rebuild), tuple(manifest.lost),
        )  # fmt: skip

    def _name(self, online: Path | None, token: str) -> None:
        """Give everything its name; from here on it is the store."""
        (self.hidden / _REGISTRY).unlink()
        for top in (self.hidden, *([online] if online else [])):
            for folder, _, _ in os.walk(top):
                fsync(Path(folder))
        places = self._online_places()
        if online is not None and online != places[-1]:
            online.replace(places[-1])
            fsync(places[-1].parent)
        self.hidden.replace(self.root)
        fsync(self.root.parent)
        # Only now: by these the next restore would have known what a killed one left.
        (self.root / _STATE).unlink()
        if online is not None:
            final = Path(self.config.online.removeprefix(_LMDB))
            (final / token).unlink()


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.restoring")


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RestoreRefused(f"'{folder}'", "is not empty")


@contextmanager
def _alone(hidden: Path) -> Iterator[tuple[str, bool]]:
    """Hold the hidden folder, emptied; give its token, and whether a killed restore made it."""
    try:
        hidden.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageUnusable(str(hidden.parent), error.strerror or str(error)) from None
    folder = os.open(hidden, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise RestoreRefused(f"'{hidden}'", "is being written by another restore") from None
    try:
        state = hidden / _STATE
        killed = state.exists()
        token = json.loads(state.read_text())["token"] if killed else secrets.token_hex(16)
        for each in hidden.iterdir():
            if each.is_dir():
                shutil.rmtree(each)
            elif each != state:
                each.unlink()
        if not killed:
            place = location(hidden)
            place.write(_STATE, json.dumps({"token": token}).encode())
            place.sync()
        yield token, killed
    finally:
        os.close(folder)

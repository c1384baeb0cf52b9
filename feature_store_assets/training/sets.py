"""The training sets of a store: create one, find one again."""

from __future__ import annotations

import fcntl
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from feature_store_assets.declaration.feature import checked_label
from feature_store_assets.errors import DataError, NameTaken
from feature_store_assets.offline.digest import TableDigest, file_digest
from feature_store_assets.offline.frames import fsync
from feature_store_assets.registry.training_sets import Recorded
from feature_store_assets.training.manifest import (
    manifest_of,
    write_manifest,
)
from feature_store_assets.training.splitting import WHOLE, assign, checked_columns, columns_of
from feature_store_assets.training.stored import TrainingSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import pyarrow.parquet as pq

    from feature_store_assets.offline.point_in_time import Spine
    from feature_store_assets.registry.pins import Pins
    from feature_store_assets.registry.training_sets import TrainingSetTable
    from feature_store_assets.retrieval.historical import Historical
    from feature_store_assets.training.manifest import Recipe
    from feature_store_assets.training.stored import Rejoin


@dataclass(frozen=True)
class TrainingSets:
    """The training sets of a store.

    Parameters
    ----------
    root
        The folder that holds them.
    table, pins
        Where they and the versions that they need are recorded.
    compression
        Parquet codec.
    """

    root: Path
    table: TrainingSetTable
    pins: Pins
    compression: Any

    def get(self, name: str, rejoin: Rejoin) -> TrainingSet:
        """Return a training set by its name."""
        return TrainingSet(self.root / name, self.table.get(name), rejoin)

    def create(
        self, name: str, historical: Historical, spine: Spine, recipe: Recipe, rejoin: Rejoin
    ) -> TrainingSet:
        """Join a spine and keep what comes of it.

        Raises
        ------
        NameTaken
            Training sets never change.
        DataError
            The label or the split does not fit the spine.
        """
        checked_label(name, "training set")
        if recipe.label is not None and recipe.label not in spine.schema.names:
            raise DataError(f"The spine has no column '{recipe.label}' to be the label.")
        TableDigest(spine.schema)  # refuses types that have none, before anything is read
        assigned = _assigned(spine, recipe, historical.timestamp)
        with self._alone(name):
            fixed = historical.fixed()
            # First of all the pins: from here on no retention can take the tables away.
            self._pin(name, fixed, recipe)
            unfinished = self.root / f".{name}.unfinished"
            try:
                unfinished.mkdir()
                pieces = fixed.pieces(spine, unfinished)
                parts = _write_parts(unfinished, pieces, assigned, self.compression)
                manifest = manifest_of(name, fixed, spine, recipe, parts)
                digest = write_manifest(unfinished, manifest)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                self.pins.remove(name, "training_set")
                raise
            # What stops here leaves a folder with its pins, by which `_alone` knows it.
            unfinished.replace(self.root / name)
            fsync(self.root)
            self.table.add(
                Recorded(
                    name,
                    digest,
                    fixed.asked.owner,
                    len(spine),
                    recipe.description,
                    recipe.created_by,
                    datetime.fromisoformat(manifest["created_at"]),
                )
            )
        return self.get(name, rejoin)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Hold a name that is free, and clear away what a killed process left of it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = {recorded.name for recorded in self.table.all()}
            pinned = {pin.owner for pin in self.pins.all() if pin.owner_kind == "training_set"}
            # A folder without pins is a set of which this registry has lost track.
            if name in known or ((self.root / name).exists() and name not in pinned):
                raise NameTaken(name, "training set")
            shutil.rmtree(self.root / name, ignore_errors=True)
            shutil.rmtree(self.root / f".{name}.unfinished", ignore_errors=True)
            self.pins.remove(name, "training_set")
            yield

    def _pin(self, name: str, fixed: Historical, recipe: Recipe) -> None:
        versions = [
            (pin["group"], pin["group_version"], pin["table_version"]) for pin in fixed.pins()
        ]
        self.pins.add(
            name,
            versions,
            kind="training_set",
            description=recipe.description,
            created_by=recipe.created_by,
        )


def _assigned(
    spine: Spine, recipe: Recipe, timestamp: str
) -> tuple[list[str], npt.NDArray[np.intp]]:
    """Return the parts' names, and the part of each row."""
    if recipe.split is None:
        if recipe.split_by is not None:
            raise DataError("split_by says which rows a split keeps together: give split= too.")
        return [WHOLE], np.zeros(len(spine), np.intp)
    needed = columns_of(recipe.split, recipe.split_by, timestamp)
    checked_columns(needed, spine.schema)
    by = None if recipe.split_by is None else needed
    parts = assign(
        spine.select(needed),
        len(spine),
        recipe.split,
        by=by,
        timestamp=timestamp,
        seed=recipe.seed,
    )
    return list(recipe.split), parts


def _write_parts(
    folder: Path,
    pieces: Iterator[pa.Table],
    assigned: tuple[list[str], npt.NDArray[np.intp]],
    compression: Any,
) -> list[dict[str, Any]]:
    """Write each part's rows to its file; return what the manifest says of them."""
    import pyarrow.parquet as pq

    names, parts = assigned
    writers: list[pq.ParquetWriter] = []
    digests: list[TableDigest] = []
    base = 0
    with ExitStack() as stack:
        for piece in pieces:
            if not writers:
                for name in names:
                    path = folder / f"{name}.parquet"
                    opened = pq.ParquetWriter(path, piece.schema, compression=compression)
                    writers.append(stack.enter_context(opened))
                    digests.append(TableDigest(piece.schema))
            mine = parts[base : base + piece.num_rows]
            base += piece.num_rows
            for number, (writer, digest) in enumerate(zip(writers, digests, strict=True)):
                rows = piece if len(names) == 1 else piece.filter(pa.array(mine == number))
                writer.write_table(rows)
                digest.update(rows)
    counts = np.bincount(parts, minlength=len(names)).tolist()
    return [
        {
            "name": name,
            "file": f"{name}.parquet",
            "rows": count,
            "bytes": (folder / f"{name}.parquet").stat().st_size,
            "sha256": file_digest(folder / f"{name}.parquet"),
            "columns": digest.columns(),
        }
        for name, count, digest in zip(names, counts, digests, strict=True)
    ]

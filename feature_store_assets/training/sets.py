"""The training sets of a store: create one, find one again."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from feature_store_assets.declaration.feature import checked_label
from feature_store_assets.errors import DataError, LeaseLost, NameTaken
from feature_store_assets.offline.digest import TableDigest
from feature_store_assets.registry.pins import training_pin
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
    from feature_store_assets.registry.leases import Lease, Leases
    from feature_store_assets.registry.pins import Pins
    from feature_store_assets.registry.training_sets import TrainingSetTable
    from feature_store_assets.retrieval.historical import Historical
    from feature_store_assets.storage import Location
    from feature_store_assets.storage.file_writer import Sink
    from feature_store_assets.training.manifest import Recipe
    from feature_store_assets.training.stored import Rejoin


@dataclass(frozen=True)
class TrainingSets:
    """The training sets of a store.

    Parameters
    ----------
    location
        Where they lie, each in a folder of its name.
    table, pins
        Where they and the versions that they need are recorded.
    leases
        Let one process at a time create a set of a name.
    compression
        Parquet codec.
    """

    location: Location
    table: TrainingSetTable
    pins: Pins
    leases: Leases
    compression: Any

    def get(self, name: str, rejoin: Rejoin) -> TrainingSet:
        """Return a training set by its name."""
        return TrainingSet(self.location, self.table.get(name), rejoin)

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
        with self._alone(name) as lease:
            fixed = historical.fixed()
            # First of all the pins: from here on no retention can take the tables away.
            self._pin(name, fixed, recipe)
            try:
                pieces = fixed.pieces(spine, self.location.at(name).local)
                parts = self._write_parts(name, pieces, assigned)
                lease.check()
                manifest = manifest_of(name, fixed, spine, recipe, parts)
                digest = write_manifest(self.location, name, manifest)
            except LeaseLost:
                raise  # the files are another process's by now
            except BaseException:
                self._forget(name)
                raise
            # What stops here leaves files with their pins, by which `_alone` knows them.
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
    def _alone(self, name: str) -> Iterator[Lease]:
        """Hold a name that is free, and clear away what a killed process left of it."""
        with self.leases.hold(training_pin(name), wait=True) as lease:
            known = {recorded.name for recorded in self.table.all()}
            pinned = {pin.owner for pin in self.pins.all() if pin.owner_kind == "training_set"}
            # Files without pins are a set of which this registry has lost track.
            lost = name not in pinned and self.location.list(name)
            if name in known or lost:
                raise NameTaken(name, "training set")
            self._forget(name)
            yield lease

    def _forget(self, name: str) -> None:
        """Remove what an unfinished set left: first its files, by whose pins it is known."""
        self.location.clear(name)
        self.pins.remove(name, "training_set")

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

    def _write_parts(
        self,
        name: str,
        pieces: Iterator[pa.Table],
        assigned: tuple[list[str], npt.NDArray[np.intp]],
    ) -> list[dict[str, Any]]:
        """Write each part's rows to its file; return what the manifest says of them."""
        import pyarrow.parquet as pq

        names, parts = assigned
        files: list[Sink] = []
        writers: list[pq.ParquetWriter] = []
        digests: list[TableDigest] = []
        base = 0
        with ExitStack() as stack:
            for piece in pieces:
                if not writers:
                    for part in names:
                        file = self.location.create(f"{name}/{part}.parquet")
                        files.append(stack.enter_context(file))
                        opened = pq.ParquetWriter(
                            files[-1], piece.schema, compression=self.compression
                        )
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
                "name": part,
                "file": f"{part}.parquet",
                "rows": count,
                "bytes": file.written.size,
                "sha256": file.written.sha256,
                "columns": digest.columns(),
            }
            for part, count, file, digest in zip(names, counts, files, digests, strict=True)
        ]


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

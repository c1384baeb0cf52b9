"""A training set on disk: load it, trust it, make it again."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    DataError,
    FeatureNotFound,
    NotReproduced,
    TrainingSetChanged,
)
from feature_store_assets.offline.dataframes import FeatureTable, ParquetTable
from feature_store_assets.offline.digest import TableDigest
from feature_store_assets.registry.pins import training_pin
from feature_store_assets.registry.training_sets import Recorded
from feature_store_assets.snapshots.manifest import packages
from feature_store_assets.training.manifest import (
    MANIFEST,
    code_digests,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt
    import pandas as pd
    import polars as pl
    from torch.utils.data import TensorDataset

    from feature_store_assets.retrieval.historical import Historical
    from feature_store_assets.storage import Location

    # Returns a view's features by the versions and rules that a manifest keeps.
    Rejoin = Callable[[FeatureView, Mapping[str, Any]], Historical]


class TrainingSet:
    """A training set on disk.

    Parameters
    ----------
    location
        Where the training sets lie, each in a folder of its name.
    recorded
        What the registry knows of it.
    rejoin
        Prepares its features for `reproduce`.
    """

    def __init__(self, location: Location, recorded: Recorded, rejoin: Rejoin) -> None:
        self.name = recorded.name
        self.location = location.at(self.name)
        self._recorded = recorded
        self._rejoin = rejoin

    def __repr__(self) -> str:
        parts = ", ".join(f"{part['name']}: {part['rows']:,}" for part in self.manifest["parts"])
        return f"TrainingSet('{self.name}'; {parts} rows; {len(self.features)} features)"

    def __len__(self) -> int:
        return self._recorded.rows

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What is written in `manifest.json`.

        Raises
        ------
        TrainingSetChanged
            It is gone, or was edited.
        """
        try:
            text = self.location.read(MANIFEST)
        except FileNotFoundError:
            raise TrainingSetChanged(self.name, [f"{MANIFEST} is missing"]) from None
        if hashlib.sha256(text).hexdigest() != self._recorded.digest:
            raise TrainingSetChanged(self.name, [f"{MANIFEST} has other content"])
        found: dict[str, Any] = json.loads(text)
        return found

    @property
    def digest(self) -> str:
        """64 hex digits that name the values of all columns of all parts."""
        values = {part["name"]: [part["rows"], part["columns"]] for part in self.manifest["parts"]}
        return hashlib.sha256(canonical(values).encode()).hexdigest()

    @property
    def pin(self) -> str:
        """The name under which the table versions are pinned: `as_of=` takes it."""
        return training_pin(self.name)

    @property
    def splits(self) -> list[str]:
        """The names of the parts; `["all"]` for a set that was not split."""
        return [part["name"] for part in self.manifest["parts"]]

    @property
    def features(self) -> list[str]:
        """The feature columns, in order."""
        return list(self.manifest["features"])

    @property
    def label(self) -> str | None:
        """The column to be learnt, if it was named."""
        found: str | None = self.manifest["label"]
        return found

    # Loading

    def __getitem__(self, split: str) -> ParquetTable:
        """Return one part, to be read when it is needed."""
        if split not in self.splits:
            raise DataError(
                f"Training set '{self.name}' has no part '{split}'. There are: "
                f"{', '.join(self.splits)}."
            )
        file = f"{split}.parquet"
        if self.location.size(file) is None:
            raise TrainingSetChanged(self.name, [f"{file} is missing"])
        return ParquetTable(Path(file), within=self.location)

    def to_arrow(self, split: str | None = None) -> pa.Table:
        """Return one part, or all of them one after the other."""
        chosen = self.splits if split is None else [split]
        return pa.concat_tables([self[name].to_arrow() for name in chosen])

    def to_polars(self, split: str | None = None) -> pl.DataFrame:
        return FeatureTable(self.to_arrow(split)).to_polars()

    def to_pandas(self, split: str | None = None) -> pd.DataFrame:
        return FeatureTable(self.to_arrow(split)).to_pandas()

    def to_sklearn(
        self, split: str | None = None, features: Sequence[str] | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
        """Return arrays as scikit-learn's `fit` takes them.

        Parameters
        ----------
        split
            Which part; all by default.
        features
            Which numeric or boolean features; all by default.

        Returns
        -------
        X, float64 of shape (rows, features), NaN where nothing was known; and y, the labels.
        """
        if self.label is None:
            raise DataError(
                f"Training set '{self.name}' names no label. Create it with label='<column>'."
            )
        names = self.features if features is None else list(features)
        for name in names:
            if name not in self.features:
                raise FeatureNotFound(name, self.name, self.features)
        table = self.to_arrow(split).select([*names, self.label])
        values = np.empty((table.num_rows, len(names)))
        for number, name in enumerate(names):
            values[:, number] = self._numbers(table, name)
        return values, table[self.label].to_numpy()

    def _numbers(self, table: pa.Table, name: str) -> Any:
        kind, types = table.schema.field(name).type, pa.types
        if types.is_boolean(kind):
            return table[name].cast(pa.uint8()).cast(pa.float64()).to_numpy()
        if types.is_integer(kind) or types.is_floating(kind):
            return table[name].cast(pa.float64(), safe=False).to_numpy()
        raise DataError(
            f"Feature '{name}' is {kind}, no number. Encode it from to_pandas(), or leave it out: "
            f"features=[...]."
        )

    def to_torch(
        self, split: str | None = None, features: Sequence[str] | None = None
    ) -> TensorDataset:
        """Return a PyTorch dataset of (features as float32, label) as `to_sklearn` has them."""
        try:
            import torch
            from torch.utils.data import TensorDataset
        except ModuleNotFoundError:
            raise DataError("PyTorch is not installed here: pip install torch.") from None
        values, labels = self.to_sklearn(split, features)
        if labels.dtype.kind not in "bifu":
            raise DataError(f"Label '{self.label}' is no number: encode it before training.")
        return TensorDataset(
            torch.from_numpy(values.astype(np.float32)), torch.from_numpy(labels.copy())
        )

    # Trust

    def verify(self) -> None:
        """Compare every file with its digest.

        Raises
        ------
        TrainingSetChanged
            Naming the files that changed or are missing.
        """
        self.__dict__.pop("manifest", None)  # read it anew
        changed = []
        for part in self.manifest["parts"]:
            if self.location.size(part["file"]) is None:
                changed.append(f"{part['file']} is missing")
            elif self.location.digest(part["file"]) != part["sha256"]:
                changed.append(f"{part['file']} has other content")
        if changed:
            raise TrainingSetChanged(self.name, changed)

    def reproduce(self) -> str:
        """Join the spine again, to the table versions that were pinned.

        Returns
        -------
        The digest of the values, the same as `digest`.

        Raises
        ------
        NotReproduced
            Naming the columns that differ, and what changed since.
        TrainingSetChanged
            The stored files are not the ones that were written.
        """
        self.verify()
        manifest = self.manifest
        view = FeatureView.from_json(manifest["view"])
        historical = self._rejoin(view, manifest)
        different: dict[str, None] = {}
        for part in manifest["parts"]:
            columns = manifest["spine"]["columns"]
            spine = ParquetTable(Path(part["file"]), columns, within=self.location)
            digest: TableDigest | None = None
            for piece in historical.pieces(spine, self.location.local):
                digest = digest or TableDigest(piece.schema)
                digest.update(piece)
            found = digest.columns() if digest else {}
            different |= {
                name: None for name, held in part["columns"].items() if found.get(name) != held
            }
        if different:
            raise NotReproduced(
                self.name, list(different), self._changes(historical.asked.view or view)
            )
        return self.digest

    def _changes(self, view: FeatureView) -> list[str]:
        """What is not as it was when the set was made."""
        then, now = self.manifest["packages"], packages()
        code = self.manifest["code"]
        return [
            *(
                f"{name} {held} -> {now.get(name)}"
                for name, held in then.items()
                if now.get(name) != held
            ),
            *(name for name, held in code_digests(view).items() if code[name] != held),
        ]

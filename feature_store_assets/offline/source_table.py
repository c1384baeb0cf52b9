"""Tables of plain source assets: any columns of supported types, cut into partitions.

The first write fixes the columns; later ones must fit them without loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feature_store_assets.declaration.types import arrow_type
from feature_store_assets.errors import SchemaMismatch
from feature_store_assets.offline.delta_log import Commit, DeltaLog
from feature_store_assets.offline.scan import scan
from feature_store_assets.offline.schema import (
    PARTITION,
    declared_type,
    lossless,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feature_store_assets.storage import Location


class RawTable:
    """The table of one source asset.

    Parameters
    ----------
    location
        Its folder.
    owner
        The asset's name, for messages.
    timestamp
        The column that dates its rows, if there is one.
    compression
        Parquet codec of new files.
    """

    def __init__(
        self, location: Location, owner: str, timestamp: str | None, *, compression: str
    ) -> None:
        self._owner = owner
        self._log = DeltaLog(location, owner, timestamp, compression=compression)

    @property
    def exists(self) -> bool:
        return self._log.exists

    def replace(
        self, rows: pa.Table, partitions: Sequence[str], *, metadata: Mapping[str, str]
    ) -> Commit:
        """Replace whole partitions in one commit; `rows` carry their `partition`."""
        new = not self._log.exists
        stored = pa.schema(map(self._stored, rows.schema)) if new else self._log.schema
        for name in rows.column_names:
            if name not in stored.names:
                got = str(rows.schema.field(name).type)
                hint = "The first write fixed the columns; write a new asset for other ones."
                raise SchemaMismatch(self._owner, name, wanted=None, got=got, hint=hint)
        columns = []
        for field in stored:
            if field.name not in rows.column_names:
                raise SchemaMismatch(self._owner, field.name, wanted=str(field.type), got=None)
            columns.append(
                lossless(
                    rows[field.name], field.type, owner=self._owner, name=field.name, timezone=None
                )
            )
        typed = pa.Table.from_arrays(columns, schema=stored)
        if new:
            self._log.create(stored)
        return self._log.commit(
            lambda _: typed, mode="overwrite", partitions=partitions, metadata=metadata
        )

    def read(self, partitions: Sequence[str] | None = None) -> pa.Table:
        """Read all columns but the partition, in the order of the partitions."""
        stored = self._log.schema
        fields = [field for field in stored if field.name != PARTITION]
        types = {field.name: declared_type(field.type) or "string" for field in fields}
        frame = scan(self._log.files(partitions=partitions), types).collect()
        return frame.to_arrow().cast(pa.schema(fields))

    def _stored(self, field: pa.Field[Any]) -> pa.Field[Any]:
        name = None if pa.types.is_null(field.type) else declared_type(field.type)
        if name is None:
            raise SchemaMismatch(
                self._owner,
                field.name,
                wanted="one of the feature types",
                got=str(field.type),
                hint="Cast it where it is read.",
            )
        return pa.field(field.name, arrow_type(name))

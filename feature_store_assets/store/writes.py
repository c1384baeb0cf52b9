"""Writing rows: pushes, and releases from quarantine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from feature_store_assets.declaration.group import FeatureGroup, NewFeatures
from feature_store_assets.ingestion.push import Mode, push
from feature_store_assets.json_values import WriteResult
from feature_store_assets.offline.dataframes import arrow_table
from feature_store_assets.store.facade import Facade

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from feature_store_assets.ingestion.gate import Admitted


class WriteVerbs(Facade):
    """Writes rows to pushed groups."""

    def write_features(
        self,
        feature_data: Any,
        feature_group: str,
        mode: Mode = "append",
        *,
        new_features: NewFeatures | None = None,
    ) -> WriteResult:
        """Write rows to a pushed group, and publish them.

        Parameters
        ----------
        feature_data
            A pandas, Polars or Arrow table, or a list of dicts: keys, event timestamp, features.
            A feature that has no column is null in these rows.
        feature_group
            Its name; an unknown one comes into being with entity key `entity_id`.
        mode
            `append` refuses to change stored facts, `upsert` writes newer revisions of them,
            `overwrite` replaces all rows.
        new_features
            What happens to columns that are not declared: `"draft"` makes draft features of them,
            with a warning, `"refuse"` refuses the rows. By default groups made by
            `register_feature`, or by a first write, take drafts, and declared groups refuse.

        What the rows break that is not critical is told by a Python warning, and in the result.

        Raises
        ------
        WrittenByDagster, SchemaMismatch, NullKeys, DuplicateRows, NaiveTimestamps, OutOfBounds
            Nothing was written.
        """
        data = arrow_table(feature_data)
        new = self.parts.pushed(feature_group)
        known = self.applied.find(feature_group)
        self._reach_online(known or new)
        group, result = push(
            self.applied,
            self.table,
            new,
            data,
            mode,
            known=known,
            statistics=self.review.statistics,
            new_features=new_features,
        )
        told = {"mode": mode, "rows": result.rows_written, "table_version": result.version}
        self.audit.add("write", f"group {group.name}", told)
        self.serving.forget()
        if group.online:
            self.parts.publish(group, result.partitions)
        self.lineage.report_write(
            result.feature_group,
            {
                "dagster/row_count": result.rows_written,
                "updated": result.rows_updated,
                "duplicates": result.rows_duplicate,
                "partitions": list(result.partitions),
                "table_version": result.version,
            },
        )
        return result

    def write_partitions(
        self, group: FeatureGroup, rows: pa.Table, partitions: Sequence[str], *, run_id: str
    ) -> Admitted:
        """Judge whole partitions of a computed group, and commit the good ones at once.

        Parameters
        ----------
        group
            The group as it was applied when the run started.
        rows
            The rows of all partitions as `conform` returns them, with their `partition`.
        partitions
            In the order of time where they have one.
        run_id
            Kept with the commit, and with what goes into quarantine.

        Raises
        ------
        DeclarationChanged
            Another definition was applied meanwhile; nothing was written.
        """
        table = self.table(group)
        guard = partial(self.applied.check_unchanged, group)
        return self.review.gate.admit(group, table, rows, partitions, run_id=run_id, guard=guard)

    def release(self, feature_group: str, partition: str) -> Admitted:
        """Judge a partition in quarantine again, store it if it passes now, and publish it.

        Raises
        ------
        NotQuarantined, StillRejected
            Nothing was changed.
        """
        group = self.applied.group(feature_group)
        guard = partial(self.applied.check_unchanged, group)
        done = self.review.release(group, self.table(group), partition, guard=guard)
        told = {"table_version": done.version}
        self.audit.add("release", f"partition {partition} of {feature_group}", told)
        if group.online:
            self.parts.publish(group, [partition])
        return done

    def _reach_online(self, group: FeatureGroup) -> None:
        """Refuse before anything is written where the rows could not be published."""
        if group.online and not group.materialized:
            self.serving.reach(group)

"""Judging stored rows: statistics, quality rules, validation."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.store.facade import Facade
from feature_store_assets.store.offline import stored_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from feature_store_assets.ingestion.gate import Judged
    from feature_store_assets.offline.quarantine import Rejected
    from feature_store_assets.registry.statistics import Profiles


class QualityVerbs(Facade):
    """Judges stored rows."""

    def compute_feature_statistics(
        self,
        feature_group: str,
        features: Sequence[str] | None = None,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
    ) -> dict[str, Any]:
        """Describe the stored values of features: counts, missing, quantiles, common values.

        Parameters
        ----------
        feature_group, features, start_time, end_time
            As `read_features` takes them.

        Returns
        -------
        `{feature: {"count", "missing", "missing_share", "distinct", "mean", ...}}`; personal
        features are only counted. `statistics` keeps the same by partition.
        """
        group, rows = self._stored(feature_group, features, start_time, end_time)
        from feature_store_assets.ingestion.revalidation import describe

        found: dict[str, Any] = describe(group, rows, features or group.feature_names)
        return found

    def validate_feature_quality(
        self,
        feature_group: str,
        quality_rules: Mapping[str, float] | None = None,
        features: Sequence[str] | None = None,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
    ) -> dict[str, Any]:
        """Judge the stored rows of a group as one whole.

        Parameters
        ----------
        feature_group, features, start_time, end_time
            As `read_features` takes them.
        quality_rules
            `max_missing_percentage`, `min_unique_values` and `max_outlier_percentage`, for every
            feature that they fit; by default what the group itself expects.

        Returns
        -------
        `{"feature_group", "overall_passed", "rows", "features": {name: {"passed", "checks"}}}`.
        """
        group, rows = self._stored(feature_group, features, start_time, end_time)
        names = features or group.feature_names
        from feature_store_assets.ingestion.revalidation import assess

        found: dict[str, Any] = assess(group, rows, names, quality_rules)
        return found

    def _stored(
        self,
        name: str,
        features: Sequence[str] | None,
        start: datetime | None,
        end: datetime | None,
    ) -> tuple[FeatureGroup, pl.DataFrame]:
        rows = stored_rows(self.parts, name, features, start_time=start, end_time=end)
        return self.applied.group(name), rows.to_polars()

    def validate(
        self, group: FeatureGroup, partitions: Sequence[str] | None = None
    ) -> Iterator[Judged]:
        """Judge stored partitions by what a group expects now; nothing is rewritten.

        Parameters
        ----------
        group
            The group as it is declared now.
        partitions
            In the order of time; by default all that hold rows.

        Returns
        -------
        What was found, some partitions at a time.
        """
        table = self.parts.filled(group)
        keys = table.partitions() if partitions is None else partitions
        return self.review.validate(group, table, keys)

    def profiles(
        self,
        group: FeatureGroup,
        features: Sequence[str] | None = None,
        *,
        first: str | None = None,
        last: str | None = None,
    ) -> Profiles:
        """Return the kept statistics of a group, by partition and feature.

        Parameters
        ----------
        features
            Only these; all by default.
        first, last
            Only partition keys between these, both included.
        """
        place = (group.name, group.version)
        return self.review.statistics.of(*place, features=features, first=first, last=last)

    def quarantined(self, feature_group: str | None = None) -> list[Rejected]:
        """Return the partitions in quarantine, by group and partition, the newest first."""
        return self.review.quarantine.entries(feature_group)

    def rejected(self, group: FeatureGroup, partition: str) -> Rejected:
        """Return what was rejected last of a partition.

        Raises
        ------
        NotQuarantined
            Nothing of that partition lies in quarantine.
        """
        return self.review.quarantine.newest(group.name, partition, version=group.version)

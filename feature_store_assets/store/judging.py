"""Judging stored rows: statistics, quality rules, validation."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.store.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from feature_store_assets.ingestion.gate import Judged
    from feature_store_assets.ingestion.review import Review


class Judging(Reading):
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
        from feature_store_assets.ingestion.review import describe

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
        from feature_store_assets.ingestion.review import assess

        found: dict[str, Any] = assess(group, rows, names, quality_rules)
        return found

    def _stored(
        self,
        name: str,
        features: Sequence[str] | None,
        start: datetime | None,
        end: datetime | None,
    ) -> tuple[FeatureGroup, pl.DataFrame]:
        rows = self.read_features(name, features, start_time=start, end_time=end)
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
        table = self._existing(group)
        keys = table.partitions() if partitions is None else partitions
        return self.review.validate(group, table, keys)

    @cached_property
    def review(self) -> Review:
        """Statistics, quarantine and the gate of this store."""

        def pinned(group: FeatureGroup, snapshot: str) -> pl.DataFrame:
            table = self._existing(group)
            version = self.snapshots.version(group, table, snapshot)
            return table.facts(revised=group.revised, version=version).collect()

        from feature_store_assets.ingestion.review import Review

        return Review(
            self._database,
            self.location.at("quarantine"),
            pinned=pinned,
            training_set=self.training_set,
        )

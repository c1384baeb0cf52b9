"""What the values of each feature looked like, partition by partition, as it was committed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from feature_store_assets.quality.statistics import Profile
from feature_store_assets.registry.database import drift_references, statistics

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from feature_store_assets.registry.database import Database

Profiles = dict[str, dict[str, Profile]]

# SQLite takes a limited number of values in one statement.
_AT_ONCE = 500
_NUMBERS = ("missing", "distinct", "mean", "stddev", "minimum", "maximum")


class Statistics:
    """The tables of statistics and of the references that drift is measured against.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        feature_group: str,
        version: int,
        profiles: Mapping[str, Mapping[str, Profile]],
        *,
        table_version: int,
    ) -> None:
        """Keep the profiles of partitions in place of older ones.

        Parameters
        ----------
        profiles
            By partition, then feature.
        table_version
            The table's version that holds these rows.
        """
        now = datetime.now(UTC)
        rows = [
            {
                "feature_group": feature_group,
                "group_version": version,
                "partition": partition,
                "feature": feature,
                "table_version": table_version,
                "computed_at": now,
                "rows": profile.count,
                **{name: getattr(profile, name) for name in _NUMBERS},
                "profile": json.dumps(profile.to_json()),
            }
            for partition, by_feature in profiles.items()
            for feature, profile in by_feature.items()
        ]
        if not rows:
            return
        with self._database.write() as connection:
            for chosen in _chunks(profiles):
                these = _these(feature_group, version, chosen)
                connection.execute(sa.delete(statistics).where(*these))
            connection.execute(sa.insert(statistics), rows)

    def of(
        self,
        feature_group: str,
        version: int,
        partitions: Sequence[str] | None = None,
        features: Sequence[str] | None = None,
        *,
        first: str | None = None,
        last: str | None = None,
    ) -> Profiles:
        """Return the kept profiles by partition, in the order of their keys, then feature.

        Parameters
        ----------
        partitions, first, last
            Only these; only keys from `first` to `last`, both included.
        features
            Only these.
        """
        conditions = [*_this(statistics, feature_group, version)]
        if first is not None:
            conditions.append(statistics.c.partition >= first)
        if last is not None:
            conditions.append(statistics.c.partition <= last)
        if features is not None:
            conditions.append(statistics.c.feature.in_(list(features)))
        query = sa.select(
            statistics.c.partition, statistics.c.feature, statistics.c.profile
        ).order_by(statistics.c.partition)
        found: Profiles = {}
        if not self._database.exists:
            return found
        with self._database.read() as connection:
            for chosen in _chunks(partitions):
                some = [] if chosen is None else [statistics.c.partition.in_(chosen)]
                for partition, feature, text in connection.execute(query.where(*conditions, *some)):
                    kept = Profile.from_json(json.loads(text))
                    found.setdefault(partition, {})[feature] = kept
        return dict(sorted(found.items()))

    def partitions(self, feature_group: str, version: int) -> list[str]:
        """Return the partitions of which profiles are kept, also those without a row."""
        query = sa.select(statistics.c.partition).where(*_this(statistics, feature_group, version))
        return [row["partition"] for row in self._database.rows(query.distinct())]

    def before(self, feature_group: str, version: int, partition: str, count: int) -> Profiles:
        """Return the profiles of the last partitions before one, the newest last."""
        query = (
            sa.select(statistics.c.partition)
            .where(*_this(statistics, feature_group, version), statistics.c.partition < partition)
            .distinct()
            .order_by(statistics.c.partition.desc())
            .limit(count)
        )
        keys = [row["partition"] for row in self._database.rows(query)]
        return self.of(feature_group, version, keys) if keys else {}

    def drop(
        self, feature_group: str, version: int, partitions: Collection[str] | None = None
    ) -> None:
        """Remove the profiles of partitions, of all by default, where there are any."""
        if not self._database.exists:
            return
        for chosen in _chunks(partitions):
            these = _these(feature_group, version, chosen)
            with self._database.read() as connection:
                found = connection.execute(sa.select(sa.literal(1)).where(*these).limit(1)).first()
            if found:
                self._database.remove(statistics, sa.and_(*these))

    def forget(
        self,
        feature_group: str,
        version: int,
        live: Collection[str],
        before: datetime,
        *,
        dry_run: bool,
    ) -> int:
        """Remove profiles computed before an instant, but for live partitions; return how many."""
        old = (*_this(statistics, feature_group, version), statistics.c.computed_at < before)
        query = sa.select(statistics.c.partition).where(*old).distinct()
        found = self._database.rows(query)
        gone = [row["partition"] for row in found if row["partition"] not in live]
        chosen = statistics.c.partition.in_(gone)
        return self._database.remove(statistics, sa.and_(*old, chosen), dry_run=dry_run)

    # References that stay as they are

    def reference(self, feature_group: str, version: int, against: str) -> dict[str, Profile]:
        """Return the profiles kept of a snapshot or training set, by feature."""
        query = sa.select(drift_references.c.feature, drift_references.c.profile).where(
            *_this(drift_references, feature_group, version),
            drift_references.c.against == against,
        )
        rows = self._database.rows(query)
        return {row["feature"]: Profile.from_json(json.loads(row["profile"])) for row in rows}

    def put_reference(
        self, feature_group: str, version: int, against: str, profiles: Mapping[str, Profile]
    ) -> None:
        """Keep the profiles of a snapshot or training set, so that it is read only once."""
        named = {"feature_group": feature_group, "group_version": version, "against": against}
        rows: list[dict[str, Any]] = [
            {
                **named,
                "feature": feature,
                "profile": json.dumps(profile.to_json()),
                "created_at": datetime.now(UTC),
            }
            for feature, profile in profiles.items()
        ]
        with self._database.write() as connection:
            connection.execute(
                sa.delete(drift_references).where(
                    *_this(drift_references, feature_group, version),
                    drift_references.c.against == against,
                )
            )
            if rows:
                connection.execute(sa.insert(drift_references), rows)


def _this(table: sa.Table, feature_group: str, version: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.feature_group == feature_group, table.c.group_version == version)


def _these(
    feature_group: str, version: int, partitions: Sequence[str] | None
) -> list[sa.ColumnElement[bool]]:
    chosen = [] if partitions is None else [statistics.c.partition.in_(partitions)]
    return [*_this(statistics, feature_group, version), *chosen]


def _chunks(partitions: Collection[str] | None) -> list[list[str] | None]:
    if partitions is None:
        return [None]
    keys = list(partitions)
    return [keys[first : first + _AT_ONCE] for first in range(0, len(keys), _AT_ONCE)]

"""`FeatureStore`: the one object that training and serving code hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import DataError, FeatureNotFound
from feature_store_assets.historical import Historical, Options, read_spine
from feature_store_assets.impact import analyze
from feature_store_assets.lineage.answers import Lineage
from feature_store_assets.offline.delta import OfflineTable
from feature_store_assets.offline.frames import FeatureTable, arrow_table, write_parquet
from feature_store_assets.offline.schema import TableSchema, typed_keys
from feature_store_assets.offline.sql import query
from feature_store_assets.pushing import (
    FeatureMetadata,
    FeatureType,
    Mode,
    WriteResult,
    push,
    pushed_group,
    register,
)
from feature_store_assets.registry.alerts import Alerts
from feature_store_assets.registry.applied import Applied, Change, Declared
from feature_store_assets.registry.audit import Audit, user
from feature_store_assets.registry.cards import feature_card, group_card, view_card
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.models import Model
from feature_store_assets.registry.pins import Pins
from feature_store_assets.registry.planning import Planned, Users, plan
from feature_store_assets.registry.search import Filters, Hit, search
from feature_store_assets.registry.stages import Stage, Stages, Standing, unmoved
from feature_store_assets.registry.tokens import Tokens
from feature_store_assets.registry.training_sets import TrainingSetTable
from feature_store_assets.registry.usage import Usage
from feature_store_assets.serving import Serving
from feature_store_assets.snapshots import Snapshots
from feature_store_assets.training.manifest import Recipe
from feature_store_assets.training.sets import TrainingSets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from types import TracebackType

    import polars as pl
    import pyarrow as pa

    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.gate import Admitted, Judged
    from feature_store_assets.impact import ChangeType
    from feature_store_assets.lineage.answers import Direction
    from feature_store_assets.offline.point_in_time import Known
    from feature_store_assets.online import OnlineStore
    from feature_store_assets.online.answer import Output
    from feature_store_assets.online.generations import Rebuilt
    from feature_store_assets.online.publish import Published
    from feature_store_assets.review import Review
    from feature_store_assets.training.splitting import Split
    from feature_store_assets.training.stored import TrainingSet


class FeatureStore:
    """Declared features: written, joined for training, served.

    Parameters
    ----------
    config
        Where it lives; by default what `FEATURE_STORE_*` variables say.

    Examples
    --------
    >>> with FeatureStore(FeatureStoreConfig(storage_path="/tmp/features")) as store:
    ...     store.groups()
    []
    """

    def __init__(self, config: FeatureStoreConfig | None = None) -> None:
        self.config = config or FeatureStoreConfig()
        self._database = Database(self.config.registry)
        self.applied = Applied(self._database)
        self.snapshots = Snapshots(Pins(self._database), self.config.time_travel)
        self.tokens = Tokens(self._database)
        self.alerts = Alerts(self._database)
        self.audit = Audit(self._database)
        self._tables: dict[tuple[str, int], tuple[str, OfflineTable]] = {}
        self.stages = Stages(self._database)
        self.usage = Usage(self._database)
        self.serving = Serving(self.config, self.applied, self.stages, self.usage)

    @classmethod
    def from_env(cls) -> Self:
        """Open the store that `FEATURE_STORE_*` variables (or the defaults) point at."""
        return cls(FeatureStoreConfig())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and connections."""
        self.serving.close()
        self.usage.flush()
        self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of files and connections, with those of the running event loop."""
        await self.serving.aclose()
        self.usage.flush()
        self._database.close()

    def __repr__(self) -> str:
        return f"FeatureStore('{self.config.root}')"

    # Declarations

    def apply(self, *declarations: Declared) -> list[Change]:
        """Make declarations known: tables are created or extended, then all are recorded at once.

        Raises
        ------
        BreakingChange
            Stored rows cannot follow a change; nothing was applied.
        """
        changes = self.applied.apply(declarations, prepare=self._prepare_table, changed_by=user())
        self.serving.forget()
        return changes

    def plan(self, *declarations: Declared) -> list[Planned]:
        """Return what `apply` would change and what that touches; nothing is written."""
        pins = self.snapshots.pins.all()
        return plan(self.applied, declarations, pins=pins, models=self.models())

    def search(self, text: str, filters: Filters | None = None) -> list[Hit]:
        """Find groups, features and views in which every word is found, the best first."""
        things = self.groups(), self.applied.views(), self.stages.reader()
        return search(text, *things, filters or Filters())

    def card(self, name: str) -> dict[str, Any]:
        """Return what there is to know of a group, a feature (`"group.feature"`) or a view."""
        stages, views = self.stages.reader(), self.applied.views()
        users = Users(views, self.snapshots.pins.all(), self.models())
        owner, _, feature = name.rpartition(".")
        group = self.applied.group(owner) if owner else self.applied.find(name)
        if group is None:
            self.applied.resolve(name)  # says what there is
            view = next(each for each in views if each.name == name)
            return view_card(view, stages, self.applied.history(name), users.of("view", name, 1))
        used = users.of("group", group.name, group.version)
        kept = self.review.statistics.of(group.name, group.version)
        if owner:
            history = {key: each[feature] for key, each in kept.items() if feature in each}
            return feature_card(group, group.feature(feature), stages, history, used)
        newest = list(kept.items())[-1] if kept else None
        return group_card(group, stages, newest, self.applied.history(name), used)

    def _prepare_table(self, group: FeatureGroup) -> None:
        table = self.table(group)
        # Without declared key types the first rows make the table.
        if table.exists or None not in group.entity.key_types:
            table.ensure()

    def standing(self, name: str) -> Standing:
        """Return the stage of a group, a feature (`"group.feature"`) or a view."""
        return self.stages.of(unmoved(self.applied, name))

    def set_stage(
        self, name: str, stage: Stage, *, successor: str = "", changed_by: str = ""
    ) -> Standing:
        """Move a group, a feature (`"group.feature"`) or a view on in its life.

        Parameters
        ----------
        stage
            draft -> active -> deprecated -> retired. A draft is served online only where it is
            named; what is deprecated is served with a warning; what is retired is not served, and
            its rows are kept until retention.
        successor
            What to use instead: named in the warning.
        changed_by
            Who moves it; kept.

        Raises
        ------
        StageRefused
            No way leads there from where it stands.
        """
        moved = self.stages.move(
            unmoved(self.applied, name), stage, successor=successor, changed_by=changed_by
        )
        self.serving.forget()
        return moved

    def groups(self) -> list[FeatureGroup]:
        """Return the applied groups, the newest version of each, by name."""
        return self.applied.groups()

    def register_feature_group(self, group: FeatureGroup) -> FeatureGroup:
        """Apply one group that is pushed to; without partitions it is cut by event time."""
        if group.function is None and group.partitions is None:
            group = replace(group, partitions=self._pushed(group.name).partitions)
        self.apply(group)
        return self.applied.group(group.name, group.version)

    def register_feature(
        self,
        name: str,
        *,
        feature_group: str,
        data_type: Any,
        description: str = "",
        feature_type: FeatureType | str = FeatureType.NUMERICAL,
        created_by: str = "",
        **bounds: Any,
    ) -> FeatureMetadata:
        """Add a feature to a pushed group; the group comes into being with its first feature.

        Parameters
        ----------
        name, feature_group, description
            The feature, and the group that holds it.
        data_type
            `"integer"`, `"float"`, `"string"`, ... or a Python type.
        feature_type, created_by
            Kept as tags.
        bounds
            Further arguments of `Feature`: ge, le, nullable, one_of, regex, pii, mask, ...
        """
        metadata = register(
            self.applied,
            self._pushed(feature_group),
            Feature(name, data_type, description, **bounds),
            feature_type=feature_type,
            created_by=created_by,
            prepare=self._prepare_table,
        )
        self.serving.forget()
        return metadata

    def _pushed(self, name: str) -> FeatureGroup:
        return pushed_group(name, self.config.partitioning_columns)

    def sizes(self) -> dict[str, int]:
        """Return the bytes that each group's newest rows take, by name."""
        tables = {group.name: self.table(group) for group in self.groups()}
        return {name: table.size() for name, table in tables.items() if table.exists}

    # Offline

    def table(self, group: FeatureGroup) -> OfflineTable:
        """Return the offline table of a group's version."""
        key = (group.name, group.version)
        cached = self._tables.get(key)
        if cached is not None and cached[0] == group.hash:
            return cached[1]
        path = self.config.root / "offline" / group.name / f"v{group.version}"
        table = OfflineTable(path, TableSchema.of(group), compression=self.config.compression)
        self._tables[key] = (group.hash, table)
        return table

    def write_features(
        self, feature_data: Any, feature_group: str, mode: Mode = "append"
    ) -> WriteResult:
        """Write rows to a pushed group, and publish them.

        Parameters
        ----------
        feature_data
            A pandas, Polars or Arrow table, or a list of dicts: keys, event timestamp, features.
            Columns that are not declared yet become draft features.
        feature_group
            Its name; an unknown one comes into being with entity key `entity_id`.
        mode
            `append` refuses to change stored facts, `upsert` writes newer revisions of them,
            `overwrite` replaces all rows.

        Raises
        ------
        WrittenByDagster, SchemaMismatch, NullKeys, DuplicateRows, NaiveTimestamps, OutOfBounds
            Nothing was written.
        """
        data = arrow_table(feature_data)
        new = self._pushed(feature_group)
        self._reach_online(self.applied.find(feature_group) or new)
        before = self._partitions_before(feature_group) if mode == "overwrite" else ()
        group, result = push(self.applied, self.table, new, data, mode)
        told = {"mode": mode, "rows": result.rows_written, "table_version": result.version}
        self.audit.add("write", f"group {group.name}", told)
        self.serving.forget()
        if group.online:
            self.publish(group, sorted({*result.partitions, *before}))
        return result

    def _reach_online(self, group: FeatureGroup) -> None:
        """Refuse before anything is written where the rows could not be published."""
        if group.online and not group.materialized:
            self.serving.reach(group)

    def _partitions_before(self, name: str) -> list[str]:
        """The partitions that an overwrite empties: their rows are taken back online."""
        group = self.applied.find(name)
        return [] if group is None else self.table(group).partitions()

    def read_features(
        self,
        feature_group: str,
        features: Sequence[str] | None = None,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        partitions: Sequence[str] | None = None,
        entities: Any = None,
        as_of: str | datetime | None = None,
        limit: int | None = None,
    ) -> FeatureTable:
        """Read stored rows of a group: keys, event timestamp and features.

        Parameters
        ----------
        feature_group, features
            Which columns; all features by default.
        start_time, end_time
            Event times in `[start, end)`; naive ones mean local time.
        partitions, entities, limit
            Partition keys; a frame of entity keys; at most so many rows.
        as_of
            A snapshot's name, or an instant within time travel.

        Returns
        -------
        The newest revision of each (keys, event timestamp).
        """
        group = self.applied.group(feature_group)
        names = group.feature_names if features is None else list(features)
        for name in names:
            if name not in group.feature_names:
                raise FeatureNotFound(name, group.name, group.feature_names)
        table = self._existing(group)
        facts = table.facts(
            names,
            revised=group.revised,
            start=start_time and start_time.astimezone(UTC),
            end=end_time and end_time.astimezone(UTC),
            partitions=partitions,
            entities=None if entities is None else _entities(entities, table),
            version=self.snapshots.version(group, table, as_of),
        ).sort(table.timestamp, *table.keys)
        shown = table.arrow((facts if limit is None else facts.head(limit)).collect())
        self.usage.add([(group.name, names)], "offline", 1, shown.num_rows)
        return FeatureTable(shown)

    def _existing(self, group: FeatureGroup) -> OfflineTable:
        table = self.table(group)
        if not table.exists:
            how = (
                f"`feature-store materialize {group.name}`"
                if group.materialized
                else f"write_features(..., feature_group='{group.name}')"
            )
            raise DataError(f"'{group.name}' holds no rows yet. Fill it with {how}.")
        return table

    def get_historical_features(
        self,
        features: Any,
        spine: Any,
        *,
        timestamp: str = "event_timestamp",
        ttl: timedelta | None = None,
        as_of: str | datetime | None = None,
        known: Known | None = None,
        full_feature_names: bool = False,
        out: str | Path | None = None,
    ) -> FeatureTable:
        """Join features to a spine as they were known at each row's time.

        Parameters
        ----------
        features
            A view (or its name), a group, or a list of `"group.feature"`.
        spine
            Entity keys, a timestamp with a zone, the view's request values, labels and whatever
            else: any dataframe, the path of a Parquet file or a folder of them, or a query as
            `sql` takes it.
        timestamp
            The spine's time column.
        ttl
            How old a value may be; by default what each group declares.
        as_of
            A snapshot's name, or an instant within time travel: the tables as they were then.
        known
            `"event"`: only rows recorded by each spine row's time, so that later corrections
            never leak; the default of groups that declare `created`. `"latest"`: rows as they
            stand; the default of the others. An instant: rows recorded by then.
        full_feature_names
            Name the columns `group__feature`.
        out
            Write the answer to this Parquet file, piece by piece within `memory_limit`, and
            return a handle that reads it when asked. A file of that name is replaced.

        Returns
        -------
        The spine's rows in their order with their own columns, then the features; null where
        nothing was known, or nothing within the ttl.
        """
        options = Options(timestamp, ttl, as_of, known, full_feature_names)
        historical = self._historical(features, options)
        rows = read_spine(spine, self._sql)
        asked = historical.asked
        told = {"features": list(asked.shown), "rows": len(rows)}
        self.audit.add("read", f"training data of {asked.owner}", told)
        used = [(part.group.name, list(part.features)) for part in asked.parts]
        self.usage.add(used, "training", 1, len(rows))
        if out is None:
            return FeatureTable(historical.table(rows))
        path = Path(out)
        pieces = historical.pieces(rows, path.parent)
        return write_parquet(path, pieces, compression=self.config.compression)

    def _historical(self, features: Any, options: Options) -> Historical:
        asked = self.applied.resolve(features)
        return Historical.of(asked, options, self._existing, self.snapshots, self.config)

    def sql(self, query: str, *, as_of: str | datetime | None = None) -> FeatureTable:
        """Answer a SELECT over the feature groups, for exploration; nothing can be written.

        Parameters
        ----------
        query
            In the dialect of Polars. Each group is a table of what `read_features` returns.
        as_of
            A snapshot's name, or an instant within time travel.
        """
        return FeatureTable(self._sql(query, as_of))

    def _sql(self, text: str, as_of: str | datetime | None = None) -> pa.Table:
        def scan(group: FeatureGroup) -> pl.LazyFrame:
            table = self._existing(group)
            version = self.snapshots.version(group, table, as_of)
            return table.facts(version=version, revised=group.revised)

        return query(text, {group.name: partial(scan, group) for group in self.groups()})

    # Quality

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
        found: dict[str, Any] = _review().describe(group, rows, features or group.feature_names)
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
        found: dict[str, Any] = _review().assess(group, rows, names, quality_rules)
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

    def release(self, feature_group: str, partition: str) -> Admitted:
        """Judge a partition in quarantine again and store it, if it passes what is expected now.

        Raises
        ------
        NotQuarantined, StillRejected
            Nothing was changed.
        """
        group = self.applied.group(feature_group)
        guard = partial(self.applied.check_unchanged, group)
        self.audit.add("release", f"partition {partition} of {feature_group}")
        return self.review.release(group, self.table(group), partition, guard=guard)

    @cached_property
    def review(self) -> Review:
        """Statistics, quarantine and the gate of this store."""

        def pinned(group: FeatureGroup, snapshot: str) -> pl.DataFrame:
            table = self._existing(group)
            version = self.snapshots.version(group, table, snapshot)
            return table.facts(revised=group.revised, version=version).collect()

        opened: Review = _review().Review(
            self._database,
            self.config.root / "quarantine",
            pinned=pinned,
            training_set=self.training_set,
        )
        return opened

    # Training sets

    def create_training_set(
        self,
        features: Any,
        spine: Any,
        name: str,
        *,
        split: Split | None = None,
        split_by: str | Sequence[str] | None = None,
        seed: int = 0,
        label: str | None = None,
        timestamp: str = "event_timestamp",
        ttl: timedelta | None = None,
        as_of: str | datetime | None = None,
        known: Known | None = None,
        full_feature_names: bool = False,
        description: str = "",
        created_by: str = "",
    ) -> TrainingSet:
        """Join features to a spine and keep the rows, with all it takes to make them again.

        Parameters
        ----------
        features, spine, timestamp, ttl, as_of, known, full_feature_names
            As `get_historical_features` takes them. The table versions are pinned.
        name
            Given once: training sets never change.
        split
            Shares drawn at random, `{"train": 0.8, "test": 0.2}`, or the instants before which
            rows lie, `{"train": datetime(...), "test": None}`; by default one part, `"all"`.
        split_by
            Rows equal in these columns stay in one part.
        seed
            Draws the same parts again.
        label
            The spine's column to be learnt.
        description, created_by
            Kept in the manifest.
        """
        options = Options(timestamp, ttl, as_of, known, full_feature_names)
        return self._training_sets.create(
            name,
            self._historical(features, options),
            read_spine(spine, self._sql),
            Recipe(split, split_by, seed, label, description, created_by),
            self._rejoin,
        )

    def training_set(self, name: str) -> TrainingSet:
        """Return a training set that was created before."""
        return self._training_sets.get(name, self._rejoin)

    def training_sets(self) -> list[str]:
        """Return the names of the training sets."""
        return [recorded.name for recorded in self._training_sets.table.all()]

    @property
    def _training_sets(self) -> TrainingSets:
        return TrainingSets(
            self.config.root / "training",
            TrainingSetTable(self._database),
            self.snapshots.pins,
            self.config.compression,
        )

    def _rejoin(self, view: FeatureView, manifest: Mapping[str, Any]) -> Historical:
        options = Options(manifest["timestamp"], full_feature_names=manifest["full_feature_names"])
        return self._historical(view, options).pinned(manifest["groups"])

    def create_snapshot(
        self, features: Any, name: str, *, description: str = "", created_by: str = ""
    ) -> str:
        """Pin the tables of a view, a group or a list of them under a name, for ever.

        Raises
        ------
        NameTaken
            Snapshots never change.
        """
        asked = (
            [features]
            if isinstance(features, str) or not hasattr(features, "__iter__")
            else features
        )
        groups = {
            (chosen.group.name, chosen.group.version): chosen.group
            for each in asked
            for chosen in self.applied.resolve(each).parts
        }
        self.snapshots.create(
            name,
            [(group, self._existing(group)) for group in groups.values()],
            description=description,
            created_by=created_by,
        )
        return name

    def create_feature_snapshot(
        self, feature_group: str, snapshot_name: str, *, description: str = "", created_by: str = ""
    ) -> str:
        """Pin one group's table under a name, for ever, as `create_snapshot` does."""
        return self.create_snapshot(
            feature_group, snapshot_name, description=description, created_by=created_by
        )

    # Lineage

    @cached_property
    def lineage(self) -> Lineage:
        """The graph behind the answers below, for drawing and export."""
        return Lineage(self.config, self._database, lambda name: self.training_set(name).manifest)

    def log_model(
        self,
        name: str,
        *,
        training_set: str,
        endpoint: str = "",
        owners: Sequence[str] = (),
        description: str = "",
        logged_by: str = "",
    ) -> Model:
        """Record a trained model, and report it to the Dagster instance, if there is one.

        In the asset graph it is `models/<name>`, after the code location is reloaded. To log the
        same again changes nothing. With `enable_lineage=False` nothing is recorded.

        Parameters
        ----------
        name
            Up to 100 letters, digits, `_`, `-` and `.`; given once.
        training_set
            What it was trained on.
        endpoint
            Where it answers, such as a URL.
        owners
            E-mail addresses or `team:name`.
        description, logged_by
            Kept.

        Raises
        ------
        TrainingSetNotFound
            There is no such training set.
        NameTaken
            A model of that name was logged with other content.
        """
        view, features = self.lineage.learnt(training_set)
        model = Model(
            name,
            training_set,
            view,
            features,
            tuple(owners),
            endpoint,
            description,
            logged_by,
            datetime.now(UTC),
        )
        return self.lineage.log(model)

    def models(self) -> list[Model]:
        """Return the models that were logged, by name."""
        return self.lineage.models.all()

    def get_feature_lineage(
        self, feature_id: str, direction: Direction = "both", depth: int | None = None
    ) -> dict[str, Any]:
        """Return what a feature comes from, and what comes from it.

        Read from Dagster's asset graph; where no definitions are at hand, from what is applied.

        Parameters
        ----------
        feature_id
            `"group.feature"`, a bare name while it is unique, or a source column,
            `"asset.column"`.
        direction
            `"upstream"`, `"downstream"` or `"both"`.
        depth
            At most so many steps.

        Returns
        -------
        `{"feature_id", "kind", "owners", "source", "upstream", "downstream", "edges"}`: source is
        `"dagster"` or `"applied"`; what is upstream and downstream is `{"id", "kind", "depth",
        "owners"}`, the nearest first; an edge is `{"from", "from_kind", "to", "to_kind",
        "known_by"}`, known by `"column_lineage"`, `"asset graph"`, `"applied"` or `"recorded"`.

        Raises
        ------
        LineageNotFound, AmbiguousFeature
            Nothing has that name, or several features have.
        """
        return self.lineage.of(feature_id, direction, depth)

    def analyze_impact(
        self, feature_id: str, change_type: ChangeType = "schema_change"
    ) -> dict[str, Any]:
        """Return what depends on a feature or a source column, and whom to ask.

        Parameters
        ----------
        feature_id
            As `get_feature_lineage` takes it; also an asset or a group, meaning all its columns.
        change_type
            `"schema_change"`, `"rename"`, `"type_change"`, `"removal"`, `"delay"` or `"values"`.

        Returns
        -------
        `{"feature_id", "kind", "change_type", "source", "features", "views", "snapshots",
        "training_sets", "models", "endpoints", "owners", "undeclared"}`. Each hit is `{"id",
        "owners", "effect"}`; an effect is `"breaks"`, `"retrain"`, `"changes values"`, `"late"`
        or `"stays"`. `undeclared` names what reads a touched asset without saying which columns:
        it may depend on it, too.
        """
        return analyze(self.lineage.graph(), feature_id, change_type)

    def root_cause(self, feature_id: str, partition: str) -> dict[str, Any]:
        """Return what may be behind a bad value: read from Dagster's event log.

        Parameters
        ----------
        feature_id, partition
            A feature, and the partition key of its group; `"all"` for a group without.

        Returns
        -------
        `{"feature_id", "partition", "causes", "partitions"}`. A cause is `{"problem", "asset",
        "partition", "depth", "at", "run_id", "detail"}`, the farthest upstream first; a problem is
        `"missing partition"`, `"late input"`, `"changed input"`, `"failed check"`, `"warned
        check"`, `"failed run"` or `"quarantined"`. `partitions` are all that the value comes
        from: `{"asset", "partition", "depth", "run_id", "materialized_at"}`.

        Raises
        ------
        DagsterUnavailable
            There is no instance, or there are no definitions.
        """
        return self.lineage.root_cause(feature_id, partition)

    def timeline(self, feature_id: str, limit: int = 100) -> list[dict[str, Any]]:
        """Return what happened to a feature, the newest last.

        Parameters
        ----------
        feature_id
            A feature.
        limit
            The newest so many.

        Returns
        -------
        `{"at", "event", "name", "detail"}` for each change of its group's declaration, partition
        that was materialized, failed check, snapshot, training set and model.
        """
        return self.lineage.timeline(feature_id, limit)

    # Online

    @property
    def online(self) -> OnlineStore:
        """The online store, opened on first use."""
        return self.serving.store

    def publish(
        self,
        group: FeatureGroup,
        partitions: Sequence[str],
        *,
        now: datetime | None = None,
        told: Callable[[int], None] = lambda _: None,
    ) -> Published:
        """Make the online rows of a group follow partitions of its table.

        `told` hears of rows as they are put, every 20,000 of them.
        """
        table = self._existing(group)
        return self.serving.publish(group, table, partitions, now=now, told=told)

    def rebuild_online(self, name: str) -> Rebuilt:
        """Write all online rows of a group anew, then switch readers to them at once.

        For an online store that lost rows, or holds some that it should not. Until the switch the
        old rows are served; they go half a minute after it, which this call waits for (longer if
        `serve_stale_seconds` is: until no reader can use them). Memory and disk hold both
        meanwhile. If it fails, or is killed, nothing changes for readers: run it again.

        Returns
        -------
        The generation that is read now, what was written, and how many old rows were removed.
        """
        group = self._online_group(name)
        return self.serving.rebuild(group, self._existing(group))

    def delete_online_features(self, feature_group: str, entity_ids: Sequence[Any]) -> int:
        """Remove the online rows of entities; return how many there were.

        Delete the rows offline first: publishing a partition that still holds them brings them
        back.

        Parameters
        ----------
        feature_group
            The group's name.
        entity_ids
            As `get_online_features` takes them.
        """
        group = self._online_group(feature_group)
        self.audit.add("erase", f"online {feature_group}", {"entities": len(entity_ids)})
        return self.serving.remove(group, entity_ids)

    def _online_group(self, name: str) -> FeatureGroup:
        group = self.applied.group(name)
        if not group.online:
            raise DataError(f"'{name}' is not served: declare online=True on it.")
        return group

    def get_online_features(
        self,
        feature_group: Any,
        entity_ids: Sequence[Any],
        features: Sequence[str] | None = None,
        *,
        at: datetime | None = None,
        include_status: bool = False,
        output: Output = "dicts",
    ) -> Any:
        """Read the newest features of entities.

        Parameters
        ----------
        feature_group
            A view or group, by name or as declared, or a list of `"group.feature"`.
        entity_ids
            Values of the one join key; tuples of several; or dicts by join key, as a view over
            groups with different keys needs them, and one with request values, which stand there
            too.
        features
            Only these.
        at
            Count ages from this instant instead of now; it does not travel in time.
        include_status
            Tell `{"values", "status", "event_timestamp", "age_seconds", "stale"}` of each entity;
            status is `present`, `missing` or `expired`. With Arrow these are columns.
        output
            `"dicts"`; `"arrow"`, a `pyarrow.Table` of keys and features, a row per entity; or
            `"numpy"`, a float64 array of entities by features, NaN where there is no value.

        Returns
        -------
        `{entity: {feature: value}}`, or a list in the order asked where the entities are dicts.
        A missing or expired feature is None, or the view's default.
        """
        query = self.serving.query(feature_group, features)
        return query.ask(self.serving.rows, entity_ids, at, status=include_status, output=output)

    async def get_online_features_async(
        self,
        feature_group: Any,
        entity_ids: Sequence[Any],
        features: Sequence[str] | None = None,
        *,
        at: datetime | None = None,
        include_status: bool = False,
        output: Output = "dicts",
    ) -> Any:
        """Read the newest features of entities without blocking the event loop.

        Look-ups that arrive together share one command to Redis. Everything else is as in
        `get_online_features`.
        """
        query = await self.serving.query_async(feature_group, features)
        return await query.ask_async(
            self.serving.rows, entity_ids, at, status=include_status, output=output
        )


def _review() -> Any:
    """Load what judges rows: it brings Polars and more, which online reads do not wait for."""
    return import_module("feature_store_assets.review")


def _entities(entities: Any, table: OfflineTable) -> pl.DataFrame:
    """Return entity keys, typed as the table has them."""
    return FeatureTable(typed_keys(arrow_table(entities), table.schema, "entities")).to_polars()

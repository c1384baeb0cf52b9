"""Lineage: what comes from what, which models learnt from it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from feature_store_assets.lineage.impact import analyze
from feature_store_assets.registry.models import Model
from feature_store_assets.store.facade import Facade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_store_assets.lineage.impact import ChangeType
    from feature_store_assets.lineage.queries import Direction


class LineageVerbs(Facade):
    """Tells what comes from what."""

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
            Kept; by default whoever acts logs it.

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
            logged_by or self.actor.name,
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

"""Names and versions that nothing has, and declarations that mean nothing."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from feature_store_assets.errors.base import FeatureStoreError, listed, suggestion


class DeclarationError(FeatureStoreError, ValueError):
    """A declaration cannot mean what it says; raised where it is written."""


class UnknownExpectation(DeclarationError):
    """No Great Expectations check has that name, or it has no such argument."""

    def __init__(self, name: str, known: Iterable[str], *, argument: str | None = None) -> None:
        if argument is None:
            what = f"Great Expectations has no expectation 'expect_{name}'."
            super().__init__(what + suggestion(name, known))
        else:
            what = f"expect.{name}() takes no argument '{argument}'."
            super().__init__(what + suggestion(argument, known))


class DependencyCycle(DeclarationError):
    """Groups are computed from each other in a circle."""

    def __init__(self, groups: Sequence[str]) -> None:
        super().__init__(
            f"These groups feed each other in a circle: {' -> '.join(groups)}. Nothing was "
            f"applied: let one of them read something else."
        )


class NotFound(FeatureStoreError, KeyError):
    """A name that nothing has."""


class EntityNotFound(NotFound):
    """No applied entity has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"No entity is named '{name}'." + suggestion(name, known))


class FeatureNotFound(NotFound):
    """The group or view has no feature of that name."""

    def __init__(self, name: str, owner: str, known: Iterable[str]) -> None:
        super().__init__(f"No feature is named '{name}' in '{owner}'." + suggestion(name, known))


class GroupNotFound(NotFound):
    """No applied feature group has that name (or version)."""

    def __init__(self, name: str, known: Iterable[str], *, version: int | None = None) -> None:
        known = list(known)
        what = f"No feature group is named '{name}'" + (
            f" in version {version}." if version else "."
        )
        hint = "" if known else " None is applied here yet: run `feature-store apply`."
        super().__init__(what + suggestion(name, known) + hint)


class ViewNotFound(NotFound):
    """No applied feature view (or group) has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = list(known)
        hint = "" if known else " None is applied here yet: run `feature-store apply`."
        super().__init__(f"No feature view is named '{name}'." + suggestion(name, known) + hint)


class SnapshotNotFound(NotFound):
    """No snapshot has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = list(known)
        hint = "" if known else " There are none yet: run the `snapshot_job`, or `create_snapshot`."
        super().__init__(f"No snapshot is named '{name}'." + suggestion(name, known) + hint)


class TrainingSetNotFound(NotFound):
    """No training set has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = list(known)
        hint = "" if known else " There are none yet: make one with `create_training_set`."
        super().__init__(f"No training set is named '{name}'." + suggestion(name, known) + hint)


class HoldNotFound(NotFound):
    """Nothing of that name is held."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        hint = "" if known else f" No {kind} is held."
        super().__init__(f"There is no hold on {kind} '{name}'." + suggestion(name, known) + hint)


class BackupNotFound(NotFound):
    """There is no such backup."""

    def __init__(self, target: str, name: str | None, known: Sequence[str]) -> None:
        if not known:
            super().__init__(f"There is no backup in '{target}'.")
        else:
            super().__init__(f"No backup in '{target}' is named '{name}'. The newest: {known[-1]}.")


class TokenNotFound(NotFound):
    """No token in the registry has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = list(known)
        hint = "" if known else " There are none yet: run `feature-store token create`."
        super().__init__(
            f"No token in the registry is named '{name}'." + suggestion(name, known) + hint
        )


class NotQuarantined(NotFound):
    """Nothing of that partition lies in quarantine."""

    def __init__(self, group: str, partition: str, known: Iterable[str]) -> None:
        known = list(known)
        hint = "" if known else f" Nothing of '{group}' does."
        super().__init__(
            f"Nothing of partition '{partition}' of '{group}' lies in quarantine."
            + suggestion(partition, known)
            + hint
        )


class ModelNotFound(NotFound):
    """No model has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = list(known)
        hint = "" if known else " There are none yet: training code calls `log_model`."
        super().__init__(f"No model is named '{name}'." + suggestion(name, known) + hint)


class LineageNotFound(NotFound):
    """Nothing in the lineage has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(
            f"Nothing in the lineage is named '{name}': give 'group.feature', or 'asset.column' of "
            f"a column that a feature is derived from." + suggestion(name, known)
        )


class VersionExpired(NotFound):
    """The table as of that instant or version can no longer be read."""

    def __init__(self, group: str, asked: datetime | int, nearest: str | None = None) -> None:
        when = asked.isoformat() if isinstance(asked, datetime) else f"version {asked}"
        hint = (
            f" The nearest snapshot that holds it is '{nearest}'."
            if nearest
            else " No snapshot holds it: only snapshots keep tables readable for ever."
        )
        super().__init__(f"'{group}' can no longer be read as of {when}.{hint}")


class OutsideRetention(NotFound):
    """The rows that were asked for were removed by retention."""

    def __init__(
        self, group: str, asked: str, until: datetime | None, snapshots: Iterable[str]
    ) -> None:
        held = list(snapshots)
        kept = f" Its rows are kept from {until.isoformat()} on." if until else ""
        hint = (
            f" These snapshots hold more of it: {listed(held)}; read with as_of=."
            if held
            else " No snapshot holds more of it. Materialize or write the rows again to have them."
        )
        super().__init__(f"{asked} of '{group}' is outside retention.{kept}{hint}")


class OutsideRetentionWarning(UserWarning):
    """A part of the rows that were asked for was removed by retention."""


class AmbiguousFeature(FeatureStoreError, ValueError):
    """Several groups have a feature of that name."""

    def __init__(self, name: str, candidates: Iterable[str]) -> None:
        super().__init__(f"'{name}' may be {listed(candidates)}: say which.")

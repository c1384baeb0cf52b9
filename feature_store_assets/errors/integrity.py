"""What is not what it was, or does not do what it should."""

from collections.abc import Sequence

from feature_store_assets.errors.base import FeatureStoreError, listed

_ENTRIES_SHOWN = 20
_PROBLEMS_SHOWN = 5


def _first(problems: Sequence[str], most: int) -> str:
    more = len(problems) - most
    return "; ".join(problems[:most]) + (f"; and {more} more" if more > 0 else "")


class AuditBroken(FeatureStoreError, RuntimeError):
    """The audit log is not what was written."""

    def __init__(self, problems: Sequence[str]) -> None:
        shown = _first(problems, _ENTRIES_SHOWN)
        super().__init__(
            f"The audit log was tampered with: {shown}. Compare it with a backup of the registry."
        )


class SnapshotDamaged(FeatureStoreError, RuntimeError):
    """Files of a snapshot are gone, or not what they were."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        shown = _first(problems, _PROBLEMS_SHOWN)
        super().__init__(
            f"Snapshot '{name}' is not what was pinned: {shown}. Restore these files from a backup."
        )


class ArchiveUnusable(FeatureStoreError, RuntimeError):
    """A folder is no archive, or not the one that was written."""

    def __init__(self, path: str, problems: Sequence[str], hint: str = "") -> None:
        shown = _first(problems, _PROBLEMS_SHOWN)
        super().__init__(
            f"'{path}' cannot be imported: {shown}. {hint or 'Take a sound copy of the archive.'} "
            f"Nothing was written."
        )


class BackupUnusable(FeatureStoreError, RuntimeError):
    """A backup is not what was written, or of a newer format."""

    def __init__(self, target: str, problems: Sequence[str], hint: str = "") -> None:
        shown = _first(problems, _PROBLEMS_SHOWN)
        hint = hint or "Take another backup, or another copy of this one."
        super().__init__(f"The backup in '{target}' cannot be used: {shown}. {hint}")


class TrainingSetChanged(FeatureStoreError, RuntimeError):
    """Files of a training set are not what was written."""

    def __init__(self, name: str, files: Sequence[str]) -> None:
        super().__init__(
            f"Training set '{name}' is not what was written: {', '.join(files)}. Restore it from a "
            f"backup, or create another one under a new name."
        )


class NotReproduced(FeatureStoreError, RuntimeError):
    """Joining a training set again from its pinned tables gave other values."""

    def __init__(self, name: str, columns: Sequence[str], causes: Sequence[str]) -> None:
        why = f" Since then changed: {'; '.join(causes)}." if causes else ""
        super().__init__(
            f"Joining training set '{name}' again gave other values of {listed(columns)}.{why}"
        )


class FunctionFailed(FeatureStoreError, RuntimeError):
    """A request-time function is gone, raised, or returned what it may not."""

    def __init__(self, feature: str, function: str, reason: str) -> None:
        super().__init__(f"'{feature}' cannot be computed: '{function}' {reason}.")


class FunctionNotTrusted(FunctionFailed):
    """A request-time function came from outside, and nothing here says that it may run."""

    def __init__(self, feature: str, function: str) -> None:
        module = function.partition(":")[0]
        super().__init__(
            feature,
            function,
            f"came from an archive, a backup or another registry, and may not run here. Nothing "
            f"of it was imported. If you trust it, run `feature-store apply` in the project that "
            f"declares it, or set FEATURE_STORE_REQUEST_MODULES={module}",
        )


class NotServed(FeatureStoreError, RuntimeError):
    """What was asked for is not served online: a draft, or retired."""

    def __init__(self, name: str, stage: str, successor: str = "") -> None:
        if stage == "draft":
            hint = "Name its features one by one to try them, or make it active."
        else:
            hint = (
                f"Use '{successor}' instead." if successor else "Its rows are still in its table."
            )
        super().__init__(f"'{name}' is {stage} and not served online. {hint}")


class FeatureDeprecated(FutureWarning):
    """Something deprecated is read: it will be retired."""

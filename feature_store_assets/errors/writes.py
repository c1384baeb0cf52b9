"""Writes that may not happen, or could not."""

from collections.abc import Mapping, Sequence

from feature_store_assets.errors.base import FeatureStoreError

_CONFLICTS_SHOWN = 100
_PARTITIONS_SHOWN = 20


class WriteRefused(FeatureStoreError, RuntimeError):
    """The write may not happen; nothing was written."""


class WrittenByDagster(WriteRefused):
    """The group has a function, so Dagster is its one writer."""

    def __init__(self, group: str) -> None:
        super().__init__(
            f"'{group}' is computed by its Dagster asset, which is its only writer. Use "
            f"`feature-store materialize {group}` or the Dagster UI instead."
        )


class DeclarationChanged(WriteRefused):
    """Another definition of the group was applied while a writer was running."""

    def __init__(self, group: str, changes: Sequence[str]) -> None:
        super().__init__(
            f"The applied definition of '{group}' differs from the one that this run was started "
            f"with ({'; '.join(changes)}). Nothing was written: run `feature-store apply` with the "
            f"code that should win, then run again."
        )


class BreakingChange(WriteRefused):
    """A change of an applied group that old rows cannot follow."""

    def __init__(self, group: str, version: int, changes: Sequence[str]) -> None:
        super().__init__(
            f"'{group}' version {version} is applied already and these changes would break what "
            f"is stored: {'; '.join(changes)}. Declare version={version + 1}, a new table."
        )


class NameTaken(WriteRefused):
    """Snapshots, training sets and tokens are immutable: a name is given once."""

    def __init__(self, name: str, kind: str = "snapshot") -> None:
        hint = " Revoke it first, or take another name." if kind == "token" else ""
        super().__init__(f"A {kind} named '{name}' exists already, and {kind}s never change.{hint}")


class StageRefused(WriteRefused):
    """Something cannot go from its stage to that one."""

    def __init__(self, name: str, stage: str, to: str, allowed: Sequence[str]) -> None:
        way = f"It can become {' or '.join(allowed)}." if allowed else "That is for good."
        super().__init__(f"'{name}' is {stage} and cannot become {to}. {way}")


class SnapshotNeeded(WriteRefused):
    """A snapshot may not be deleted: something needs it."""

    def __init__(self, name: str, needed_by: Sequence[str]) -> None:
        super().__init__(f"Snapshot '{name}' is needed by {'; '.join(needed_by)}. It stays.")


class FeatureNeeded(WriteRefused):
    """A feature may not be dropped: a view names it, or it is in use."""

    def __init__(self, name: str, view: str = "") -> None:
        why = (
            f"view '{view}' names it. Apply the view without it first."
            if view
            else f"only drafts and retired features can go. Retire it first: `feature-store stage "
            f"{name} deprecated`, then `feature-store stage {name} retired`."
        )
        super().__init__(f"Feature '{name}' was not dropped: {why}")


class ImportConflict(WriteRefused):
    """The registry holds other things under names that an import brings."""

    def __init__(self, conflicts: Sequence[str], *, final: bool = False) -> None:
        shown = "".join(f"\n  {each}" for each in conflicts[:_CONFLICTS_SHOWN])
        more = len(conflicts) - _CONFLICTS_SHOWN
        shown += f"\n  and {more} more" if more > 0 else ""
        hint = (
            "Replacing cannot mend that: rename them, or give them a new version."
            if final
            else "Import with on_conflict='keep' or on_conflict='replace' to say which shall stay."
        )
        super().__init__(f"Nothing was imported, for these are here otherwise:{shown}\n{hint}")


class CodeNotTrusted(WriteRefused):
    """What is imported names functions that reads would run here."""

    def __init__(self, functions: Sequence[str]) -> None:
        self.functions = tuple(functions)
        shown = "".join(f"\n  {each}" for each in self.functions[:_CONFLICTS_SHOWN])
        more = len(self.functions) - _CONFLICTS_SHOWN
        shown += f"\n  and {more} more" if more > 0 else ""
        super().__init__(
            f"Nothing was imported, and no code was run. Views in it compute features by these "
            f"functions, which this store does not know:{shown}\nA read of such a view imports the "
            f"module and runs the function. If you trust them, import with --trust-code "
            f"(trust_code=True), or name their modules in FEATURE_STORE_REQUEST_MODULES."
        )


class ArchiveConflict(WriteRefused):
    """Partitions that an archive brings hold rows here."""

    def __init__(self, partitions: Mapping[str, Sequence[str]]) -> None:
        shown = "".join(
            f"\n  {name}: {', '.join(keys[:_PARTITIONS_SHOWN])}"
            + (f" and {more} more" if (more := len(keys) - _PARTITIONS_SHOWN) > 0 else "")
            for name, keys in partitions.items()
        )
        super().__init__(
            f"Partitions of the archive hold rows here already; they were left alone:{shown}\n"
            f"Import with on_conflict='keep' or on_conflict='replace' to say which shall stay."
        )


class GroupHeld(WriteRefused):
    """A legal hold keeps the rows of a group as they are."""

    def __init__(self, group: str, reason: str) -> None:
        super().__init__(
            f"The rows of '{group}' stay as they are, for a legal hold is on it ({reason}). Lift "
            f"the hold, or import with on_conflict='keep'."
        )


class BackupRefused(WriteRefused):
    """A backup would be none of this store, or would push good ones out."""

    def __init__(self, target: str, why: str, hint: str) -> None:
        super().__init__(
            f"No backup was made in '{target}': {why}. {hint.rstrip('.')}. Nothing was written or "
            f"removed."
        )


class RestoreRefused(WriteRefused):
    """Something is where a backup would be restored to."""

    def __init__(self, what: str, holds: str) -> None:
        super().__init__(
            f"{what} {holds}: a backup is restored to where nothing is. Move that away, or point "
            f"FEATURE_STORE_STORAGE_PATH, FEATURE_STORE_REGISTRY_URL and "
            f"FEATURE_STORE_ONLINE_STORE_URI elsewhere. Nothing was changed."
        )


class LeaseHeld(WriteRefused):
    """Another process is at what only one may do at a time."""

    def __init__(self, what: str, holder: str) -> None:
        super().__init__(
            f"Somebody else is at '{what}' (host and process: {holder}). Wait for its end, and run "
            f"this again."
        )


class LeaseLost(WriteRefused):
    """Another process took over what this one was doing."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"'{what}' was taken over by another process, as this one did not answer for a minute. "
            f"Look what that one did before running this again."
        )


class WriteConflict(FeatureStoreError, RuntimeError):
    """Other writers of the same partitions won every retry; nothing was written."""

    def __init__(self, owner: str, attempts: int) -> None:
        super().__init__(
            f"'{owner}' was not written: {attempts} attempts met other writers of the same rows. "
            f"Run it again; set a Dagster pool on the group if this happens often."
        )


class PartitionsRejected(FeatureStoreError, RuntimeError):
    """The quality gate kept partitions out; what was stored before is still there."""

    def __init__(self, group: str, reasons: Mapping[str, Sequence[str]], committed: int) -> None:
        shown = list(reasons.items())[:_PARTITIONS_SHOWN]
        lines = "".join(f"\n  {key}: {'; '.join(why)}" for key, why in shown)
        more = f"\n  and {len(reasons) - len(shown)} more" if len(reasons) > len(shown) else ""
        super().__init__(
            f"{len(reasons)} partition(s) of '{group}' failed their checks and were put into "
            f"quarantine; {committed} good partition(s) were committed. Correct the data, then "
            f"materialize the rejected ones again:{lines}{more}"
        )


class StillRejected(FeatureStoreError, RuntimeError):
    """Quarantined rows do not pass today's checks either; they stay where they are."""

    def __init__(self, group: str, partition: str, reasons: Sequence[str]) -> None:
        super().__init__(
            f"'{partition}' of '{group}' was not released, it fails its checks still: "
            f"{'; '.join(reasons)} Correct the source and materialize it again, or change what the "
            f"group expects and apply that."
        )

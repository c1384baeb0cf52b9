"""Every error of the package, each a subclass of `FeatureStoreError` and of the fitting builtin.

FeatureStoreError
├── ConfigError (ValueError)              a setting is unknown, missing or wrong
├── DeclarationError (ValueError)         a declaration cannot mean what it says
│   ├── DependencyCycle                   groups are computed from each other in a circle
│   └── UnknownExpectation                no Great Expectations check has that name or argument
├── NotFound (KeyError)                   a name that nothing has
│   ├── EntityNotFound  FeatureNotFound  GroupNotFound  ViewNotFound
│   ├── SnapshotNotFound  TrainingSetNotFound  TokenNotFound  NotQuarantined
│   ├── ModelNotFound  LineageNotFound  HoldNotFound  BackupNotFound
│   ├── OutsideRetention                  retention removed those rows
│   └── VersionExpired                    the tables of that instant are gone
├── AmbiguousFeature (ValueError)         several groups have a feature of that name
├── DataError (ValueError)                the rows handed in are refused; nothing was written
│   ├── SchemaMismatch (TypeError)        a column is missing, unknown or of another type
│   ├── NullKeys  DuplicateRows  ChangedFacts
│   ├── NaiveTimestamps  OutsideWindow  OutOfBounds
│   ├── SpineError                        a spine without its keys or its timestamp
│   └── AnswerTooLarge (MemoryError)      a join that the memory limit does not allow
├── WriteRefused (RuntimeError)           the write may not happen; nothing was written
│   ├── WrittenByDagster                  the group is computed by its asset
│   ├── DeclarationChanged                another definition was applied meanwhile
│   ├── BreakingChange                    a change that needs a new version
│   ├── StageRefused                      no way leads from one stage to the other
│   ├── SnapshotNeeded                    a model, legal hold or backup needs the snapshot
│   ├── ImportConflict                    the registry holds other things of the same names
│   ├── ArchiveConflict                   partitions of an archive hold rows here
│   ├── GroupHeld                         a legal hold keeps the group's rows
│   ├── RestoreRefused                    something is where a backup would be restored to
│   └── NameTaken                         a snapshot, training set or token has that name
├── WriteConflict (RuntimeError)          other writers won every retry
├── PartitionsRejected (RuntimeError)     the quality gate kept partitions out
├── AuditBroken (RuntimeError)            the audit log is not what was written
├── NotServed (RuntimeError)              a draft, or retired
├── StillRejected (RuntimeError)          what lies in quarantine does not pass yet
├── TrainingSetChanged (RuntimeError)     stored files are not what was written
├── SnapshotDamaged (RuntimeError)        files of a snapshot are gone or changed
├── ArchiveUnusable (RuntimeError)        no archive, unfinished, damaged, or too new
├── BackupUnusable (RuntimeError)         a backup is damaged, too new, or out of reach
├── NotReproduced (RuntimeError)          the same question got another answer
├── FunctionFailed (RuntimeError)         a request-time function did not compute its feature
├── ExtraMissing (ImportError)            a package that not everybody needs is not installed
└── StoreUnavailable (OSError)            a store cannot be used here and now
    ├── OnlineStoreUnavailable (ConnectionError)
    ├── StorageUnusable                   the data root is not writable, or not a local disk
    ├── DagsterUnavailable                no instance or no definitions to read lineage from
    └── RegistryUnusable                  cannot be reached, or is newer than this code

Errors take data and build their message from it: what was asked, what exists, what to do.
Personal values and secrets never enter a message.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Self

_PARTITIONS_SHOWN = 20
_CONFLICTS_SHOWN = 100
_PROBLEMS_SHOWN = 5


def _listed(names: Iterable[str], most: int = 12) -> str:
    """Put the names in quotes, sorted, cut after `most`."""
    every = sorted(names)
    shown = ", ".join(f"'{name}'" for name in every[:most])
    return shown + (f" and {len(every) - most} more" if len(every) > most else "")


def suggestion(name: str, known: Iterable[str]) -> str:
    """The ending of a "not found" message: the nearest known name, else those that exist."""
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" There are: {_listed(known)}." if known else ""


def _examples(rows: Sequence[Mapping[str, object]]) -> str:
    """Up to five example rows, one a line; the caller has masked them."""
    return "".join(f"\n  {dict(row)}" for row in rows[:5])


class FeatureStoreError(Exception):
    """Base of all errors of this package; `except FeatureStoreError` catches them all."""

    _data: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        error = super().__new__(cls)
        error._data = (args, kwargs)
        return error

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.args = (message,)  # OSError takes none from an __init__ of ours

    def __str__(self) -> str:
        # KeyError would show the repr of its message.
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        # Step processes and pools pickle errors: rebuild from the data, not from the message.
        args, kwargs = self._data
        return _rebuild, (type(self), args, kwargs)


def _rebuild(
    kind: type[FeatureStoreError], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> FeatureStoreError:
    return kind(*args, **kwargs)


class ConfigError(FeatureStoreError, ValueError):
    """A setting is unknown, missing or wrong."""


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


class OutsideRetention(NotFound):
    """The rows that were asked for were removed by retention."""

    def __init__(
        self, group: str, asked: str, until: datetime | None, snapshots: Iterable[str]
    ) -> None:
        held = list(snapshots)
        kept = f" Its rows are kept from {until.isoformat()} on." if until else ""
        hint = (
            f" These snapshots hold more of it: {_listed(held)}; read with as_of=."
            if held
            else " No snapshot holds more of it. Materialize or write the rows again to have them."
        )
        super().__init__(f"{asked} of '{group}' is outside retention.{kept}{hint}")


class OutsideRetentionWarning(UserWarning):
    """A part of the rows that were asked for was removed by retention."""


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


class AmbiguousFeature(FeatureStoreError, ValueError):
    """Several groups have a feature of that name."""

    def __init__(self, name: str, candidates: Iterable[str]) -> None:
        super().__init__(f"'{name}' may be {_listed(candidates)}: say which.")


class DataError(FeatureStoreError, ValueError):
    """The rows handed in are refused; nothing was written."""


class SchemaMismatch(DataError, TypeError):
    """A column is missing, unknown, or of a type that would not survive the write unchanged."""

    def __init__(
        self, group: str, column: str, *, wanted: str | None, got: str | None, hint: str = ""
    ) -> None:
        if got is None:
            what = f"Column '{column}' ({wanted}) of '{group}' is missing in the data."
        elif wanted is None:
            what = f"'{group}' declares no column '{column}' ({got})."
        else:
            what = f"Column '{column}' of '{group}' is declared {wanted}, the data has {got}."
        super().__init__(f"{what} {hint}".rstrip())


class NullKeys(DataError):
    """Rows without an entity key or an event timestamp."""

    def __init__(
        self, group: str, column: str, count: int, examples: Sequence[Mapping[str, object]] = ()
    ) -> None:
        super().__init__(
            f"{count} row(s) for '{group}' have no '{column}'. Every row needs its entity keys and "
            f"its event timestamp: drop or repair them.{_examples(examples)}"
        )


class DuplicateRows(DataError):
    """Rows that share entity keys, event timestamp and created timestamp."""

    def __init__(
        self,
        group: str,
        columns: Sequence[str],
        count: int,
        examples: Sequence[Mapping[str, object]] = (),
    ) -> None:
        super().__init__(
            f"{count} row(s) for '{group}' repeat another row's ({', '.join(columns)}). Keep one "
            f"row per entity and instant, for example with `unique(..., keep='last')`."
            f"{_examples(examples)}"
        )


class NaiveTimestamps(DataError):
    """Timestamps without a time zone."""

    def __init__(self, owner: str, column: str) -> None:
        super().__init__(
            f"Timestamps in '{column}' of '{owner}' have no time zone. Make them UTC "
            f"(`dt.replace_time_zone('UTC')`), or declare `timezone=` on the group."
        )


class ChangedFacts(DataError):
    """Appended rows that differ from stored ones of the same keys and event time."""

    def __init__(
        self, group: str, count: int, examples: Sequence[Mapping[str, object]] = ()
    ) -> None:
        super().__init__(
            f"{count} row(s) for '{group}' are stored already with other values. To correct them, "
            f"write with mode='upsert': the stored revision stays readable.{_examples(examples)}"
        )


class OutsideWindow(DataError):
    """Rows dated outside the partitions that a run or a write may produce."""

    def __init__(
        self,
        group: str,
        count: int,
        window: str,
        examples: Sequence[Mapping[str, object]] = (),
    ) -> None:
        super().__init__(
            f"{count} row(s) for '{group}' lie outside {window}. A run writes just the partitions "
            f"it was asked for: filter by `window`, or ask for the partitions that these rows "
            f"belong to.{_examples(examples)}"
        )


class OutOfBounds(DataError):
    """Values outside the declared bounds of their features."""

    def __init__(self, group: str, failures: Mapping[str, int]) -> None:
        listed = "; ".join(f"{rule}: {count} row(s)" for rule, count in failures.items())
        super().__init__(
            f"Values for '{group}' break the declared bounds: {listed}. Repair the rows, or change "
            f"the declaration."
        )


class SpineError(DataError):
    """A spine that cannot be joined: no timestamp, no key, a clashing column."""


class AnswerTooLarge(DataError, MemoryError):
    """A join that the memory limit does not allow; nothing was read."""

    def __init__(self, rows: int, needed: int, limit: int) -> None:
        super().__init__(
            f"Joining {rows:,} rows takes about {needed / 1e9:.1f} GB of memory, more than "
            f"memory_limit ({limit / 1e9:.1f} GB). Give out='features.parquet' to write the answer "
            f"piece by piece, or raise the limit."
        )


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


class RestoreRefused(WriteRefused):
    """Something is where a backup would be restored to."""

    def __init__(self, what: str, holds: str) -> None:
        super().__init__(
            f"{what} {holds}: a backup is restored to where nothing is. Move that away, or point "
            f"FEATURE_STORE_STORAGE_PATH, FEATURE_STORE_REGISTRY_URL and "
            f"FEATURE_STORE_ONLINE_STORE_URI elsewhere. Nothing was changed."
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
        listed = "".join(f"\n  {key}: {'; '.join(why)}" for key, why in shown)
        more = f"\n  and {len(reasons) - len(shown)} more" if len(reasons) > len(shown) else ""
        super().__init__(
            f"{len(reasons)} partition(s) of '{group}' failed their checks and were put into "
            f"quarantine; {committed} good partition(s) were committed. Correct the data, then "
            f"materialize the rejected ones again:{listed}{more}"
        )


class AuditBroken(FeatureStoreError, RuntimeError):
    """The audit log is not what was written."""

    def __init__(self, problems: Sequence[str]) -> None:
        shown = "; ".join(problems[:_PARTITIONS_SHOWN])
        more = len(problems) - _PARTITIONS_SHOWN
        rest = f"; and {more} more" if more > 0 else ""
        super().__init__(
            f"The audit log was tampered with: {shown}{rest}. Compare it with a backup of the "
            f"registry."
        )


class StillRejected(FeatureStoreError, RuntimeError):
    """Quarantined rows do not pass today's checks either; they stay where they are."""

    def __init__(self, group: str, partition: str, reasons: Sequence[str]) -> None:
        super().__init__(
            f"'{partition}' of '{group}' was not released, it fails its checks still: "
            f"{'; '.join(reasons)} Correct the source and materialize it again, or change what the "
            f"group expects and apply that."
        )


class SnapshotDamaged(FeatureStoreError, RuntimeError):
    """Files of a snapshot are gone, or not what they were."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        shown = "; ".join(problems[:_PROBLEMS_SHOWN])
        if len(problems) > _PROBLEMS_SHOWN:
            shown += f"; and {len(problems) - _PROBLEMS_SHOWN} more"
        super().__init__(
            f"Snapshot '{name}' is not what was pinned: {shown}. Restore these files from a backup."
        )


class ArchiveUnusable(FeatureStoreError, RuntimeError):
    """A folder is no archive, or not the one that was written."""

    def __init__(self, path: str, problems: Sequence[str], hint: str = "") -> None:
        shown = "; ".join(problems[:_PROBLEMS_SHOWN])
        if len(problems) > _PROBLEMS_SHOWN:
            shown += f"; and {len(problems) - _PROBLEMS_SHOWN} more"
        super().__init__(
            f"'{path}' cannot be imported: {shown}. {hint or 'Take a sound copy of the archive.'} "
            f"Nothing was written."
        )


class BackupUnusable(FeatureStoreError, RuntimeError):
    """A backup is not what was written, or cannot be reached."""

    def __init__(self, target: str, problems: Sequence[str]) -> None:
        shown = "; ".join(problems[:_PROBLEMS_SHOWN])
        if len(problems) > _PROBLEMS_SHOWN:
            shown += f"; and {len(problems) - _PROBLEMS_SHOWN} more"
        super().__init__(
            f"The backup in '{target}' cannot be used: {shown}. Take another backup, or another "
            f"copy of this one."
        )


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
            f"Joining training set '{name}' again gave other values of {_listed(columns)}.{why}"
        )


class FunctionFailed(FeatureStoreError, RuntimeError):
    """A request-time function is gone, raised, or returned what it may not."""

    def __init__(self, feature: str, function: str, reason: str) -> None:
        super().__init__(f"'{feature}' cannot be computed: '{function}' {reason}.")


class ExtraMissing(FeatureStoreError, ImportError):
    """A package that not everybody needs is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed: pip install 'feature_store_assets[{extra}]'."
        )


class StoreUnavailable(FeatureStoreError, OSError):
    """A store cannot be used here and now."""


class OnlineStoreUnavailable(StoreUnavailable, ConnectionError):
    """The online store does not answer."""

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(
            f"The online store at {uri} does not answer ({reason}). Start it, or set "
            f"FEATURE_STORE_ONLINE_STORE_URI; without one the embedded LMDB store is used."
        )


class StorageUnusable(StoreUnavailable):
    """The data root cannot be used."""

    def __init__(self, path: str, reason: str, hint: str = "") -> None:
        super().__init__(f"'{path}' cannot hold the store: {reason}. {hint}".rstrip())


class DagsterUnavailable(StoreUnavailable):
    """There is no Dagster instance, or there are no definitions, to read from."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"There is no Dagster {what} here. {hint}")


class RegistryUnusable(StoreUnavailable):
    """The registry's database cannot be used."""

    def __init__(self, url: str, reason: str, hint: str = "") -> None:
        super().__init__(f"The registry at {url} cannot be used: {reason}. {hint}".rstrip())

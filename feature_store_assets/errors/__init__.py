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
│   ├── NaiveTimestamps  OutsideCalendar  OutsideWindow  OutOfBounds
│   ├── SpineError                        a spine without its keys or its timestamp
│   └── AnswerTooLarge (MemoryError)      a join that the memory limit does not allow
├── WriteRefused (RuntimeError)           the write may not happen; nothing was written
│   ├── WrittenByDagster                  the group is computed by its asset
│   ├── DeclarationChanged                another definition was applied meanwhile
│   ├── BreakingChange                    a change that needs a new version
│   ├── StageRefused                      no way leads from one stage to the other
│   ├── FeatureNeeded                     something needs the feature that should be dropped
│   ├── SnapshotNeeded                    a model, legal hold or backup needs the snapshot
│   ├── ImportConflict                    the registry holds other things of the same names
│   ├── CodeNotTrusted                    an import brings functions that nobody has trusted
│   ├── ArchiveConflict                   partitions of an archive hold rows here
│   ├── LeaseHeld                         another process is at what one may do at a time
│   ├── LeaseLost                         another process took over what this one did
│   ├── GroupHeld                         a legal hold keeps the group's rows
│   ├── BackupRefused                     another store's target, or a store that lost a part
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
├── BackupUnusable (RuntimeError)         a backup is damaged, or too new
├── NotReproduced (RuntimeError)          the same question got another answer
├── FunctionFailed (RuntimeError)         a request-time function did not compute its feature
│   └── FunctionNotTrusted                it came from outside, and may not run here
├── ExtraMissing (ImportError)            a package that not everybody needs is not installed
└── StoreUnavailable (OSError)            a store cannot be used here and now
    ├── OnlineStoreUnavailable (ConnectionError)
    ├── LocationUnusable                  a folder or an object store cannot be read or written
    ├── StorageUnusable                   the data root is not writable, or not a local disk
    ├── DagsterUnavailable                no instance or no definitions to read lineage from
    └── RegistryUnusable                  cannot be reached, or is newer than this code

Errors take data and build their message from it: what was asked, what exists, what to do.
Personal values and secrets never enter a message.
"""

from feature_store_assets.errors.base import (
    ConfigError as ConfigError,
    FeatureStoreError as FeatureStoreError,
    suggestion as suggestion,
)
from feature_store_assets.errors.data import (
    AnswerTooLarge as AnswerTooLarge,
    ChangedFacts as ChangedFacts,
    DataError as DataError,
    DuplicateRows as DuplicateRows,
    NaiveTimestamps as NaiveTimestamps,
    NullKeys as NullKeys,
    OutOfBounds as OutOfBounds,
    OutsideCalendar as OutsideCalendar,
    OutsideWindow as OutsideWindow,
    SchemaMismatch as SchemaMismatch,
    SpineError as SpineError,
)
from feature_store_assets.errors.integrity import (
    ArchiveUnusable as ArchiveUnusable,
    AuditBroken as AuditBroken,
    BackupUnusable as BackupUnusable,
    FeatureDeprecated as FeatureDeprecated,
    FunctionFailed as FunctionFailed,
    FunctionNotTrusted as FunctionNotTrusted,
    NotReproduced as NotReproduced,
    NotServed as NotServed,
    SnapshotDamaged as SnapshotDamaged,
    TrainingSetChanged as TrainingSetChanged,
)
from feature_store_assets.errors.names import (
    AmbiguousFeature as AmbiguousFeature,
    BackupNotFound as BackupNotFound,
    DeclarationError as DeclarationError,
    DependencyCycle as DependencyCycle,
    EntityNotFound as EntityNotFound,
    FeatureNotFound as FeatureNotFound,
    GroupNotFound as GroupNotFound,
    HoldNotFound as HoldNotFound,
    LineageNotFound as LineageNotFound,
    ModelNotFound as ModelNotFound,
    NotFound as NotFound,
    NotQuarantined as NotQuarantined,
    OutsideRetention as OutsideRetention,
    OutsideRetentionWarning as OutsideRetentionWarning,
    SnapshotNotFound as SnapshotNotFound,
    TokenNotFound as TokenNotFound,
    TrainingSetNotFound as TrainingSetNotFound,
    UnknownExpectation as UnknownExpectation,
    VersionExpired as VersionExpired,
    ViewNotFound as ViewNotFound,
)
from feature_store_assets.errors.stores import (
    DagsterUnavailable as DagsterUnavailable,
    ExtraMissing as ExtraMissing,
    LocationUnusable as LocationUnusable,
    OnlineStoreUnavailable as OnlineStoreUnavailable,
    RegistryUnusable as RegistryUnusable,
    StorageUnusable as StorageUnusable,
    StoreUnavailable as StoreUnavailable,
)
from feature_store_assets.errors.writes import (
    ArchiveConflict as ArchiveConflict,
    BackupRefused as BackupRefused,
    BreakingChange as BreakingChange,
    CodeNotTrusted as CodeNotTrusted,
    DeclarationChanged as DeclarationChanged,
    FeatureNeeded as FeatureNeeded,
    GroupHeld as GroupHeld,
    ImportConflict as ImportConflict,
    LeaseHeld as LeaseHeld,
    LeaseLost as LeaseLost,
    NameTaken as NameTaken,
    PartitionsRejected as PartitionsRejected,
    RestoreRefused as RestoreRefused,
    SnapshotNeeded as SnapshotNeeded,
    StageRefused as StageRefused,
    StillRejected as StillRejected,
    WriteConflict as WriteConflict,
    WriteRefused as WriteRefused,
    WrittenByDagster as WrittenByDagster,
)

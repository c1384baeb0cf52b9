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
)
from feature_store_assets.errors.base import (
    FeatureStoreError as FeatureStoreError,
)
from feature_store_assets.errors.base import (
    suggestion as suggestion,
)
from feature_store_assets.errors.names import (
    AmbiguousFeature as AmbiguousFeature,
)
from feature_store_assets.errors.names import (
    BackupNotFound as BackupNotFound,
)
from feature_store_assets.errors.names import (
    DeclarationError as DeclarationError,
)
from feature_store_assets.errors.names import (
    DependencyCycle as DependencyCycle,
)
from feature_store_assets.errors.names import (
    EntityNotFound as EntityNotFound,
)
from feature_store_assets.errors.names import (
    FeatureNotFound as FeatureNotFound,
)
from feature_store_assets.errors.names import (
    GroupNotFound as GroupNotFound,
)
from feature_store_assets.errors.names import (
    HoldNotFound as HoldNotFound,
)
from feature_store_assets.errors.names import (
    LineageNotFound as LineageNotFound,
)
from feature_store_assets.errors.names import (
    ModelNotFound as ModelNotFound,
)
from feature_store_assets.errors.names import (
    NotFound as NotFound,
)
from feature_store_assets.errors.names import (
    NotQuarantined as NotQuarantined,
)
from feature_store_assets.errors.names import (
    OutsideRetention as OutsideRetention,
)
from feature_store_assets.errors.names import (
    OutsideRetentionWarning as OutsideRetentionWarning,
)
from feature_store_assets.errors.names import (
    SnapshotNotFound as SnapshotNotFound,
)
from feature_store_assets.errors.names import (
    TokenNotFound as TokenNotFound,
)
from feature_store_assets.errors.names import (
    TrainingSetNotFound as TrainingSetNotFound,
)
from feature_store_assets.errors.names import (
    UnknownExpectation as UnknownExpectation,
)
from feature_store_assets.errors.names import (
    VersionExpired as VersionExpired,
)
from feature_store_assets.errors.names import (
    ViewNotFound as ViewNotFound,
)
from feature_store_assets.errors.rows import (
    AnswerTooLarge as AnswerTooLarge,
)
from feature_store_assets.errors.rows import (
    ChangedFacts as ChangedFacts,
)
from feature_store_assets.errors.rows import (
    DataError as DataError,
)
from feature_store_assets.errors.rows import (
    DuplicateRows as DuplicateRows,
)
from feature_store_assets.errors.rows import (
    NaiveTimestamps as NaiveTimestamps,
)
from feature_store_assets.errors.rows import (
    NullKeys as NullKeys,
)
from feature_store_assets.errors.rows import (
    OutOfBounds as OutOfBounds,
)
from feature_store_assets.errors.rows import (
    OutsideCalendar as OutsideCalendar,
)
from feature_store_assets.errors.rows import (
    OutsideWindow as OutsideWindow,
)
from feature_store_assets.errors.rows import (
    SchemaMismatch as SchemaMismatch,
)
from feature_store_assets.errors.rows import (
    SpineError as SpineError,
)
from feature_store_assets.errors.stores import (
    DagsterUnavailable as DagsterUnavailable,
)
from feature_store_assets.errors.stores import (
    ExtraMissing as ExtraMissing,
)
from feature_store_assets.errors.stores import (
    LocationUnusable as LocationUnusable,
)
from feature_store_assets.errors.stores import (
    OnlineStoreUnavailable as OnlineStoreUnavailable,
)
from feature_store_assets.errors.stores import (
    RegistryUnusable as RegistryUnusable,
)
from feature_store_assets.errors.stores import (
    StorageUnusable as StorageUnusable,
)
from feature_store_assets.errors.stores import (
    StoreUnavailable as StoreUnavailable,
)
from feature_store_assets.errors.trust import (
    ArchiveUnusable as ArchiveUnusable,
)
from feature_store_assets.errors.trust import (
    AuditBroken as AuditBroken,
)
from feature_store_assets.errors.trust import (
    BackupUnusable as BackupUnusable,
)
from feature_store_assets.errors.trust import (
    FeatureDeprecated as FeatureDeprecated,
)
from feature_store_assets.errors.trust import (
    FunctionFailed as FunctionFailed,
)
from feature_store_assets.errors.trust import (
    FunctionNotTrusted as FunctionNotTrusted,
)
from feature_store_assets.errors.trust import (
    NotReproduced as NotReproduced,
)
from feature_store_assets.errors.trust import (
    NotServed as NotServed,
)
from feature_store_assets.errors.trust import (
    SnapshotDamaged as SnapshotDamaged,
)
from feature_store_assets.errors.trust import (
    TrainingSetChanged as TrainingSetChanged,
)
from feature_store_assets.errors.writes import (
    ArchiveConflict as ArchiveConflict,
)
from feature_store_assets.errors.writes import (
    BackupRefused as BackupRefused,
)
from feature_store_assets.errors.writes import (
    BreakingChange as BreakingChange,
)
from feature_store_assets.errors.writes import (
    CodeNotTrusted as CodeNotTrusted,
)
from feature_store_assets.errors.writes import (
    DeclarationChanged as DeclarationChanged,
)
from feature_store_assets.errors.writes import (
    FeatureNeeded as FeatureNeeded,
)
from feature_store_assets.errors.writes import (
    GroupHeld as GroupHeld,
)
from feature_store_assets.errors.writes import (
    ImportConflict as ImportConflict,
)
from feature_store_assets.errors.writes import (
    LeaseHeld as LeaseHeld,
)
from feature_store_assets.errors.writes import (
    LeaseLost as LeaseLost,
)
from feature_store_assets.errors.writes import (
    NameTaken as NameTaken,
)
from feature_store_assets.errors.writes import (
    PartitionsRejected as PartitionsRejected,
)
from feature_store_assets.errors.writes import (
    RestoreRefused as RestoreRefused,
)
from feature_store_assets.errors.writes import (
    SnapshotNeeded as SnapshotNeeded,
)
from feature_store_assets.errors.writes import (
    StageRefused as StageRefused,
)
from feature_store_assets.errors.writes import (
    StillRejected as StillRejected,
)
from feature_store_assets.errors.writes import (
    WriteConflict as WriteConflict,
)
from feature_store_assets.errors.writes import (
    WriteRefused as WriteRefused,
)
from feature_store_assets.errors.writes import (
    WrittenByDagster as WrittenByDagster,
)

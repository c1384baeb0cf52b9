"""`FeatureStore`: the one object that training and serving code hold."""

from feature_store_assets.store.archive import ArchiveVerbs
from feature_store_assets.store.backup import BackupVerbs
from feature_store_assets.store.declarations import DeclarationVerbs
from feature_store_assets.store.lineage import LineageVerbs
from feature_store_assets.store.maintenance import MaintenanceVerbs
from feature_store_assets.store.offline import OfflineVerbs
from feature_store_assets.store.online import OnlineVerbs
from feature_store_assets.store.quality import QualityVerbs
from feature_store_assets.store.snapshots import SnapshotVerbs
from feature_store_assets.store.writes import WriteVerbs


class FeatureStore(
    DeclarationVerbs,
    WriteVerbs,
    OfflineVerbs,
    OnlineVerbs,
    QualityVerbs,
    SnapshotVerbs,
    MaintenanceVerbs,
    LineageVerbs,
    ArchiveVerbs,
    BackupVerbs,
):
    """Declared features: written, joined for training, served.

    Parameters
    ----------
    config
        Where it lives; by default what `FEATURE_STORE_*` variables say.
    actor
        Who acts; by default the user who runs this process.

    Examples
    --------
    >>> with FeatureStore(FeatureStoreConfig(storage_path="/tmp/features")) as store:
    ...     store.groups()
    []
    """

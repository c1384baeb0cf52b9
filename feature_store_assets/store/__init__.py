"""`FeatureStore`: the one object that training and serving code hold."""

from feature_store_assets.store.archive import Archiving
from feature_store_assets.store.backup import Backing
from feature_store_assets.store.declarations import Declaring
from feature_store_assets.store.keeping import Keeping
from feature_store_assets.store.lineage import Tracing
from feature_store_assets.store.offline import Reading
from feature_store_assets.store.online import Online
from feature_store_assets.store.quality import Judging
from feature_store_assets.store.writes import Writing


class FeatureStore(
    Declaring, Writing, Reading, Online, Judging, Keeping, Tracing, Archiving, Backing
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

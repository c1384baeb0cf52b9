"""`FeatureStore`: the one object that training and serving code hold."""

from feature_store_assets.store.archiving import Archiving
from feature_store_assets.store.backing import Backing
from feature_store_assets.store.declaring import Declaring
from feature_store_assets.store.judging import Judging
from feature_store_assets.store.keeping import Keeping
from feature_store_assets.store.online import Online
from feature_store_assets.store.reading import Reading
from feature_store_assets.store.tracing import Tracing
from feature_store_assets.store.writing import Writing


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

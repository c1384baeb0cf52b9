"""`FeatureStore`: the one object that training and serving code hold."""

from feature_store_assets.store.archiving import Archiving
from feature_store_assets.store.backing import Backing
from feature_store_assets.store.writing import Writing


class FeatureStore(Writing, Archiving, Backing):
    """Declared features: written, joined for training, served.

    Parameters
    ----------
    config
        Where it lives; by default what `FEATURE_STORE_*` variables say.

    Examples
    --------
    >>> with FeatureStore(FeatureStoreConfig(storage_path="/tmp/features")) as store:
    ...     store.groups()
    []
    """

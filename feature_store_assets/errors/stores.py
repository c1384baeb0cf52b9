"""Stores that cannot be used here and now."""

from feature_store_assets.errors.base import FeatureStoreError


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


class LocationUnusable(StoreUnavailable):
    """A folder or an object store cannot be read or written."""

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(
            f"'{location}' cannot be used: {reason}. Is it there, and may you read and write it?"
        )


class DagsterUnavailable(StoreUnavailable):
    """There is no Dagster instance, or there are no definitions, to read from."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"There is no Dagster {what} here. {hint}")


class RegistryUnusable(StoreUnavailable):
    """The registry's database cannot be used."""

    def __init__(self, url: str, reason: str, hint: str = "") -> None:
        super().__init__(f"The registry at {url} cannot be used: {reason}. {hint}".rstrip())

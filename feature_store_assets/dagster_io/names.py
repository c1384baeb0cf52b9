"""Names that both sides know: who writes to Dagster, and who reads what was written."""

# The partition of what has none.
ALL = "all"
# Checks of each partition.
QUALITY, DRIFT = "quality", "drift"
# In an asset's metadata: it stands for something in the registry.
RECORDED = "feature_store/recorded"
# In a code location's metadata: the groups and views that it was built from.
DECLARATIONS = "feature_store_declarations"


def snapshot_partitions(group: str) -> str:
    """Return the name of the partitions of `snapshots/<group>`: a snapshot each."""
    return f"snapshots/{group}"

"""Lineage: one graph, read out of Dagster, of what comes from what."""

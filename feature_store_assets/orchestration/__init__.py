"""Feature groups as Dagster assets: partitions, checks, freshness, jobs."""

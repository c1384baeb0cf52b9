"""Maintenance: retention, the sweep of files that nothing needs, compaction."""

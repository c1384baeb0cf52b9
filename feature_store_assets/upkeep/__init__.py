"""Upkeep: retention, compaction, archives and backups."""

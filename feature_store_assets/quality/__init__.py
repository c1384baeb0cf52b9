"""Judging rows: expectations and statistics, from values to values."""

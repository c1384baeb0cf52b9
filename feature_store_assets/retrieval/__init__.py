"""Reads of stored rows: what they mean, what retention removed of it, and when they begin again."""

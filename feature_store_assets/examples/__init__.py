"""Runnable examples: real data, feature groups, a model."""

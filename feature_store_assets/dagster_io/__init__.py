"""What is read from a Dagster instance or code location, and what is reported to an instance."""

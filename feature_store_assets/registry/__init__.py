"""What is applied: declarations by name and version, snapshots' pins. SQLite or PostgreSQL."""

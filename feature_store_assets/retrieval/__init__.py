"""The way out: joins, online reads, what retention removed, and reads that begin again."""

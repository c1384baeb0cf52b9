"""Transfer: archives, backups and restores, the state of a registry as JSON."""

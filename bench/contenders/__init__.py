"""Who is measured: each module answers one job in a process of its own."""

"""What authors declare: frozen values without side effects, compared, hashed and stored as JSON."""

"""What writing, reading, joining, serving and orchestrating cost, beside the raw libraries."""

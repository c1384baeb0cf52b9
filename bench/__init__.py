"""What writing, reading, joining, serving and orchestrating cost, beside the raw libraries."""

import warnings

# Dagster marks single-run backfills and partitioned checks as beta when they are declared.
warnings.simplefilter("ignore")

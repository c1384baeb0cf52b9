"""Training sets: joined rows that never change, with all that it takes to make them again.

A training set is a folder, `training/<name>/`: a Parquet file per part of its split and
`manifest.json`. The manifest names the view, the spine, the pinned table versions, the split, and
digests of the files (`verify`) and of the values in each column (`reproduce`); its own digest is in
the registry. The pinned versions stay readable like those of a snapshot; `as_of=training_set.pin`
reads them.
"""

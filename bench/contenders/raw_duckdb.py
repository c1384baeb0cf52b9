"""DuckDB by hand, on the same files: ASOF JOIN on keys without ties, then their features.

ASOF JOIN leaves ties undefined, so the newest created time of each fact is found first. Rows are
not put back into the spine's order, which the others do.
"""

import duckdb
import pyarrow as pa

from bench.contenders.protocol import Answer, Job, serve


def prepare(job: Job) -> Answer:
    """Load the spine."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("CREATE TABLE spine AS SELECT * FROM read_parquet($1)", [job["spine"]])
    query = _query(job)

    def answer() -> pa.Table:
        found: pa.Table = connection.execute(query).to_arrow_table()
        return found

    return answer


def _query(job: Job) -> str:
    (group,) = job["groups"]
    key, event, created = group["key"], job["timestamp"], job["created"]
    files = [path for path, _ in group["files"]]
    history = f"read_parquet({files}, hive_partitioning = false)"
    features = ", ".join(f"h.{name}" for name in group["features"])
    seconds = job["ttl"]
    found = f"k.{event}"
    if seconds is not None:
        age = f"a.{event} - k.{event}"
        found = f"CASE WHEN {age} <= INTERVAL {seconds} SECONDS THEN k.{event} END"
    return f"""
        WITH keys AS (
            SELECT {key}, {event}, max({created}) AS {created} FROM {history} GROUP BY ALL
        ), winners AS (
            SELECT a.*, {found} AS found, k.{created} AS recorded
            FROM spine a ASOF LEFT JOIN keys k ON a.{key} = k.{key} AND a.{event} >= k.{event}
        )
        SELECT w.* EXCLUDE (found, recorded), {features}
        FROM winners w LEFT JOIN {history} h
        ON w.{key} = h.{key} AND w.found = h.{event} AND w.recorded = h.{created}
    """


def arrow(answer: pa.Table) -> pa.Table:
    return answer


if __name__ == "__main__":
    serve(prepare, arrow)

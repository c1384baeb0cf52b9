"""The whole story on a year of real flights, through Dagster's own runs: `make demo`.

A second run picks up where things stand. `ONLINE=redis` serves from a Redis-protocol server.
"""

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from rich.console import Console

from feature_store_assets.dagster_io.code_location import declarations, load_definitions
from feature_store_assets.examples.flights import valkey
from feature_store_assets.examples.flights.data import read_flights
from feature_store_assets.examples.flights.runs import Runs
from feature_store_assets.examples.flights.training import (
    KEYS,
    LABEL,
    TIMESTAMP,
    Trained,
    score,
    spine,
    train,
)
from feature_store_assets.store import FeatureStore

LEAST_AUC = 0.72
BAD_DAY = "2013-02-12"
SNAPSHOT, TRAINING_SET = "flights-2013", "arrival-delay-2013"
VIEW = "arrival_delay"
# The year is over, and every landing of it known.
# By New York's clock.
OCTOBER = datetime(2013, 10, 1, 4, tzinfo=UTC)
YEAR_END = datetime(2014, 1, 1, 5, tzinfo=UTC)
_HOME = Path(".dagster_home")

console = Console(highlight=False, width=100)


def say(text: str) -> None:
    console.print(text)


def chapter(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


def prepare() -> None:
    """Point Dagster and the store at this project."""
    _HOME.mkdir(exist_ok=True)
    link = _HOME / "dagster.yaml"
    if not link.exists():
        link.symlink_to(Path("..") / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(_HOME.resolve())
    online = os.environ.get("ONLINE", "")
    if online == "redis":
        online = valkey.start(_HOME.resolve() / "valkey")
    if online:
        os.environ["FEATURE_STORE_ONLINE_STORE_URI"] = online


def load(runs: Runs, store: FeatureStore, definitions: dg.Definitions) -> None:
    """Apply the declarations, then backfill the whole year as range runs."""
    chapter("1. Apply the declarations, backfill 2013 through Dagster")
    changes = store.apply(*declarations(definitions))
    new = [change.name for change in changes if change.action != "unchanged"]
    say(f"  {len(changes)} declarations, {len(new)} of them new or changed.")
    groups = [group for group in store.groups() if group.partitions is not None]
    hourly = [group.name for group in groups if "weather" in group.upstream]
    daily = [group.name for group in groups if "flights" in group.upstream]
    runs.fill("planes: register", ["planes", "plane", "online/plane"])
    runs.fill("weather: hourly", ["weather"])
    runs.fill("flights: daily", ["flights"])
    for name in (*hourly, *daily):
        runs.fill(f"{name}: computed, checked, published", [name, f"online/{name}"])


def stop_a_bad_day(runs: Runs, store: FeatureStore) -> None:
    """Let a real, impossible reading arrive: 1,048 mph of wind at EWR on 12 February."""
    chapter("2. A bad day arrives, and is stopped")
    span = (BAD_DAY, BAD_DAY)
    recorded = {"ops": {"weather": {"config": {"as_recorded": True}}}}
    before = windiest(store)
    runs.run(f"weather of {BAD_DAY} as first recorded", ["weather"], span, config=recorded)
    passed = runs.run(
        "airport_weather, checked", ["airport_weather", "online/airport_weather"], span
    )
    if passed:
        sys.exit("The gate let 1,048 mph of wind pass.")
    folder = store.config.root / "quarantine" / "airport_weather"
    quarantined = sorted(folder.rglob("*.parquet"), key=lambda path: path.stat().st_mtime)
    reasons = pl.read_parquet(quarantined[-1])["reasons"].explode().drop_nulls().unique().to_list()
    say(f"  [red]red[/red]: {reasons[0]}")
    say(f"  quarantined: {quarantined[-1].relative_to(store.config.root)}")
    say(f"  strongest wind still served for that day: {windiest(store):.1f} mph")
    if windiest(store) != before:
        sys.exit("A rejected partition changed what is served.")
    runs.run("the corrected record, published", ["weather"], span)
    runs.run("airport_weather again", ["airport_weather", "online/airport_weather"], span)


def windiest(store: FeatureStore) -> float:
    """The strongest wind at EWR on the bad day, as the store tells it."""
    day = store.read_features("airport_weather", ["wind_speed"], partitions=[BAD_DAY]).to_polars()
    strongest: Any = day.filter(pl.col("origin") == "EWR")["wind_speed"].max()
    return float(strongest)


def compare_stores(store: FeatureStore) -> None:
    """Every entity of every online group answers online what it answers offline."""
    chapter("3. Online equals offline")
    for group in store.groups():
        keys = list(group.entity.join_keys)
        rows = store.table(group).newest(version=store.table(group).version(), until=YEAR_END)
        entities = pl.DataFrame(rows).select(keys)
        asked = entities.with_columns(event_timestamp=pl.lit(YEAR_END))
        offline = store.get_historical_features(group.name, asked).to_polars()
        online = store.get_online_features(group.name, entities.to_dicts(), at=YEAR_END)
        if offline.drop(*keys, "event_timestamp").to_dicts() != online:
            sys.exit(f"Online and offline differ for {group.name}.")
        say(f"  {group.name:<22} {entities.height:>6,} entities equal")


def teach(store: FeatureStore) -> Trained:
    """Join features to a year of flights as they were known, and train on them."""
    chapter("4. Point-in-time training set, model")
    started = time.perf_counter()
    if TRAINING_SET not in store.training_sets():
        store.create_training_set(
            VIEW,
            spine(read_flights()),
            TRAINING_SET,
            split={"train": OCTOBER, "test": None},
            label=LABEL,
            timestamp=TIMESTAMP,
            as_of=SNAPSHOT,
        )
    flights = store.training_set(TRAINING_SET)
    flights.verify()
    seconds = time.perf_counter() - started
    say(
        f"  {TRAINING_SET}: {len(flights):,} flights x {len(flights.features)} features as known "
        f"at departure, kept with their digest {flights.digest[:12]}, {seconds:.1f} s"
    )
    trained = train(flights.to_polars("train"), flights.to_polars("test"))
    say(f"  trained on January to September ({trained.rows:,} flights)")
    say(f"  judged on October to December ({trained.test_rows:,} flights):")
    say(f"    AUC {trained.auc:.3f} with the store")
    say(f"    AUC {trained.schedule_auc:.3f} by the timetable alone")
    if trained.auc < LEAST_AUC:
        sys.exit(f"The model ranks worse than {LEAST_AUC}: the features are broken.")
    return trained


def predict(store: FeatureStore, trained: Trained) -> None:
    """Score the flights of New Year's Eve that leave after the year's last partition."""
    chapter("5. Online prediction")
    leaving = spine(read_flights(start=datetime(2014, 1, 1, tzinfo=UTC))).head(5)
    rows = []
    for flight in leaving.to_dicts():
        entity = {key: flight[key] for key in (*KEYS, TIMESTAMP)}
        started = time.perf_counter()
        (features,) = store.get_online_features(VIEW, [entity], at=flight[TIMESTAMP])
        rows.append({**flight, **features, "ms": 1000 * (time.perf_counter() - started)})
    frame = pl.DataFrame(rows, infer_schema_length=None)
    for row, chance in zip(rows, score(trained, frame), strict=True):
        say(
            f"  {row[TIMESTAMP]:%d %b %H:%M} UTC  {row['carrier']} {row['origin']}-{row['dest']}  "
            f"late with {chance:.0%}  (was {'late' if row['late'] else 'on time'}; "
            f"{row['ms']:.2f} ms online)"
        )


def main() -> None:
    """Tell the story."""
    prepare()
    defs = load_definitions()
    started = time.perf_counter()
    with dg.DagsterInstance.get() as instance, FeatureStore.from_env() as store:
        say(f"Dagster home {_HOME}, store {store.config.storage_path}")
        runs = Runs(defs, instance)
        load(runs, store, defs)
        stop_a_bad_day(runs, store)
        compare_stores(store)
        chapter("   Snapshot and retention, as jobs")
        if SNAPSHOT not in {each.name for each in store.list_snapshots()}:
            asked = {"features": [VIEW], "name": SNAPSHOT}
            runs.job("snapshot_job", "snapshot_job", {"ops": {"snapshot": {"config": asked}}})
        runs.job("retention_job, a dry run", "retention_job", {})
        predict(store, teach(store))
    took = timedelta(seconds=int(time.perf_counter() - started))
    chapter(f"Done in {took}. Now `make ui`: the same runs, checks, plots and lineage.")


if __name__ == "__main__":
    main()

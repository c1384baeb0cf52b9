"""The code location that Dagster loads here: the flights example."""

from feature_store_assets.examples.flights.features import GROUPS, arrival_delay
from feature_store_assets.examples.flights.sources import flights, planes, weather
from feature_store_assets.orchestration.definitions import build_definitions

defs = build_definitions(GROUPS, views=[arrival_delay], assets=[flights, weather, planes])

# Each target makes its own environment from nothing but Python 3.11+, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
HOME_DIR := .dagster_home
# Each process takes half of the tests in order, so that what a module shares is made once.
TOGETHER := -n 2 --dist worksteal
# Tests start many processes, each of which would compile all of the code again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo ui test test-all test-long oracle check bench bench-serving bench-join screenshots lock clean

demo: $(READY)  ## The whole story on a year of real flights (ONLINE=redis serves from Valkey)
	$(BIN)/python -m feature_store_assets.examples.flights.demo

ui: $(READY)  ## The Dagster UI on the same state, at http://127.0.0.1:3000
	$(BIN)/python -m feature_store_assets.examples.flights.ui

test: $(READY)  ## The tests, in three to four minutes on two idle cores
	$(BIN)/python -m pytest $(TOGETHER) --ignore=feature_store_assets_tests/browser -m "not slow"

test-all: $(READY)  ## Every test: kills, clusters, load, all random examples, the browser
	EXAMPLES=1 CASES=100 KILLS=4 DAGSTER_KILLS=2 FSA_INTERLEAVINGS=100 LOAD_SECONDS=10 \
		$(BIN)/python -m pytest $(TOGETHER)

test-long: $(READY)  ## The same by hand: 30 kills, 1,000 interleavings, a minute of load; hours
	EXAMPLES=$(or $(EXAMPLES),5) CASES=$(or $(CASES),1000) KILLS=$(or $(KILLS),30) \
		DAGSTER_KILLS=$(or $(DAGSTER_KILLS),10) LOAD_SECONDS=$(or $(LOAD_SECONDS),60) \
		FSA_INTERLEAVINGS=$(or $(FSA_INTERLEAVINGS),1000) \
		$(BIN)/python -m pytest $(TOGETHER) --timeout=3600

oracle: $(READY)  ## Random point-in-time joins against brute force: make oracle CASES=10000
	CASES=$(or $(CASES),1000) $(BIN)/python -m pytest --timeout=3600 -k oracle feature_store_assets_tests/offline

check: $(READY)  ## Lint, types, floors, formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## What writing, reading, joining and serving cost, beside the raw libraries
	$(BIN)/python -m bench

bench-serving: $(READY)  ## Online reads in process and over HTTP beside Feast; needs wrk; half an hour
	$(BIN)/python -m bench.online
	$(BIN)/python -m bench.http

bench-join: $(READY)  ## The point-in-time join beside Polars, DuckDB and Feast; about half an hour
	$(BIN)/python -m bench.point_in_time

screenshots: $(READY)  ## Pictures of the UI for the documentation; needs chromium and chromium-driver
	PICTURES=docs/images $(BIN)/python -m pytest -m browser

lock: $(READY)  ## Pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade -o requirements.lock

clean:  ## Remove the environment, the demo's state and caches
	rm -rf $(VENV) $(HOME_DIR) data .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation -e .
	@touch $(READY)

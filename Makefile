# One verb per habit. Every verb makes its own environment (.venv) first; all it needs is Python 3.11 or newer.
PYTHONS := python3 python3.13 python3.12 python3.11 python3.14 python
PYTEST_ARGS ?=
JOBS ?= 3
BENCH_ARGS ?=
KEEP ?=
export PYTHONUNBUFFERED := 1

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif

.PHONY: help env demo demo-guard test test-newest lint types ui bench clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' $(MAKEFILE_LIST) | awk '{ verb = $$1; sub(/^[a-z-]+ +/, ""); printf "  make %-11s %s\n", verb, $$0 }'

env:  ## make or update .venv
	@for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    exec "$$python" deployments/bootstrap.py; \
	  fi; \
	done; \
	echo "channelscribe needs Python 3.11 or newer (on Debian: apt-get install python3 python3-venv)." >&2; exit 2

demo: env  ## the main job on a shipped channel; KEEP=1 leaves the UI up
	@$(BIN)/channelscribe demo $(if $(KEEP),--keep)

demo-guard: env  ## the same on a simulated card that gets too hot, pauses and goes on
	@$(BIN)/channelscribe demo --guard $(if $(KEEP),--keep)

test: env  ## all tests, in JOBS=3 processes; PYTEST_ARGS="-k store" picks some
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

test-newest: env  ## the media tests on the newest Python here (3.12 or newer), where pip takes other releases
	@$(BIN)/python -m tests.newest $(PYTEST_ARGS)

lint: env  ## style and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: env  ## strict type check
	@$(BIN)/mypy

ui: env  ## Prefect server, worker and UI on this machine
	@$(BIN)/channelscribe up

bench: env  ## throughput beside plain transformers; BENCH_ARGS=--json for machines
	@$(BIN)/python -m benchmarks.throughput $(BENCH_ARGS)

clean:  ## remove the environment, caches and demo data
	@rm -rf .venv .venv-newest .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-data demo-guard-data *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

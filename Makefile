# One command per act. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTHON ?= python3
# Tests wait for servers more than they compute. Files go in order: the few tests that take longest come
# first, not last, where one process would work alone.
WORKERS ?= 3
# Without MySQL the tests go on, and say so at their end; with DSP_REQUIRE_MYSQL=1 its tests fail.

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 8

.PHONY: venv
venv: .venv/.ready ## create .venv from the lock, with the project installed in it

.venv/.ready: requirements.lock pyproject.toml scripts/venv
	PYTHON="$(PYTHON)" scripts/venv

.PHONY: ui
ui: ## build the pages (needs Node.js 20.19 or later, with npm)
	scripts/ui build

.PHONY: demo
demo: venv ## run the example task through Airflow on real data (KEEP=1 leaves it running)
	scripts/ui build || echo "The demonstration goes on without the pages." >&2
	$(BIN)/dsp demo $(if $(filter 1,$(KEEP)),--keep)

.PHONY: screenshots
screenshots: venv ## take the pictures in docs/images anew, from a demonstration
	PYTHON="$(PYTHON)" scripts/system-packages test
	scripts/ui build
	$(BIN)/python scripts/screenshots.py

.PHONY: test
test: venv ## run all tests against real servers
	PYTHON="$(PYTHON)" scripts/system-packages test
	scripts/mysql-server || true
	scripts/ui build || echo "The tests of the pages will fail: they are not built." >&2
	folder=$$(scripts/test-folder); trap 'rm -rf "$$folder"' EXIT; chmod 755 "$$folder"; \
	TMPDIR="$$folder" $(BIN)/pytest tests --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: lint
lint: venv ## format, lint, types, import arrows, schema; of the pages, too
	scripts/ui lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m dsp_airflow.config.schema --check
	$(BIN)/python -m dsp_airflow.config.reference --check

.PHONY: bench
bench: venv .venv-bench/.ready ## measure copy, check and purge beside other tools (ROWS=, ARGS=)
	PYTHON="$(PYTHON)" scripts/system-packages bench || true
	$(BIN)/python -m bench $(if $(ROWS),--rows $(ROWS)) $(ARGS)

.venv-bench/.ready: requirements-bench.lock scripts/venv-bench | venv
	scripts/venv-bench

.PHONY: soak
soak: venv ## random and long tests in full: kills, cuts, large rows
	PYTHON="$(PYTHON)" scripts/system-packages test
	scripts/mysql-server || true
	DSP_SOAK=full $(BIN)/pytest tests -m "soak or share" --timeout 3600

.PHONY: lock
lock: ## resolve the dependencies anew into requirements.lock
	scripts/lock

.PHONY: schema
schema: venv ## generate the JSON Schema and the reference of the task files
	$(BIN)/python -m dsp_airflow.config.schema
	$(BIN)/python -m dsp_airflow.config.reference --write

.PHONY: clean
clean: ## remove the virtual environment and all caches
	rm -rf dsp_airflow/web/static dsp_airflow/web/ui/node_modules
	rm -rf .venv .venv-bench .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

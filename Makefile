# `make` lists the targets. Nothing has to be installed first but Python >= 3.11 with pip: everything lives in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
INSTALL := $(PIP) install --quiet -c constraints.txt
INPUTS := pyproject.toml constraints.txt
NPM := $(BIN)/python dashboard/npm.py
MODULES := dashboard/node_modules/.package-lock.json
DASHBOARD := durable_tasks/dashboard
PAGE := $(DASHBOARD)/index.html

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help up dashboard test tests faults acceptance check bench openapi format clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/.runtime  ## Start everything with a demo: embedded Temporal, worker, example tasks; Ctrl-C stops it
	@$(MAKE) --no-print-directory $(PAGE) || echo "the dashboard could not be built; everything else runs" >&2
	$(BIN)/durable-tasks up --demo

dashboard: $(PAGE)  ## Build the dashboard, if its source has changed

test: $(VENV)/.dev $(PAGE)  ## Run the tests (ARGS="-k name" narrows them)
	$(NPM) test --silent
	@# Faults beside the rest: they mostly wait for real processes. What each prints comes when it has ended.
	@$(MAKE) --no-print-directory --jobs 2 --output-sync --keep-going tests faults

# Code 5: ARGS left nothing to run here.
tests:
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/faults $(ARGS) || [ $$? -eq 5 ]

faults:
	$(BIN)/python -m pytest tests/faults $(ARGS) || [ $$? -eq 5 ]

acceptance: $(VENV)/.dev  ## Run the promised counts and durations, minutes long (OUT=DIR keeps their evidence)
	$(if $(OUT),TASKS_ACCEPTANCE_OUT="$(abspath $(OUT))") $(BIN)/python -m pytest -m acceptance --timeout 1800 $(ARGS)

check: $(VENV)/.dev $(MODULES)  ## Check format, lint, types and the direction of imports
	@failed=0; \
	for tool in "ruff format --check ." "ruff check ." mypy "lint-imports --no-logo"; do \
	  echo "$$tool"; $(BIN)/$$tool || failed=1; \
	done; \
	echo "npm run check"; $(NPM) run --silent check || failed=1; \
	exit $$failed

bench: $(VENV)/.dev  ## Measure against raw SQLite and bare Temporal (ARGS go to the benchmarks)
	$(BIN)/python -m benchmarks $(ARGS)

openapi: $(VENV)/.dev  ## Write docs/reference/openapi.json anew
	$(BIN)/python -m durable_tasks.web.openapi > docs/reference/openapi.json

format: $(VENV)/.dev $(MODULES)  ## Format the code and apply the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(NPM) run --silent format

clean:  ## Remove the environment, caches and build results
	rm -rf $(DASHBOARD) dashboard/node_modules dashboard/dist dashboard/src/generated
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian without python3-venv has no ensurepip: there the pip that came with the system installs one into the empty venv.
# The pip of Python 3.11 is too old for dependency groups.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV) && \
	  $(PYTHON) -m venv --without-pip $(VENV) && \
	  $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; } || { rm -rf $(VENV); exit 1; }
	$(PIP) install --quiet --upgrade "pip>=25.1" || { rm -rf $(VENV); exit 1; }

# setuptools warns about folders that could shadow an editable package, whatever the layout: not worth a screen of text.
$(VENV)/.runtime $(VENV)/.dev: export PYTHONWARNINGS := ignore

$(VENV)/.runtime: $(INPUTS) | $(BIN)/python
	$(INSTALL) --editable ".[all]"
	@touch $@

$(VENV)/.dev: $(INPUTS) | $(BIN)/python
	$(INSTALL) --editable ".[all]" --group dev
	@touch $(VENV)/.runtime $@

# Node.js from the PATH, or else from PyPI.
$(MODULES): dashboard/package.json dashboard/package-lock.json | $(BIN)/python
	@$(NPM) --version >/dev/null 2>&1 || $(INSTALL) --group node
	$(NPM) ci --loglevel error --no-progress
	@touch $@

# All of its source, and what the API says of itself: the types are made of that.
$(PAGE): $(MODULES) docs/reference/openapi.json \
    $(shell find dashboard -path '*/node_modules' -prune -o -path '*/generated' -prune -o -type f ! -name '*.py*' -print)
	$(NPM) run --silent build -- --out $(abspath $(DASHBOARD))
	@touch $@

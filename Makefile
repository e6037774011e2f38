# `make` lists the targets. Nothing has to be installed first but Python >= 3.11 with pip: everything lives in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
INSTALL := $(PIP) install --quiet -c constraints.txt
INPUTS := pyproject.toml constraints.txt

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help up test acceptance check bench openapi format clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/.runtime  ## Start everything with a demo: embedded Temporal, worker, example tasks; Ctrl-C stops it
	$(BIN)/durable-tasks up --demo

test: $(VENV)/.dev  ## Run the tests (ARGS="-k name" narrows them)
	@# Faults by themselves: they race real processes against the clock. Code 5: ARGS left nothing to run here.
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/faults $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest tests/faults $(ARGS) || [ $$? -eq 5 ]

acceptance: $(VENV)/.dev  ## Run the promised counts and durations, minutes long (OUT=DIR keeps their evidence)
	$(if $(OUT),TASKS_ACCEPTANCE_OUT="$(abspath $(OUT))") $(BIN)/python -m pytest -m acceptance --timeout 1800 $(ARGS)

check: $(VENV)/.dev  ## Check format, lint, types and the direction of imports
	@failed=0; \
	for tool in "ruff format --check ." "ruff check ." mypy "lint-imports --no-logo"; do \
	  echo "$$tool"; $(BIN)/$$tool || failed=1; \
	done; \
	exit $$failed

bench: $(VENV)/.dev  ## Measure against raw SQLite and bare Temporal (ARGS go to the benchmarks)
	$(BIN)/python -m benchmarks $(ARGS)

openapi: $(VENV)/.dev  ## Write docs/reference/openapi.json anew
	$(BIN)/python -m durable_tasks.web.openapi > docs/reference/openapi.json

format: $(VENV)/.dev  ## Format the code and apply the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment, caches and build results
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

# Every command of the project. Needs python3 (3.11 or newer, with venv) and make, nothing else.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

PYTHON ?= python3
MONTH ?= 2026-10
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
SYNCED := $(VENV)/.synced
# A uv that is already there is used; otherwise one is installed into the environment.
UV := $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)
ensure_uv = test -x "$(UV)" || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
# One process more than there are cores: tests wait for browsers, servers and kernels a third of their time.
MORE_WORKERS = $$($(BIN)/python -c 'import os; print(len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else os.cpu_count())')
BENCHMARKS = $(if $(ONLY),benchmarks/$(ONLY).py,$(filter-out benchmarks/_%,$(sort $(wildcard benchmarks/*.py))))

.PHONY: help setup review test fuzz lab lint docs bench lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(SYNCED) ## make .venv and install the locked packages (a second time costs nothing)

review: $(SYNCED) ## run the monthly review of the sample lab (MONTH=2026-10, ARGS="--lab DIR ...")
	$(BIN)/finops-lab review $(if $(findstring --since,$(ARGS)),,--month $(MONTH)) $(ARGS)

# Where bytecode is never kept, every kernel and command that a test starts compiles its libraries anew.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(SYNCED) ## run all tests: unit, doctests, notebooks, browser (ARGS="-k name" to choose, WORKERS=0 for one process)
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=120 \
		-n $(or $(WORKERS),$(MORE_WORKERS)) --dist loadfile $(ARGS)

fuzz: $(SYNCED) ## read FINOPS_FUZZ=500 spoiled files per reader, other ones each time (ARGS="-k name")
	FINOPS_FUZZ=$(or $(FINOPS_FUZZ),500) $(BIN)/python -m pytest -p no:nbval -q tests/test_fuzz_readers.py $(ARGS)

lab: $(SYNCED) ## open JupyterLab on notebooks/
	$(BIN)/jupyter lab --ServerApp.root_dir=notebooks $(ARGS)

lint: $(SYNCED) ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(SYNCED) ## write docs/tables and docs/formats.md again from the code
	$(BIN)/python -m finops_lab.contracts.pages docs/tables
	$(BIN)/python -m finops_lab.ingestion.formats_page docs/formats.md tests/formats

bench: $(SYNCED) ## run benchmarks (ONLY=name for one, JSON=out.json to write the figures)
	@set -e; out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; \
	for script in $(BENCHMARKS); do \
		echo "== $$script"; \
		$(BIN)/python "$$script" --json "$$out/$$(basename "$$script" .py).json"; \
	done; \
	if [ -n "$(JSON)" ]; then \
		$(BIN)/python -c 'import json, pathlib, sys; found = sorted(pathlib.Path(sys.argv[1]).glob("*.json")); \
	pathlib.Path(sys.argv[2]).write_text(json.dumps([row for file in found for row in json.loads(file.read_text())], indent=1) + "\n")' \
		"$$out" "$(JSON)"; \
	fi

lock: $(BIN)/python ## resolve the dependencies again and write requirements.lock
	@$(ensure_uv)
	$(UV) lock --python $(BIN)/python
	$(UV) export --quiet --all-groups --no-emit-project --no-annotate --no-header --output-file requirements.lock

clean: ## remove caches, builds and the sample lab's lake; reports and .venv stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis data/samples/lake data/samples/quarantine
	find finops_lab tests benchmarks notebooks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
	find notebooks -name .ipynb_checkpoints -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "finops-lab needs Python 3.11 or newer, not %d.%d" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

# hatchling comes from the lock too, so nothing is installed that the lock does not name by hash.
$(SYNCED): requirements.lock pyproject.toml | $(BIN)/python
	@$(ensure_uv)
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

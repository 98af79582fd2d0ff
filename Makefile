# Needs Debian with python3 (3.11 or newer), its venv, and make; everything else comes from the lock file.
PYTHON ?= python3
PY := .venv/bin/python
STAMP := .venv/ready
PYTEST := $(PY) -m pytest
# A file of tests stays in one process, and so do the servers that it starts.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile
ARGS ?=
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast test-deep bench clauses generate lint lock clean

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(STAMP) ## Start NATS, Postgres and the four services on http://127.0.0.1:8080; ctrl-C stops them
	@exec $(PY) -m infra.cli up $(ARGS)

setup: $(STAMP) ## Make .venv with the pinned dependencies (the other verbs do it when needed)

test: $(STAMP) ## All tests but the long ones, under five minutes
	$(PYTEST) $(PARALLEL) $(ARGS)

test-fast: $(STAMP) ## Unit, property and architecture tests, under 20 seconds
	$(PYTEST) -m "not slow and not deep" tests/unit tests/property tests/architecture $(ARGS)

test-deep: $(STAMP) ## Everything at length
	CASEFLOW_DEEP=1 $(PYTEST) $(PARALLEL) -m "" --timeout=3600 $(ARGS)

bench: $(STAMP) ## Measure, each figure beside the limit measured in the same run
	$(PY) -m tests.bench $(ARGS)

clauses: $(STAMP) ## Write the page clause -> tests -> result
	$(PY) -m infra.dev.clauses $(ARGS)

generate: $(STAMP) ## Write shared/contract from the catalogue
	$(PY) -m infra.dev.generate $(ARGS)

lint: $(STAMP) ## ruff, mypy, import-linter and the house rules
	$(PY) -m ruff check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) -m infra.dev.house_rules

lock: $(STAMP) ## Pin requirements.in and requirements-dev.in anew into requirements.lock
	$(PY) -m venv build/lock && build/lock/bin/python -m pip install --quiet pip-tools
	build/lock/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --output-file requirements.lock \
	  requirements.in requirements-dev.in

clean: ## Remove .venv and caches; the data folder stays
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(STAMP): requirements.lock infra/setup.sh
	@PYTHON="$(PYTHON)" sh infra/setup.sh

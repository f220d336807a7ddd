PYTHON ?= python3
PYTHONS ?= python3.11 python3.12 python3.13
AIRFLOWS ?= 3.1 3.2
PORT ?= 8080
PIPELINE ?= airports
SCENARIO ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
STATE := .orchestration

unexport PYTHONDONTWRITEBYTECODE  # compiled bytecode halves every start of Airflow
.DEFAULT_GOAL := help

##@ Try it
.PHONY: run up down status airflow
run: $(READY)  ## Start the stack and play a scenario (PIPELINE=airports, SCENARIO=degraded, PORT=8080)
	@$(BIN)/python -m demo run --pipeline $(PIPELINE) $(if $(SCENARIO),--scenario $(SCENARIO)) --port $(PORT)

up: $(READY)  ## Start PostgreSQL and Airflow (PORT=8080)
	@$(BIN)/python -m demo up --port $(PORT)

down:  ## Stop them; the data stays
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m demo down; fi

status:  ## Show what runs, the address and the password
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m demo status || true; else echo "The stack is down."; fi

airflow: $(READY)  ## Run an airflow command against the stack (ARGS="orchestration replay")
	@$(BIN)/python -m demo airflow $(ARGS)

##@ Work on it
.PHONY: setup test check mutants audit fuzz torture format schemas docs bench constraints versions clean help
setup: $(READY)  ## Create .venv with everything that is needed (PYTHON=python3)

test: $(READY)  ## Run all tests: those of the real stack in one process, the others beside it
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

check: $(READY)  ## Format, lint, types, layers, tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

mutants: $(READY)  ## Break the code on purpose, in a copy, one way at a time: the tests must notice
	@$(BIN)/python -m tests.mutants

audit:  ## Look every pinned package up among known vulnerabilities (asks PyPI; SERVICE=osv asks osv.dev)
	@$(PYTHON) -m venv $(STATE)/audit
	@$(STATE)/audit/bin/python -m pip install -qq --disable-pip-version-check pip-audit
	@$(STATE)/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off \
	  --vulnerability-service $(or $(SERVICE),pypi) --requirement constraints.txt

fuzz: $(READY)  ## Give the product inputs that nobody meant: each is taken whole or refused in words (ARGS="csv --inputs 10000")
	@$(BIN)/python -m tests.fuzz $(ARGS)

torture: $(READY)  ## Let everything fail that can: rows in must be published + superseded + quarantined (ARGS="path --runs 2000")
	@$(BIN)/python -m tests.torture $(or $(ARGS),path)

format: $(READY)  ## Format the code, and repair what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

schemas: $(READY)  ## Write the JSON schemas to docs/schemas
	@$(BIN)/python -m airflow_orchestration.cli.schemas docs/schemas

docs: $(READY)  ## Build the documentation as a site (into .orchestration/docs)
	@$(BIN)/python -m docs.site_pages.policies
	@$(BIN)/sphinx-build -E -W --keep-going -n -q -d $(STATE)/docs/read docs $(STATE)/docs/site
	@echo "The site is $(STATE)/docs/site/index.html"

versions:  ## Test with other versions of Python (PYTHONS=...), and what Airflows are told that are too old (AIRFLOWS=...)
	@.ci/versions $(PYTHONS) -- $(AIRFLOWS)

bench: $(READY)  ## Measure
	@$(BIN)/python -m benchmarks

constraints:  ## Renew constraints.txt (needs PYTHONS, one of each supported version)
	@.ci/constraints $(PYTHONS)

clean:  ## Remove all that was generated: .venv, the stack's data, caches
	@if [ -x $(BIN)/python ] && [ -d $(STATE) ]; then \
	  $(BIN)/python -m demo status >/dev/null 2>&1; \
	  if [ $$? -ne 3 ]; then echo "The stack is up. Stop it first: make down" >&2; exit 1; fi; \
	fi
	@rm -rf $(VENV) $(STATE) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@awk 'BEGIN { FS = ":.*?## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z]+:.*?## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Preparing $(VENV); this happens once and takes a minute or two"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q -j0 $(VENV)/lib >/dev/null 2>&1 || true  # some packages ship templates
	@touch $@

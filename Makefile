# The two commands are `make demo` and `make test`; `make` alone lists the rest.
#
# PYTHON=python3.12 make …  picks the interpreter (3.11 to 3.13: TensorFlow has no wheels for others yet).
# ARGS='…' is handed on to what a target runs, as in  make test-unit ARGS='-k ledger'.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
# Most tests wait more than they compute. Each process has a Kafka and a Redis of its own.
SIDE_BY_SIDE := -n 2 --dist loadfile

# What pytest runs, quick things first.
QUICK := $(wildcard tests/unit tests/property tests/contract tests/packaging)
INTEGRATION := $(wildcard tests/integration)
FAULTS := $(wildcard tests/faults)
# Where the soak records its trials, for itself and for docs/reliability.md.
TRIALS := docs/trials.jsonl
# Where the benchmarks leave what they found, for docs/performance.md.
STUDIES := build/bench

.DEFAULT_GOAL := help
.PHONY: help demo install test test-unit test-integration test-faults lint format soak reliability bench bench-peers report guard docs clean
.PHONY: distclean need-python need-java

help: ## list the targets
	@echo 'make TARGET, where TARGET is'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.demo-installed ## install, then run handwritten digits through a whole fleet and show what came of them
	@$(BIN)/penstock demo $(ARGS)

install: $(VENV)/.installed ## make the virtual environment in .venv, with everything that tests and docs need
	@echo 'ready: . $(BIN)/activate'

test: need-java $(VENV)/.installed lint ## lint, types and every test, against real Kafka and real Redis
	$(BIN)/pytest $(SIDE_BY_SIDE) $(QUICK) $(INTEGRATION) $(FAULTS) $(ARGS)

test-unit: $(VENV)/.installed ## only the tests that need no service
	$(BIN)/pytest $(QUICK) $(ARGS)

test-integration: need-java $(VENV)/.installed ## only the tests against real services
	$(BIN)/pytest $(INTEGRATION) $(ARGS)

test-faults: need-java $(VENV)/.installed ## only the tests that kill, hang and starve things
	$(BIN)/pytest $(FAULTS) $(ARGS)

lint: $(VENV)/.installed ## ruff, mypy --strict, pyright strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: need-java $(VENV)/.installed ## every fault until it has 60 clean trials: hours, and resumable; FAULTS_TRIALS=N for fewer
	SOAK=1 $(BIN)/pytest tests/integration -m soak $(ARGS)
	$(BIN)/python -m tests.faults.soak $(TRIALS)

reliability: $(VENV)/.installed ## write what the soak has recorded into docs/reliability.md
	$(BIN)/python -m tests.faults.table $(TRIALS)

bench: need-java $(VENV)/.installed ## bare TensorFlow, a bare Kafka echo and the fleet on the same records
	$(BIN)/python -m benchmarks.rounds $(ARGS)

bench-peers: need-java $(VENV)/.installed ## the same, what users would run in the fleet's place, every study; docs/performance.md
	$(BIN)/python -m benchmarks.rounds --works mlp cnn --subjects all --json $(STUDIES)/rounds-peers.json
	$(BIN)/python -m benchmarks.rounds --works json mobilenet --subjects tensorflow echo fleet loop mosec --json $(STUDIES)/rounds-works.json
	$(BIN)/python -m benchmarks.quiet --subjects all --json $(STUDIES)/quiet.json
	for study in failing scaling overload memory; do $(BIN)/python -m benchmarks.$$study --json $(STUDIES)/$$study.json || exit 1; done
	$(MAKE) report

report: $(VENV)/.installed ## write what the studies found into docs/performance.md
	$(BIN)/python -m benchmarks.report $(STUDIES)

guard: need-java $(VENV)/.installed ## the fleet beside a bare echo in a minute, and beside what it was before: warns, never fails
	$(BIN)/python -m benchmarks.guard $(ARGS)

docs: $(VENV)/.installed ## write what is generated from the code: docs/configuration.md and docs/schemas/
	$(BIN)/penstock config --markdown > docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md
	$(BIN)/python -m penstock_schemas.documents docs/schemas

clean: ## remove caches and built files, keep the environment
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov docs/*.new
	find schemas producers workers tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## the same, and the environment
	rm -rf $(VENV)

# The stamps are as old as the last installation that succeeded, so only a changed pyproject.toml installs again.
$(VENV)/.installed: pyproject.toml | need-python
	$(call make_venv)
	$(PIP) install --quiet --editable '.[worker,local,bench,dev]'
	@touch $(VENV)/.demo-installed $@

$(VENV)/.demo-installed: pyproject.toml | need-python
	$(call make_venv)
	$(PIP) install --quiet --editable '.[worker,local]'
	@touch $@

# An environment whose interpreter is gone (a moved folder, an upgraded system) is made again.
define make_venv
	@$(BIN)/python -c '' 2>/dev/null || { \
		echo 'making the virtual environment in $(VENV) with $(PYTHON)'; rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	@echo 'installing into $(VENV); the first time this fetches TensorFlow and takes a few minutes'
endef

need-python:
	@test -x $(BIN)/python || { \
	test -n '$(PYTHON)' || { echo 'Python 3.11, 3.12 or 3.13 is needed and none is on the PATH. Install one:'; \
		echo '  Debian, Ubuntu: sudo apt-get install python3 python3-venv'; \
		echo '  macOS:          brew install python@3.12'; exit 1; }; \
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "PYTHON=$(PYTHON) is none of Python 3.11, 3.12 and 3.13: name another, as in  PYTHON=python3.12 make"; exit 1; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) lacks its venv module, which makes the virtual environment. Install it:'; \
		echo '  Debian, Ubuntu: sudo apt-get install python3-venv'; exit 1; }; }

need-java:
	@version=$$(java -version 2>&1 | sed -n 's/.*version "\([^"]*\)".*/\1/p' | head -n 1); missing=0; \
	major=$${version%%[!0-9]*}; if [ "$${major:-0}" -lt 17 ]; then missing=1; \
		echo "The tests run against real Apache Kafka, which needs Java 17 or newer; found: $${version:-none}."; fi; \
	if ! command -v mvn >/dev/null; then missing=1; echo 'Kafka is fetched by Maven, and mvn is not on the PATH.'; fi; \
	if [ $$missing = 1 ]; then echo 'Install what is missing:'; \
		echo '  Debian, Ubuntu: sudo apt-get install default-jre-headless maven'; \
		echo '  macOS:          brew install openjdk@17 maven'; \
		echo '`make demo` and `make test-unit` work without them.'; exit 1; fi

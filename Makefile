# Needs Python 3.11 or newer with its venv module, and nothing else: `make run` and `make test` install what they use
# into .venv, once. A stamp file that is newer than pyproject.toml means that there is nothing to install.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# What `make run` hands to `penia demo`, e.g. make run DEMO="--rate 10".
DEMO ?=
# How long `make soak` runs.
MINUTES ?= 60
# What `make replay` reads: recorded exchanges, as JSON Lines, plain or gzipped. Ours, and a larger corpus where one lies
# beside the checkout.
FILE ?= $(wildcard tests/replay/*.jsonl ../shared/corpus/dev.jsonl.gz ../shared/corpus/dev_realtime.jsonl.gz)

.DEFAULT_GOAL := help
.PHONY: help run test check browser unit faults bench bench-peers crowd live overshoot soak replay focus screenshots format clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.run-stamp ## Start the demo on port 8113: gateway, sandbox provider, traffic; no key, no network
	$(BIN)/penia demo $(DEMO)

test: check browser ## Check, then run every test, two files at a time
	$(BIN)/pytest -n 2 --dist loadfile

check: $(VENV)/.dev-stamp ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

browser: $(VENV)/.dev-stamp ## Find a Chromium for the tests in a browser, or install one
	$(BIN)/python tests/web/chromium.py

unit: $(VENV)/.dev-stamp ## Run the unit tests only
	$(BIN)/pytest tests/unit

faults: $(VENV)/.dev-stamp ## Try every fault of docs/reliability.md and print the table [KILLS=1000]
	$(BIN)/pytest -q -m fault

bench: $(VENV)/.dev-stamp ## Measure added latency, calls per second and processor time [PARTS=low|saturation|streams|growth]
	$(BIN)/python -m benchmarks $(PARTS)

bench-peers: $(VENV)/.dev-stamp ## Measure LiteLLM and hardcap beside Penia; installs them under build/, once
	$(BIN)/python -m benchmarks.peers

soak: $(VENV)/.dev-stamp ## Run at half the rate it can do, and see what grows [MINUTES=60]
	$(BIN)/python -m benchmarks.soak $(MINUTES)

crowd: $(VENV)/.dev-stamp ## Hold 10,000 live clients and 2,000 streams in one process
	$(BIN)/python -m benchmarks.crowd

live: $(VENV)/.dev-stamp ## Let 1,000 live clients watch 500 calls a second, and see how old is what they are shown
	$(BIN)/python -m benchmarks.live

overshoot: $(VENV)/.dev-stamp ## Measure how far budgets are overrun, by what the provider made
	$(BIN)/python -m benchmarks.overshoot

replay: $(VENV)/.run-stamp ## Put recorded exchanges through the gateway and compare [FILE=…]
	$(BIN)/penia replay $(FILE)

focus: ## Put a FOCUS file before the FinOps Foundation's validator; installs it under build/, once [FILE=usage.csv]
	$(PYTHON) scripts/focus_validator.py $(FILE)

screenshots: browser ## Draw the pictures of the README
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/dashboard_picture.py

format: $(VENV)/.dev-stamp ## Format, and fix what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove .venv, caches and builds; ledgers stay
	rm -rf $(VENV) build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.run-stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# The development install holds the runtime's too.
$(VENV)/.dev-stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(VENV)/.run-stamp $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Penia needs Python 3.11 or newer, and there is no '$(PYTHON)' here. Name yours: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Penia needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' comes without its venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

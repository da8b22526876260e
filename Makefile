# The few commands that serve a newcomer, a developer and CI. Each bootstraps what it needs into .venv, from PyPI:
# on a machine with Python 3.11+ and make, nothing has to be installed first. A second run needs no network.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
UV := .venv/uv/bin/uv
BIN := .venv/bin
QUIET := $(shell test -t 2 || echo --quiet)  # in a terminal uv shows its progress
INSTALLED := .venv/installed
DEVELOPING := .venv/developing
NODE_CLIENTS := tests/clients/node/node_modules/.package-lock.json

# The first Python that runs and is new enough, unless PYTHON says which.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
  if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$name; break; fi; done)

# What `make bench` measures: a file of tests/bench.
SUITE ?= serving

export UV_PYTHON_DOWNLOADS := never

.PHONY: help install serve test check format bench pictures clean

help: ## show these commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

install: $(DEVELOPING) ## put everything that is needed into .venv

serve: $(INSTALLED) ## start llama-server with a small real model, and the gateway before it (ARGS="--port 9000")
	@exec $(BIN)/warmgate serve $(ARGS)

test: $(DEVELOPING) $(NODE_CLIENTS) ## run all tests, with the real llama-server and a real model (ARGS="-k name")
	@$(BIN)/pytest $(ARGS)

check: $(DEVELOPING) ## lint, formatting, strict types, direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(DEVELOPING) ## write what check asks for, where a tool can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(DEVELOPING) ## measure: SUITE=serving, overhead, guard, coldstart, soak, toolcalls or scaling (ARGS="--help")
	@$(BIN)/python tests/bench/$(SUITE).py $(ARGS)

pictures: $(DEVELOPING) ## take the pictures in docs/pictures again, with Chromium
	@$(BIN)/python tests/browser/screenshots.py

clean: ## remove what the other commands made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist tests/clients/node/node_modules

# What serving needs, and what developing needs besides. --inexact: the first must not remove the second.
$(INSTALLED): pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen $(QUIET) --inexact --no-default-groups --group local
	@touch $@

$(DEVELOPING): $(INSTALLED)
	@$(UV) sync --frozen $(QUIET)
	@touch $@

# The clients that come from npm: OpenAI's SDK, Codex, Claude Code (650 MB). Without npm, or without a network, the
# tests that need them are skipped. --ignore-scripts: nothing of them runs before a test runs it.
$(NODE_CLIENTS): tests/clients/node/package.json tests/clients/node/package-lock.json
	@if ! command -v npm >/dev/null; then echo "npm is missing: the tests of clients for Node will be skipped." >&2; \
	else echo "installing clients for Node (once) ..."; \
	  npm ci --prefix $(<D)/ --ignore-scripts --no-audit --no-fund --loglevel error && touch $@ || \
	  echo "npm failed: the tests of clients for Node will be skipped." >&2; fi

$(UV):
	@if [ -z "$(PYTHON)" ]; then echo "warmgate needs Python 3.11 or newer: install it, or set PYTHON=/path/to/python3." >&2; exit 1; fi
	@echo "installing into .venv (once) ..."
	@if ! "$(PYTHON)" -m venv --clear .venv >/dev/null 2>&1; then \
	  echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1; fi
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --target .venv/uv uv==$(UV_VERSION)

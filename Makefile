# make demo, make test; `make help` lists the rest. Everything is installed into .venv and nowhere else.
#   PYTHON=python3.13    which Python makes .venv, at the first call
#   WORKERS=2            processes that share the tests; as many as there are cores if left out
PYTHON ?= python3
WORKERS ?= auto

BIN := .venv/bin
# Scripts in an environment hold its path, so a checkout that was moved or copied installs anew.
PLACE := $(firstword $(shell pwd | cksum))
INSTALLED := .venv/installed-$(PLACE)
EQUIPPED := .venv/equipped-$(PLACE)
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS)

.PHONY: help demo test test-long bench clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1@/p' $(firstword $(MAKEFILE_LIST)) | \
	  awk -F@ '{ printf "%-16s %s\n", $$1, $$2 }'

demo: $(INSTALLED) ## install, then train a small LSTM on English for a minute
	@$(BIN)/unspool demo

test: $(EQUIPPED) ## install what the tests need, then run all that take seconds
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(PYTEST) -m "not long"

test-long: $(EQUIPPED) ## the tests that take minutes
	$(PYTEST) -m long

bench: $(INSTALLED) ## speed beside its peers, on this machine
	@$(BIN)/unspool bench

clean: ## remove the environment and the caches; runs/ stays
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find src tests examples docs -name __pycache__ -type d -prune -exec rm -rf {} +

.venv:
	@$(PYTHON) -c 'import sys; v = "%d.%d.%d" % sys.version_info[:3]; sys.exit(sys.version_info < (3, 11) \
	  and "Unspool needs Python 3.11 or newer; $(PYTHON) is " + v + ". Try: make PYTHON=python3.12")' || \
	  { command -v $(PYTHON) >/dev/null || echo "Name a Python, 3.11 or newer: make PYTHON=..." >&2; false; }
	$(PYTHON) -m venv .venv.new
	rm -rf .venv && mv .venv.new .venv

$(INSTALLED): pyproject.toml | .venv
	$(PYTHON) -m venv .venv
	$(PIP) install --editable .
	@touch $@

$(EQUIPPED): $(INSTALLED)
	$(PIP) install --quiet --upgrade "pip>=25.1"
	$(PIP) install --quiet --group dev
	@touch $@

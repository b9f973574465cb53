# `make` alone explains itself: every line "target: ## text" below is shown.

CONFIG ?= conf/navier_stokes.yaml
ARGS ?=
# More options for the `pip install` that downloads. On Linux the default index's torch brings CUDA packages of several
# gigabytes: without an NVIDIA GPU, name an index of builds for processors, PIP_ARGS="--extra-index-url URL", or a folder
# of wheels, PIP_ARGS="--find-links FOLDER".
PIP_ARGS ?=
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

BIN := .venv/bin
STAMP := .venv/.installed
SOURCES := cst_lightning datamodules callbacks tests

.DEFAULT_GOAL := help
.PHONY: help install fit test lint format typecheck bench clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml conf/constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv was not found; name it with make PYTHON=/path/to/python" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint conf/constraints.txt --editable ".[dev]"
	@touch $@

install: $(STAMP) ## Create .venv and install the tested versions; PIP_ARGS for pip

fit: $(STAMP) ## Train CONFIG (Navier-Stokes unless given), then score and draw it; ARGS="--model.width 128"
	$(BIN)/cst-fit --config $(CONFIG) $(ARGS)

# pytest runs last, so that its summary is the last line
test: lint typecheck ## Lint, check types, and run every test; ARGS="-k jets" picks some
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile $(ARGS)

lint: $(STAMP) ## Check style and formatting
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

format: $(STAMP) ## Format the sources and fix what can be fixed
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

# mypy cannot see through an editable install whose folders are mapped, so it reads a real one. A stale build/lib would
# put deleted modules back into it.
typecheck: $(STAMP) ## Check types
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/typecheck .
	cd build/typecheck && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p cst_lightning

bench: $(STAMP) ## Measure the speed of derivatives and write the table to runs/bench
	$(BIN)/python -m cst_lightning.benchmark.speed $(ARGS)

clean: ## Remove what was built; .venv, runs and caches of data stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find cst_lightning datamodules callbacks tests -name __pycache__ -type d -prune -exec rm -rf {} +

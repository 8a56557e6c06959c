# Everything a clone needs: Python 3.11 or newer with pip; the rest goes into .venv, in the tested versions.
#   make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"   torch without CUDA on Linux (2 GB less)
#   make test ARGS="tests/models -k mask"                                         some of the tests

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_FLAGS ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_FLAGS) -c constraints.txt
# Every script that `make bench` runs, in this order; each writes its own file under benchmarks/results/.
BENCHMARKS := $(sort $(wildcard benchmarks/*.py))

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench wheel clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

# Each stamp is written when its step has ended well: what was interrupted or failed is done again. An environment
# without its stamp may be half of one, and is made anew.
$(VENV)/.created:
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.core-installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing open-textok into $(VENV) (minutes the first time) ..."
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.dev-installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing open-textok with its development tools into $(VENV) (minutes the first time) ..."
	$(PIP_INSTALL) -e ".[dev]"
	@touch $@ $(VENV)/.core-installed

setup: $(VENV)/.dev-installed  ## make .venv with everything, tools for development included

demo: $(VENV)/.core-installed  ## run the shipped tokenizer on test pictures and write a report
	$(BIN)/textok demo $(ARGS)

test: setup  ## run the tests
	$(BIN)/python -m pytest $(ARGS)

check: setup  ## lint, format, types, layers, dependencies
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyrefly check
	$(BIN)/lint-imports
	$(BIN)/deptry src

format: setup  ## let ruff fix and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup  ## run every benchmark; quiet machine, hours
	@for script in $(BENCHMARKS); do echo "$$script"; $(BIN)/python $$script || exit 1; done

wheel: setup  ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## remove what tools and builds left; keeps .venv, runs and results
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# A clone needs Python 3.11 or newer with pip; everything else goes into .venv, in the tested versions.
#   make demo TORCH=cpu                     torch without CUDA, which on Linux is 4 GB less
#   make setup PYTHON=python3.12            another Python than the first of those below
#   make test ARGS="tests/models -k mask"   some of the tests

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell $(name) -c $(IS_NEW) 2>/dev/null && echo $(name))))
IS_NEW := 'import sys; sys.exit(sys.version_info < (3, 11))'
TORCH ?=
PIP_FLAGS ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
CPU_INDEX := --extra-index-url https://download.pytorch.org/whl/cpu
# Python compiles what it imports, when it imports it; nobody has to wait until everything is compiled.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-compile \
	$(if $(filter cpu,$(TORCH)),$(CPU_INDEX)) $(PIP_FLAGS) -c constraints.txt
# What stands on the disk afterwards, measured on Linux; the tools for development are the last half.
SIZE := $(if $(filter cpu,$(TORCH)),2 to 2.5 GB,6 to 6.5 GB on Linux where torch comes with CUDA; TORCH=cpu makes it 2 to 2.5 GB)
# One process a core, each with one thread; a file's tests stay in one process, which share its fixtures.
PYTEST := env OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Every script that `make bench` runs, in this order; each writes its own file under benchmarks/results/.
BENCHMARKS := $(sort $(wildcard benchmarks/*.py))

ifneq ($(filter-out cpu,$(TORCH)),)
$(error TORCH: got $(TORCH), expected cpu or nothing)
endif

.DEFAULT_GOAL := help
.PHONY: help install setup demo test quick check format site figures bench wheel clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

# Each stamp is written when its step has ended well: what was interrupted or failed is done again. An environment
# without its stamp may be half of one, and is made anew.
$(VENV)/.created:
	@$(or $(PYTHON),false) -c $(IS_NEW) || { echo "PYTHON: got '$(PYTHON)', expected Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.core-installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing open-textok into $(VENV) (some minutes; disk: $(SIZE)) ..."
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.dev-installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing open-textok with its development tools into $(VENV) (some minutes; disk: $(SIZE)) ..."
	$(PIP_INSTALL) -e ".[dev]"
	@touch $@ $(VENV)/.core-installed

$(VENV)/.user-installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing open-textok into $(VENV) (some minutes; disk: $(SIZE)) ..."
	$(PIP_INSTALL) -e ".[codec,app]"
	@touch $@ $(VENV)/.core-installed

install: $(VENV)/.user-installed  ## make .venv for using the package, with .ttk files and the app

setup: $(VENV)/.dev-installed  ## make .venv with everything, tools for development included

demo: $(VENV)/.core-installed  ## run the shipped tokenizer on test pictures and write a report
	$(BIN)/textok demo $(ARGS)

test: setup  ## run all tests
	$(PYTEST) $(ARGS)

quick: setup  ## run the tests that take no more than a second or two each
	$(PYTEST) -m "not slow" $(ARGS)

check: setup site  ## lint, format, types, layers, dependencies, size, documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyrefly check
	$(BIN)/lint-imports
	$(BIN)/deptry src research
	$(BIN)/python runs/measure_code.py --enforce

format: setup  ## let ruff fix and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

site: setup  ## build the documentation into site/, which works from disk, and check its links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python docs/links.py site

figures: setup  ## draw the pictures and charts of README and site anew, from weights and records
	$(BIN)/python docs/figures.py $(ARGS)

bench: setup  ## run every benchmark; quiet machine, hours
	@for script in $(BENCHMARKS); do echo "$$script"; $(BIN)/python $$script || exit 1; done

wheel: setup  ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## remove what tools and builds left; keeps .venv, runs and results
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks research -name __pycache__ -type d -prune -exec rm -rf {} +

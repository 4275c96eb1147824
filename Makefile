# Needs only Python 3.10 or newer with its venv module; everything else is installed
# into $(VENV). Any interpreter will do:  make test PYTHON=python3.12
# Options for the program behind a target:  make demo ARGS="--text my.txt"

VENV   ?= .venv
PARITY ?= .venv-parity
BENCH  ?= .venv-bench
ARGS   ?=
PYTHON ?=

BIN := $(VENV)/bin

# What demos share, and what draws the pages of docs/.
NO_DEMO := demos/demokit.py demos/gallery.py demos/lecture.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demos gallery house lecture operations test lint format types hooks parity bench bench-quick mutants clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed-draw,fast,plot ## train, sample and draw a character LSTM (a few minutes; results in runs/)
	$(BIN)/python demos/char_lm.py $(ARGS)

demos: $(VENV)/.installed-draw,plot ## run every demo, each ending in a picture under runs/
	@set -e; for demo in $(filter-out $(NO_DEMO),$(wildcard demos/*.py)); do \
	  echo "== $$demo"; $(BIN)/python $$demo $(ARGS); done

gallery: $(VENV)/.installed-draw,plot ## draw docs/gallery again
	$(BIN)/python demos/gallery.py

house: $(VENV)/.installed-draw ## draw docs/images/house.svg, the rooms and what they read
	$(BIN)/python docs/house.py

lecture: $(VENV)/.installed-draw,plot ## draw the figures of docs/lecture again
	$(BIN)/python demos/lecture.py $(ARGS)

operations: $(VENV)/.installed-test ## write docs/operations.md anew, from the records of operations
	$(BIN)/python docs/operations.py > docs/operations.md

# One worker per core, so one BLAS thread each. To debug in one process:  make test ARGS="-n 0 --pdb"
test: export OPENBLAS_NUM_THREADS ?= 1
test: $(VENV)/.installed-test ## run the tests and the examples in the docstrings and pages
	$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/.installed-dev ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev ## rewrite the files in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev ## check the types of the package
	$(BIN)/mypy $(ARGS)

hooks: $(VENV)/.installed-dev ## check style and types before every commit
	$(BIN)/pre-commit install

parity: $(PARITY)/.installed-parity ## compare with PyTorch, in an environment of its own (a large download)
	$(PARITY)/bin/python -m pytest tests/parity $(ARGS)

bench: $(BENCH)/.installed-bench ## race PyTorch, JAX, autograd and MyGrad (half an hour, a large download)
	$(BENCH)/bin/python -m benchmarks.run $(ARGS)

bench-quick: $(VENV)/.installed-test ## the rows that matter in a minute, beside PyTorch where make bench has installed it
	$(firstword $(wildcard $(BENCH)/bin/python) $(BIN)/python) -m benchmarks.run --quick $(ARGS)

mutants: $(VENV)/.installed-mutants ## plant small faults and see which the tests miss (stops after an hour)
	$(BIN)/python tests/mutation/run.py $(ARGS)

clean: ## remove caches and build products; runs/ and the environments stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage coverage.xml htmlcov *.egg-info
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## also remove the environments
	rm -rf $(VENV) $(PARITY) $(BENCH)

# One environment per folder, made by the first interpreter that is new enough.
# A stamp for each set of extras: an unchanged pyproject.toml installs nothing again.

OLD_ENOUGH := import sys; sys.exit(sys.version_info < (3, 10))

$(VENV)/bin/python $(PARITY)/bin/python $(BENCH)/bin/python:
	@env=$(patsubst %/bin/python,%,$@); python=; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python3.10 python); do \
	  if "$$candidate" -c '$(OLD_ENOUGH)' >/dev/null 2>&1; then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: no Python 3.10 or newer found" >&2; \
	  echo "  expected: $(if $(PYTHON),PYTHON=$(PYTHON) to be Python 3.10 or newer,python3 on the PATH to be 3.10 or newer)" >&2; \
	  echo "  got: $$($(or $(PYTHON),python3) --version 2>&1)" >&2; \
	  echo "  try: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	  echo "error: $$python cannot make virtual environments" >&2; \
	  echo "  expected: the standard modules venv and ensurepip" >&2; \
	  echo "  got: at least one of them cannot be imported" >&2; \
	  echo "  try: install them (Debian and Ubuntu: apt install python3-venv) or name another PYTHON=" >&2; \
	  exit 1; \
	fi; \
	echo "creating $$env with $$("$$python" --version)"; \
	"$$python" -m venv --clear "$$env" || { rm -rf "$$env"; exit 1; }

define install
	@$(1)/bin/python -c '$(OLD_ENOUGH)' || { echo "error: $(1) holds a Python older than 3.10; try: rm -r $(1)" >&2; exit 1; }
	@echo "installing .[$(2)] into $(1)"
	@$(1)/bin/python -m pip install --quiet "pip>=23"
	@$(1)/bin/python -m pip install --quiet --editable ".[$(2)]"
	@touch $@
endef

$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	$(call install,$(VENV),$*)

$(PARITY)/.installed-%: pyproject.toml | $(PARITY)/bin/python
	$(call install,$(PARITY),$*)

$(BENCH)/.installed-%: pyproject.toml | $(BENCH)/bin/python
	$(call install,$(BENCH),$*)

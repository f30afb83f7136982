# Every target works on a fresh clone: it builds .venv first when that is missing or out of date.
#
#   make PYTHON=/path/to/python3.13 …   the interpreter for .venv (default: tools/find-python.sh looks for one)
#   make test ARGS='-k gaussian -x'     further arguments for pytest; WORKERS=0 runs it in one process
#   make figures SCALE=paper            smoke | desk | paper; all but desk into figures-SCALE

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help env test lint derive figures report bench clean

PYTHON ?=
SCALE ?= desk
FIGURES ?= figures$(if $(filter desk,$(SCALE)),,-$(SCALE))
WORKERS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
PEERS := $(VENV)/.peers
PIP = $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check --constraint constraints.txt

DERIVATIONS := $(patsubst derivations/%.py,derivations.%,$(filter-out derivations/_%,$(wildcard derivations/*.py)))
BENCHMARKS := $(patsubst tests/benchmarks/%.py,tests.benchmarks.%,$(wildcard tests/benchmarks/bench_*.py))

# The work is spread over processes, so each of them gets one thread.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MPLBACKEND := Agg

help:
	@echo 'make env      build .venv, nothing else'
	@echo 'make test     run the tests            (ARGS=…, WORKERS=$(WORKERS))'
	@echo 'make lint     check style and types'
	@echo 'make derive   run every derivation; models write their module in solvers/generated'
	@echo 'make figures  derive, solve, draw      (SCALE=smoke|desk|paper, now $(SCALE))'
	@echo 'make report   the figures as pages for a browser, in report/   (of $(FIGURES)/)'
	@echo 'make bench    run the benchmarks, peers installed first; each prints its table'
	@echo 'make clean    remove .venv, figures, report and caches'

env: $(STAMP)

# Always from nothing: what is in .venv is then what the two files say.  The stamp goes with the old
# .venv and comes back only after the last step, so an interrupted build is taken up again.
# The build backend comes from constraints.txt too, hence no build isolation.
$(STAMP): pyproject.toml constraints.txt
	@python=$$(sh tools/find-python.sh '$(PYTHON)') || exit 2; \
	 echo "building $(VENV) with $$python"; \
	 rm -rf $(VENV) && "$$python" -m venv $(VENV)
	@$(PIP) pip setuptools
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@$(BIN)/python -m pip check --disable-pip-version-check >$(VENV)/check.txt || { cat $(VENV)/check.txt; exit 1; }
	@touch $@

test: $(STAMP)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

derive: $(STAMP)
	@set -e; for script in $(DERIVATIONS); do \
	   echo "$(BIN)/python -m $$script"; $(BIN)/python -m "$$script"; \
	 done

figures: derive
	$(BIN)/workbench reproduce all --scale $(SCALE) --convention std --workers $(or $(filter-out 0,$(WORKERS)),1) --out $(FIGURES)/std
	$(BIN)/workbench reproduce all --scale $(SCALE) --convention variance --workers $(or $(filter-out 0,$(WORKERS)),1) --out $(FIGURES)/variance

report: $(STAMP)
	$(BIN)/workbench report --figures $(FIGURES) --out report

# What the benchmarks compare with; a benchmark names what it misses, so a failure here stops none of them.
$(PEERS): $(STAMP)
	@echo 'adding the peers of the benchmarks to $(VENV)'
	@if $(PIP) --no-build-isolation --editable '.[bench]'; then touch $@; fi

bench: $(PEERS)
	@set -e; for script in $(BENCHMARKS); do \
	   echo "$(BIN)/python -m $$script"; $(BIN)/python -m "$$script"; \
	 done

clean:
	rm -rf $(VENV) figures figures-* report build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Everything a developer does here. `make help` lists it.
# Needs Python >= 3.11, make and git; everything else is installed into .venv from requirements.lock.

PYTHON ?= python3
VENV   := .venv
FEAST  := .venv-feast
BIN    := $(VENV)/bin
UV     := 0.13.9
ARGS   ?=
# Tests run in so many processes, a file of them in one process; tests that ARGS choose run in one process, without NPROC=...
NPROC  ?= $(if $(ARGS),0,3)
# What shuffles the tests and generates their data. The same seed is the same run; SEED=$$RANDOM is a new one.
SEED   ?= 1
# Hundreds of processes start: each would compile everything anew, where that is not kept.
PYTEST  = PYTHONDONTWRITEBYTECODE= UPSHOT_TEST_SEED=$(SEED) tests/in_memory.sh \
  $(BIN)/python -m pytest --randomly-seed=$(SEED) --hypothesis-seed=$(SEED)

.DEFAULT_GOAL := help

help:           ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.installed   ## start the demo: a year of real flights through the whole loop (ARGS="--once --flights 20000" ends and limits)
	@$(BIN)/upshot demo $(ARGS)

test: $(VENV)/.installed $(FEAST)/.installed  ## run all tests but those of `check` (ARGS="-k name" chooses, SEED=5 shuffles otherwise, NPROC=4 for so many processes)
	$(PYTEST) -n $(NPROC) --dist loadfile --no-loadscope-reorder $(if $(ARGS),$(ARGS),--ignore=tests/contracts)

e2e: $(VENV)/.installed   ## only the tests in a real browser
	$(PYTEST) -m browser $(ARGS)

test-power: $(VENV)/.installed ## cut the power under the logger's spool, as root (ARGS="--cuts 100")
	$(BIN)/python -m tests.faults.power_cut $(ARGS)

test-power-server: $(VENV)/.installed ## cut the power under the server's store, as root (ARGS="--cuts 100")
	$(BIN)/python -m tests.faults.power_cut_server $(ARGS)

soak: $(VENV)/.installed ## play generated histories against the rule (ARGS="--histories 10000 --seed 1")
	$(BIN)/python -m tests.joiner.soak $(ARGS)

check: $(VENV)/.installed ## format, lint, types, import direction, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) tests/contracts $(ARGS)

format: $(VENV)/.installed ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed ## measure; prints figures with ratios, decides nothing
	@for b in tests/bench/logger.py tests/bench/logger_in_a_service.py tests/bench/bench_*.py; do echo "== $$b"; $(BIN)/python -m tests.bench.$$(basename $$b .py) || exit 1; done

lock: $(VENV)/bin/uv      ## resolve requirements.lock anew
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	  --extra kafka --extra server --extra pull --extra demo --group dev --group bench pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --group feast pyproject.toml -o requirements-feast.lock

clean:          ## remove what the other targets made
	rm -rf $(VENV) $(FEAST) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .demo

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "upshot needs Python 3.11 or newer; set PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/uv
	@echo "installing into $(VENV) ..."
	@$(BIN)/uv pip install -q --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(FEAST)/.installed: requirements-feast.lock | $(VENV)/bin/uv
	@echo "installing into $(FEAST), where Feast is tested ..."
	@$(BIN)/uv venv -q --clear --python $(PYTHON) $(FEAST)
	@$(BIN)/uv pip install -q --python $(FEAST)/bin/python --require-hashes -r requirements-feast.lock
	@touch $@

.PHONY: help run test soak test-power test-power-server e2e check format bench lock clean

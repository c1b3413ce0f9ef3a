# The words a newcomer types. Everything runs from the checkout, in .venv, with the versions of constraints.txt.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The run needs no server: Prefect starts a temporary one, whose data lie in .prefect/; the address of
# another one that is left in the environment, and may be gone, does not matter.
export PREFECT_HOME := $(CURDIR)/.prefect
unexport PREFECT_API_URL
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export OMP_WAIT_POLICY ?= PASSIVE
export PYTHONUNBUFFERED := 1

# Real question-answering rows for tests, where somebody has put them beside the checkout.
ifneq ($(wildcard ../shared/data),)
export SURROGATE_TEST_DATA ?= $(abspath ../shared)
endif

.PHONY: run test test-slow check install demo-model clean

run: install ## run the embedded example and print what it found
	$(BIN)/python -m flows.experiment --profile demo

test: check ## all checks and the default tests
	$(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist loadfile

test-slow: check ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt ".[offline,test]"
	rm -rf build *.egg-info  # what building the (empty) package leaves
	touch $@

demo-model: install ## train the embedded model anew (CPU, under two hours)
	$(BIN)/python -m tasks.demo.training

clean: ## forget the environment; results in artifacts/ stay
	rm -rf $(VENV) .prefect .mypy_cache .ruff_cache .pytest_cache

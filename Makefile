# Two commands do everything: `make run` runs one night on the built-in default, `make test` is the whole check.
PYTHON ?= python3.11
BIN := .venv/bin
ARGS ?=

.PHONY: run test check fast mutate audit-deps lock docs clean

run: .venv/.ready
	$(BIN)/overnight run $(ARGS)

test: check
	$(BIN)/python -m pytest -n 3 --dist loadfile --durations=15 -m "slow or flow"

check: .venv/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto -m "not slow and not flow"

fast: .venv/.ready-dev
	$(BIN)/python -m pytest -n auto -m "not slow and not flow"

# Some forty small errors in the mathematics of the policy and its evaluation, each of which the tests must notice; about two minutes.
mutate: .venv/.ready-dev
	$(BIN)/python -m tests.mutants

# The glossary and the list of settings, from the definitions that the code runs by.
docs: .venv/.ready-dev
	$(BIN)/python -m flows.reference

.venv/.ready: requirements.txt
	@echo "== making .venv and installing the locked requirements (a few minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --progress-bar off -r requirements.txt
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.ready-dev: .venv/.ready requirements-dev.txt
	@echo "== installing what the tests need"
	$(BIN)/pip install --disable-pip-version-check --progress-bar off -r requirements-dev.txt
	@touch $@

# What is known against the locked versions. It asks the advisory database about each of them and fails where that does not know one, so it needs the network and is no part of `check`.
audit-deps:
	test -x build/audit/bin/pip-audit || ($(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet 'pip-audit>=2.10')
	build/audit/bin/pip-audit --requirement requirements.txt --no-deps --disable-pip --strict --progress-spinner off

# Resolve pyproject's ranges anew in a fresh environment. torch's own CUDA packages stay out: which of them are needed
# depends on the machine, and torch pins them itself.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet setuptools torch==2.13.0 '.[train]'
	$(call freeze) > requirements.txt
	build/lock/bin/pip install --quiet '.[dev]'
	(echo "-r requirements.txt"; $(call freeze) | grep -v -x -F -f requirements.txt) > requirements-dev.txt

freeze = build/lock/bin/pip freeze --all --exclude overnight --exclude pip | sed -E 's/^torch( @|==).*/torch==2.13.0/' | grep -v -i -E '^(nvidia|cuda|triton)'

clean:
	rm -rf .venv build *.egg-info

# Two commands do all the set-up: `make tune` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

TIERS := slow faults cluster fuzz browser

.PHONY: tune test lint clean $(TIERS:%=test-%)
.DEFAULT_GOAL := tune

# The stamps make installation happen once, and again whenever pyproject.toml changes.
$(VENV)/.run: pyproject.toml
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.test: pyproject.toml
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $(VENV)/.run $@

tune: $(VENV)/.run
	$(BIN)/degas-ray tune

# Two processes, each a file at a time with one thread: most tests wait more than they compute.
test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The long tiers: tests with the marker of the same name.
$(TIERS:%=test-%): test-%: $(VENV)/.test
	$(BIN)/python -m pytest -m $*

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info

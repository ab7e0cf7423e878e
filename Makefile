# Everything a newcomer needs: `make demo`, `make test`. Python 3.11 or later and make suffice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: install demo test test-fast lint format reference benchmarks clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install  ## Search, export and report on the digits, in about a minute.
	$(BIN)/bdistil search search_spaces/digits.yaml --out runs/digits
	$(BIN)/bdistil export runs/digits --out runs/digits-ensemble
	$(BIN)/bdistil report runs/digits
	$(BIN)/bdistil status runs/digits

test: install lint  ## Everything, as CI runs it.
	$(BIN)/python -m pytest

test-fast: install  ## Without Ray clusters and long trainings.
	$(BIN)/python -m pytest -m 'not cluster and not slow'

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

reference: install  ## docs/spec.md's tables and docs/spec.schema.json, from the models.
	$(BIN)/python -m bdistil.spec.reference docs

benchmarks: install
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Everything a newcomer needs: `make demo`, `make test`. Python 3.11 or later and make suffice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n logical --no-loadscope-reorder  # shared out by tests/conftest.py

.PHONY: install demo showcase test test-fast test-nightly lint format reference picture benchmarks clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt bdistil/version.py
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install  ## Search, export and report on the digits, in about a minute.
	$(BIN)/bdistil search search_spaces/digits.yaml --out runs/digits
	$(BIN)/bdistil export runs/digits --out runs/digits-ensemble --onnx
	$(BIN)/bdistil report runs/digits
	$(BIN)/bdistil status runs/digits

showcase: install  ## Photographs under a ResNet-56, 80 minutes of one core; results/2026-11-29-clock says which files in data/.
	$(BIN)/bdistil search search_spaces/cifar10_resnet56.yaml --out runs/cifar10_resnet56
	$(BIN)/bdistil export runs/cifar10_resnet56 --onnx --with-teacher --out runs/cifar10_resnet56-ensemble
	$(BIN)/bdistil bench runs/cifar10_resnet56

test: install lint  ## Everything, as CI runs it: on each core, one of them with Ray's clusters.
	$(PYTEST) $(PARALLEL)

test-fast: install  ## Without Ray clusters and long trainings.
	$(PYTEST) $(PARALLEL) -m 'not cluster and not slow'

test-nightly: install  ## Only what `make test` leaves to its representatives.
	$(PYTEST) $(PARALLEL) -m nightly
	BDISTIL_FUZZ=25 $(PYTEST) $(PARALLEL) tests/fuzz

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

reference: install  ## docs/spec.md and docs/spec.schema.json, from the models.
	$(BIN)/python -m bdistil.spec.reference docs

picture: install  ## Draw the rooms anew after their imports changed.
	$(BIN)/python docs/draw_rooms.py

benchmarks: install
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

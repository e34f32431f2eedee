# make setup, make demo, make test: see README.md; make check and make test-all: see CONTRIBUTING.md. PYTHON chooses the interpreter (3.10 to 3.13).
PYTHON ?= python3
DATA ?=
DEMO_ARGS ?=
IMAGES ?=
TEST_PROCESSES ?= 4
MARKERS ?= not nightly and not faults_full

VENV := .venv
LS_VENV := .venv-label-studio
LSML_VENV := .venv-label-studio-ml
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal
# Twenty people who label by the clock: beside other tests they wait for the processor.
ON_IDLE_CORES := tests/integration/test_load.py
EXTRAS := ml-backend weights images image-weights audio ray postgresql export machines simulate report benchmark peers dev

.PHONY: setup demo demo-stop check test test-all lint constraints clean

setup: $(VENV)/.done $(LS_VENV)/.done

# The version in connector/__init__.py is known to the environment as of the last installation.
$(VENV)/.done: pyproject.toml constraints.txt connector/__init__.py
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[ml-backend,weights,images,image-weights,audio,dev]'
	touch $@

# Label Studio pins nearly all it needs itself, and other versions than ours: hence an environment of its own.
$(LS_VENV)/.done: constraints.txt
	$(PYTHON) -m venv $(LS_VENV)
	$(LS_VENV)/bin/python -m pip install --quiet "$$(grep '^label-studio==' constraints.txt)"
	touch $@

# label-studio-ml has a Jinja2 and a Werkzeug of 2021: it gets an environment of its own, which finds all else in ours.
$(LSML_VENV)/.done: tests/install-label-studio-ml.sh constraints.txt $(VENV)/.done
	sh $< $(PYTHON) $(BIN)/python $(LSML_VENV)
	touch $@

.PHONY: chromium
chromium: $(VENV)/.done
	@sh tests/install-chromium.sh $(BIN)/python

.PHONY: postgresql
postgresql:
	@sh tests/install-postgresql.sh

demo: setup
	$(BIN)/python -m connector.demo $(if $(DATA),--data $(DATA)) $(if $(IMAGES),--images) $(DEMO_ARGS)

demo-stop:
	$(BIN)/python -m connector.demo stop

lint: $(VENV)/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The inner loop: nothing but what `make setup` has installed.
check: lint
	$(PYTEST) tests/connector tests/ml_backend tests/test_architecture.py tests/test_docs.py \
	  -m "not (nightly or faults_full or service or browser or postgresql)"

# Each process has a Label Studio of its own.
test: setup chromium postgresql lint
	$(PYTEST) -m "$(MARKERS)"

test-all: setup $(LSML_VENV)/.done chromium postgresql lint
	HYPOTHESIS_PROFILE=large $(PYTEST) --ignore $(ON_IDLE_CORES)
	$(BIN)/python -m pytest $(ON_IDLE_CORES)

# Says what is missing before a release: docs/release.md.
.PHONY: release-check
release-check: $(VENV)/.done
	@$(BIN)/python tools/release_check.py

# Renews constraints.txt from the ranges in pyproject.toml, after a `make setup`. Torch and what has an environment of its own stay.
constraints:
	grep '^torch==' constraints.txt > constraints.torch
	{ sed '/^# All else/q' constraints.txt; \
	  $(BIN)/uv pip compile --universal --python-version 3.10 $(EXTRAS:%=--extra %) pyproject.toml \
	    --constraint constraints.torch --upgrade --no-header --no-annotate --quiet; } > constraints.new
	mv constraints.new constraints.txt
	rm constraints.torch

clean:
	rm -rf $(VENV) $(LS_VENV) $(LSML_VENV) .cache .demo dist build

# make setup, make demo, make test: see README.md. PYTHON chooses the interpreter (3.10 to 3.13).
PYTHON ?= python3
DATA ?=
DEMO_ARGS ?=
TEST_PROCESSES ?= 2

VENV := .venv
LS_VENV := .venv-label-studio
LSML_VENV := .venv-label-studio-ml
BIN := $(VENV)/bin
EXTRAS := ml-backend weights ray postgresql export simulate report benchmark dev

.PHONY: setup demo demo-stop test lint constraints clean

setup: $(VENV)/.done $(LS_VENV)/.done

# The version in connector/__init__.py is known to the environment as of the last installation.
$(VENV)/.done: pyproject.toml constraints.txt connector/__init__.py
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[ml-backend,weights,dev]'
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
	$(BIN)/python -m connector.demo $(if $(DATA),--data $(DATA)) $(DEMO_ARGS)

demo-stop:
	$(BIN)/python -m connector.demo stop

lint: $(VENV)/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup $(LSML_VENV)/.done chromium postgresql lint
	@# A file's tests stay in one process, which has a Label Studio of its own; files go in order, the long ones in the middle.
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

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
	rm -rf $(VENV) $(LS_VENV) $(LSML_VENV) .demo dist build

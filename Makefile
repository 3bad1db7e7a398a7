# Every target sets up what it needs; `make help` lists them.

PROFILE    ?= quick
SLOTS      ?=
SLURM      ?=
FORCE      ?=
ONLY       ?=
TIME_LIMIT ?=
SAMPLE     ?= 5
PORT       ?= 9000

.DEFAULT_GOAL := help
SHELL := bash
# Dozens of short processes import torch: where this is set, each of them would compile it anew.
unexport PYTHONDONTWRITEBYTECODE
export PAL_SLOTS := $(SLOTS)
export PAL_SLURM := $(SLURM)
export PAL_TIME_LIMIT := $(TIME_LIMIT)
export PAL_STARTED := $(if $(TIME_LIMIT),$(shell date +%s))

# -- environment ---------------------------------------------------------------------------------------------
# An active conda environment named `pal` (environment.yml) is used, and only the project itself installed into it;
# otherwise .venv is made here, with uv if there is one and else with a uv that pip brings. The project is installed
# editable, by the locked setuptools, so that `pal` and `experiments` can be imported from anywhere.
EDITABLE := site-packages/__editable__.pal_optimizer-*.pth
ifeq ($(CONDA_DEFAULT_ENV),pal)
  ENVIRONMENT := $(if $(wildcard $(CONDA_PREFIX)/lib/python3*/$(EDITABLE)),,into-conda)
else
  ENVIRONMENT := .venv/.ready
  export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.uv/bin:$(PATH)
  # An environment whose Python has gone is made anew.
  $(shell test -x .venv/bin/python || rm -f .venv/.ready)
endif
UV := $(or $(shell command -v uv),.uv/bin/uv)
INSTALL := $(UV) pip install --quiet --no-deps --no-build-isolation --editable . --python

.venv/.ready: requirements.lock pyproject.toml
	@echo "Installing the locked environment into .venv (several GB the first time) ..."
	@command -v $(UV) > /dev/null || { python3 -m venv .uv && .uv/bin/pip install --quiet uv; }
	@test -x .venv/bin/python || { rm -rf .venv && $(UV) venv --quiet --relocatable --python '>=3.11,<3.14' .venv; }
	@$(UV) pip sync --quiet --python .venv/bin/python requirements.lock
	@$(INSTALL) .venv/bin/python
	@# The way from site-packages to the checkout, instead of today's absolute one: both may be moved together.
	@for file in .venv/lib/python3*/$(EDITABLE); do echo ../../../.. > "$$file.new" && mv "$$file.new" "$$file"; done
	@touch $@

.PHONY: into-conda
into-conda:
	@$(INSTALL) "$$(command -v python)" || echo 'Without this, pal can be imported in the checkout only.' >&2

# -- pipeline ------------------------------------------------------------------------------------------------
# The quick profile runs from the pipeline at the root; what it makes is never committed, so its lock file stays
# as committed for git (skip-worktree) while DVC keeps its state in it. The other profiles have a copy of the same
# pipeline beside their committed results, with a lock file of their own.
ifeq ($(PROFILE),quick)
  PIPELINE := dvc.yaml
else
  PIPELINE := results/$(PROFILE)/dvc.yaml
endif

.PHONY: reproduce dry-run
ifeq ($(ONLY),)
reproduce: $(ENVIRONMENT) $(PIPELINE)  ## the paper: runs, tables, figures, report (PROFILE=quick, SLOTS=n, FORCE=1, TIME_LIMIT=2h)
	@git update-index --skip-worktree dvc.lock 2> /dev/null || true
	@$(if $(FORCE),python -m experiments forget --profile $(PROFILE))
	@python -m experiments study --profile $(PROFILE)  # of all studies at once: workers start once, not once a stage
	@python -m dvc repro --quiet $(if $(FORCE),--force) $(PIPELINE)
	@python -m experiments claims --profile $(PROFILE) --show
else
reproduce: $(ENVIRONMENT)
	@$(if $(FORCE),python -m experiments forget --profile $(PROFILE) --only '$(ONLY)')
	@python -m experiments study --profile $(PROFILE) --only '$(ONLY)'
endif

dry-run: $(ENVIRONMENT)  ## how many runs are left, and how long they will take (PROFILE=quick, SLURM=file, ONLY='digits-*,pal,seed=0')
	@python -m experiments study --profile $(PROFILE) --dry-run $(if $(ONLY),--only '$(ONLY)')

.PHONY: verify
verify: $(ENVIRONMENT) $(PIPELINE)  ## after a change of code that changes no result: keep the results (PROFILE=quick, SAMPLE=5)
	@python -m experiments verify --profile $(PROFILE) --sample $(SAMPLE)

results/%/dvc.yaml: dvc.yaml profiles/%.yaml
	@mkdir -p $(@D) && cp dvc.yaml $@
	@printf 'profile: %s\nroot: ../..\n' $* > $(@D)/params.yaml

.PHONY: omniboard
omniboard: $(ENVIRONMENT)  ## look at all runs in the browser (PORT=9000; MONGO_URL=... for a MongoDB of your own)
	@python -m experiments omniboard --port $(PORT)

# -- checks --------------------------------------------------------------------------------------------------
.PHONY: test test-all test-lowest test-slurm test-omniboard check format wheel-check bench
test: check  ## lint, types and all tests that suit every change
	@python -m pytest --numprocesses 2 --dist worksteal -m 'not large' --quiet

test-all: check  ## the same and the slow tests
	@python -m pytest --numprocesses 2 --dist worksteal --quiet

test-lowest: .venv-lowest/.ready  ## the tests of pal/ with the lowest torch that it allows
	@.venv-lowest/bin/python -m pytest --numprocesses 2 --dist worksteal --quiet tests/pal tests/baselines

.venv-lowest/.ready: pyproject.toml | $(ENVIRONMENT)
	@$(UV) venv --quiet --clear --python '>=3.11,<3.14' .venv-lowest
	@$(UV) pip install --quiet --resolution lowest-direct --python .venv-lowest/bin/python --requirements pyproject.toml
	@$(UV) pip install --quiet --python .venv-lowest/bin/python hypothesis numpy pytest pytest-xdist
	@touch $@

test-slurm: $(ENVIRONMENT)  ## the quick benchmark on a real SLURM controller on this machine, from Debian's packages
	@tests/slurm/with_slurm.sh python -m pytest tests/slurm --quiet

test-omniboard: $(ENVIRONMENT)  ## Omniboard in a real browser, from installing it to looking at a run (needs Node.js and Chromium)
	@cd tools/omniboard && { test -e node_modules/playwright-core || npm ci --no-audit --no-fund --loglevel=error; } && touch node_modules/.ready
	@python -m pytest tests/omniboard --quiet

check: $(ENVIRONMENT)  ## lint and types
	@python -m ruff check --quiet . && python -m ruff format --quiet --check .
	@python -m basedpyright --level error

format: $(ENVIRONMENT)  ## let ruff format the code
	@python -m ruff check --quiet --fix . ; python -m ruff format --quiet .

bench: $(ENVIRONMENT)  ## the benchmarks, one table each
	@for script in benchmarks/*.py; do PYTHONPATH=. python $$script || exit 1; done

wheel-check: $(ENVIRONMENT)  ## build the wheel of pal, test it outside of the repository with the lowest and the newest torch
	@tests/wheel_check.sh python

.PHONY: lock
lock:  ## compile requirements.lock from pyproject.toml
	@uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-emit-index-url --quiet --output-file requirements.lock

.PHONY: help
help:  ## this list
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Every target sets up the environment that it needs; `make help` lists the targets.

# Passed on unexpanded through the environment, so that neither make nor a shell interprets them.
VARIABLES := PROFILE ONLY SLOTS SLURM TIME_LIMIT FORCE SAMPLE PORT PACKAGE
$(foreach name,$(VARIABLES),$(eval override $(name) := $$(value $(name))))
$(foreach name,$(VARIABLES),$(eval export PAL_$(name) := $$($(name))))

.DEFAULT_GOAL := help
SHELL := bash
# If this were set, each of dozens of short processes would recompile torch's modules.
unexport PYTHONDONTWRITEBYTECODE
# Only the locked packages, text in UTF-8, and pip installing uv into its own environment.
unexport PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX
export PYTHONNOUSERSITE := 1
export PYTHONUTF8 := 1
export PIP_USER := 0
export PAL_STARTED := $(if $(TIME_LIMIT),$(shell date +%s))

# -- environment ---------------------------------------------------------------------------------------------
# If a conda environment named `pal` (environment.yml) is active, only the project itself is installed into it.
# Otherwise .venv is created with uv, which pip installs if there is none. The project is installed editable, by the
# locked setuptools, so that `pal` and `experiments` can be imported from anywhere.
EDITABLE := site-packages/__editable__.pal_optimizer-*.pth
ifeq ($(CONDA_DEFAULT_ENV),pal)
  ENVIRONMENT := $(if $(wildcard $(CONDA_PREFIX)/lib/python3*/$(EDITABLE)),,into-conda)
else
  ENVIRONMENT := .venv/.ready
  export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.uv/bin:$(PATH)
  # An environment whose Python no longer exists is created again.
  ifneq ($(shell test -x .venv/bin/python || rm -f .venv/.ready 2>&1),)
    $(error the Python of .venv does not exist for this user, who may not install another: remove .venv or let its owner do so)
  endif
endif
UV := $(or $(shell command -v uv),.uv/bin/uv)
INSTALL := $(UV) pip install --quiet --no-deps --no-build-isolation --editable . --python

# Packages of one's own, each pinned to its version; installed after every change of the lock.
OWN_PACKAGES := requirements.own.txt
INSTALL_OWN := $(UV) pip install --quiet --constraints requirements.lock --no-verify-hashes --python

.venv/.ready: requirements.lock pyproject.toml $(wildcard $(OWN_PACKAGES))
	@echo "Installing the locked environment into .venv (several GB the first time) ..."
	@command -v $(UV) > /dev/null || { python3 -m venv .uv && .uv/bin/pip install --quiet uv; }
	@test -x .venv/bin/python || { rm -rf .venv && $(UV) venv --quiet --relocatable --python '>=3.11,<3.14' .venv; }
	@$(UV) pip sync --quiet --python .venv/bin/python requirements.lock
	@$(INSTALL) .venv/bin/python
	@test ! -s $(OWN_PACKAGES) || $(INSTALL_OWN) .venv/bin/python --requirements $(OWN_PACKAGES)
	@# On all cores, once; otherwise the first processes would each compile what they import.
	@.venv/bin/python -m compileall -q -j 0 .venv/lib/python3*/site-packages > /dev/null 2>&1 || true
	@# A relative path from site-packages to the checkout instead of the absolute one: both can be moved together.
	@for file in .venv/lib/python3*/$(EDITABLE); do echo ../../../.. > "$$file.new" && mv "$$file.new" "$$file"; done
	@touch $@

.PHONY: add
add: $(ENVIRONMENT)  ## add a package to the environment, from PyPI or a folder of your own (PACKAGE=lion-pytorch)
	@test -n "$$PAL_PACKAGE" || { echo 'error: PACKAGE is empty; it must name a package, such as PACKAGE=lion-pytorch' >&2; exit 2; }
	@package=$$PAL_PACKAGE; test ! -d "$$package" || package="--editable $$package"; \
	    name=$$(printf '%s' "$$package" | sed 's/[^A-Za-z0-9._-].*//; s/[._-]/[._-]/g'); \
	    echo "$$package" > $(OWN_PACKAGES).new && \
	    $(INSTALL_OWN) "$$(command -v python)" --requirements $(OWN_PACKAGES).new || { rm $(OWN_PACKAGES).new; exit 2; }; \
	    line=$$($(UV) pip freeze --python "$$(command -v python)" | grep -i "^$$name==") || line=$$package; \
	    { grep -iv "^$$name==" $(OWN_PACKAGES) 2> /dev/null | grep -Fxv -e "$$line"; echo "$$line"; } > $(OWN_PACKAGES).new; \
	    mv $(OWN_PACKAGES).new $(OWN_PACKAGES) && echo "$$line is installed, and noted in $(OWN_PACKAGES)"
	@test ! -e .venv/.ready || touch .venv/.ready

.PHONY: into-conda
into-conda:
	@$(INSTALL) "$$(command -v python)" || echo 'Without it, pal can only be imported from within the checkout.' >&2

# -- pipeline ------------------------------------------------------------------------------------------------
.PHONY: reproduce dry-run power verify
reproduce: $(ENVIRONMENT)  ## execute the remaining runs; write tables, figures, report (PROFILE=quick, SLOTS=n, FORCE=1, TIME_LIMIT=2h)
	@python -m experiments reproduce

dry-run: $(ENVIRONMENT)  ## count the remaining runs and estimate their time (PROFILE=quick, SLURM=file, ONLY='digits-*,pal,seed=0')
	@python -m experiments study --dry-run

power: $(ENVIRONMENT)  ## show which effects the claims can detect with the planned seeds (PROFILE=small)
	@python -m experiments power

verify: $(ENVIRONMENT)  ## after a refactoring: keep cached results that a sample of runs still reproduces (PROFILE=quick, SAMPLE=5)
	@python -m experiments verify

.PHONY: always
results/%/dvc.yaml: export PAL_PROFILE = $*
results/%/dvc.yaml: $(ENVIRONMENT) always
	@python -m experiments pipeline

.PHONY: runs pack omniboard
runs: $(ENVIRONMENT)  ## list runs (PROFILE=small unpacks the committed runs of that profile first)
	@python -m experiments runs

pack: $(ENVIRONMENT)  ## pack the finished runs of a profile, so that they can be committed (PROFILE=quick)
	@python -m experiments pack

omniboard: $(ENVIRONMENT)  ## browse all runs (PROFILE=small unpacks its committed runs first; PORT=9000; MONGO_URL=... for your own MongoDB)
	@python -m experiments omniboard

# -- checks --------------------------------------------------------------------------------------------------
TESTS := --numprocesses 2 --dist loadfile --no-loadscope-reorder --quiet

.PHONY: test test-all test-lowest test-slurm test-omniboard check format wheel-check bench
test: check  ## lint, types and tests: what CI runs
	@python -m pytest $(TESTS) -m 'not large'

test-all: check  ## the same, with the slow tests
	@python -m pytest $(TESTS)

test-lowest: .venv-lowest/.ready  ## test pal/ with the lowest supported torch
	@.venv-lowest/bin/python -m pytest $(TESTS) tests/pal tests/baselines

.venv-lowest/.ready: pyproject.toml | $(ENVIRONMENT)
	@$(UV) venv --quiet --clear --python '>=3.11,<3.14' .venv-lowest
	@$(UV) pip install --quiet --resolution lowest-direct --python .venv-lowest/bin/python --requirements pyproject.toml
	@$(UV) pip install --quiet --python .venv-lowest/bin/python hypothesis numpy pytest pytest-xdist
	@touch $@

test-slurm: $(ENVIRONMENT)  ## run the quick benchmark on a local SLURM controller (Debian packages)
	@tests/slurm/with_slurm.sh python -m pytest tests/slurm --quiet

test-omniboard: $(ENVIRONMENT)  ## test Omniboard in a browser (needs Node.js and Chromium)
	@cd tools/omniboard && { test -e node_modules/playwright-core || npm ci --no-audit --no-fund --loglevel=error; } && touch node_modules/.ready
	@python -m pytest tests/omniboard --quiet

check: $(ENVIRONMENT)  ## lint and type checks only
	@python -m ruff check --quiet . && python -m ruff format --quiet --check .
	@python -m basedpyright --level error

format: $(ENVIRONMENT)  ## format the code and fix what ruff can fix
	@python -m ruff check --quiet --fix . ; python -m ruff format --quiet .

bench: $(ENVIRONMENT)  ## run the benchmarks; each prints one table
	@for script in benchmarks/*.py; do PYTHONPATH=. python $$script || exit 1; done

wheel-check: $(ENVIRONMENT)  ## build the wheel of pal and test it outside of the repository, with the lowest and the newest torch
	@tests/wheel_check.sh python

.PHONY: lock
lock:  ## update requirements.lock from pyproject.toml
	@uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-emit-index-url --quiet --output-file requirements.lock

.PHONY: help
help:  ## list the targets
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

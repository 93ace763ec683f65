# Needs git, make, CA certificates and Python 3.11 or newer; `setup` brings the rest, installing no package.

.DEFAULT_GOAL := help
.PHONY: help setup install demo ui test test-root test-slow test-servers servers lint bench bench-mirror clean force

# The system's own Python first: a version manager's stand-in may be out of other users' reach.
PYTHON ?= $(shell for p in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
BIN := .venv/bin
STAMP := .venv/.setup

# Trust what the machine trusts: a private CA is in its store, not in the list that uv brings along.
export UV_SYSTEM_CERTS ?= 1
export UV_PROJECT_ENVIRONMENT := .venv
unexport VIRTUAL_ENV

# A virtual environment holds absolute paths: one that came along with a copied tree is made anew.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): force
endif

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything into .venv, and the tools beside the system where it lacks them

$(STAMP): uv.lock pyproject.toml backup_orchestration/toolbox/bundles.py backup_orchestration/devlab/needs.py
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found: install python3, or set PYTHON=" >&2; exit 1; }
	@test "$$(cat $@ 2>/dev/null)" = "$(CURDIR)" || rm -rf .venv
	uv=$$("$(PYTHON)" scripts/get_uv.py) && "$$uv" sync --frozen --compile-bytecode --python "$(PYTHON)"
	$(BIN)/homelab backup doctor --devlab --install
	@echo "$(CURDIR)" >$@

install: ## Install into INTO/.venv, a folder of your own: make install INTO=DIRECTORY
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found: install python3, or set PYTHON=" >&2; exit 1; }
	@test -d "$(INTO)" || { echo "Say where: make install INTO=DIRECTORY" >&2; exit 1; }
	uv=$$("$(PYTHON)" scripts/get_uv.py) && UV_PROJECT_ENVIRONMENT="$(INTO)/.venv" \
		"$$uv" sync --frozen --inexact --no-dev --no-editable --python "$(PYTHON)"
	cd "$(INTO)" && .venv/bin/homelab backup doctor --install

demo: setup ## Run the demonstration on the example lab, and leave the lab up
	$(BIN)/homelab devlab demo

ui: setup ## Start the example lab and say where Dagster's page is
	$(BIN)/homelab devlab up

test: setup ## Run the tests, and hold core/ and providers/ to 90 % coverage each
	$(BIN)/pytest -n 3 --dist loadgroup --cov=backup_orchestration --cov-report=
	$(BIN)/coverage report --include='backup_orchestration/core/*' --fail-under=90
	$(BIN)/coverage report --include='backup_orchestration/providers/*' --fail-under=90

test-root: setup ## Run, as root, the few tests that mean something only there
	$(BIN)/pytest -m root backup_orchestration_tests

test-slow: setup ## Run what takes long: kill matrices and the like. SLOW_SAMPLE=N runs N cases of each
	$(BIN)/pytest -n 2 --dist loadgroup backup_orchestration_tests/slow

test-servers: setup servers ## Run the tests that need real S3 servers: MinIO, versitygw, moto and rclone
	$(BIN)/pytest -n 2 --dist loadgroup backup_orchestration_tests/servers

servers: ## Build MinIO, mc and versitygw once, some minutes, into HOMELAB_TEST_SERVERS or the user's cache
	"$(PYTHON)" scripts/build_servers.py

lint: setup ## Check style, types, imports and the shape of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_shape.py

bench: setup ## Measure speed against the bare tools, side by side; BENCH=name runs one of them
	$(BIN)/python -m bench $(BENCH)

bench-mirror: ## The same as `make bench BENCH=mirror`; it needs `make servers`
	$(MAKE) bench BENCH=mirror

clean: ## Remove everything that `setup` and `test` made in this directory
	rm -rf .venv .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

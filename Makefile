# Agent Factory. `make` alone lists what can be made.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test bench lint format base-image demo lock manage clean environment

VENV := .venv/bin
# The first Python that is new enough; none is told in one sentence by `environment`.
ifndef PYTHON
PYTHON := $(shell for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
endif
KIND ?= run
# For the settings, where no server is needed.
LINT_ENV := SECRET_KEY=lint SECRETS_KEYS= REDIS_URL=redis://127.0.0.1:1/0 \
	DATABASE_URL=postgresql://lint@127.0.0.1:1/lint \
	AGENT_DATABASE_URL=postgresql://lint@127.0.0.1:1/lint

export PORT HOST DATA_DIR FACTORY_ADMIN_PASSWORD RUNTIME_DRIVER VERBOSE PUBLIC_URL UPGRADE

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name words; do printf '%-18s %s\n' "$$name" "$$words"; done

environment:
	@test -n "$(PYTHON)" || { \
		echo "No Python 3.11 or newer was found: install one (on Debian: apt install python3 python3-venv)." >&2; \
		exit 1; }
	@$(PYTHON) requirements/environment.py $(KIND)

run: environment ## Start Agent Factory here (PORT, HOST, DATA_DIR, FACTORY_ADMIN_PASSWORD, VERBOSE=1)
	@exec $(VENV)/python -m config.run

manage: ## Run a management command beside `make run`: make manage CMD="changepassword admin"
	@$(MAKE) --no-print-directory environment
	@exec $(VENV)/python -m config.run manage $(CMD)

test: KIND = dev
test: environment ## Lint, then test everything (as root on Debian installs what tests need)
	@.ci/test

lint: KIND = dev
lint: environment ## Check style, types, room borders, templates, settings and dependencies
	@$(LINT_ENV) .ci/lint

format: KIND = dev
format: environment ## Put code and templates into the project's form
	$(VENV)/ruff check --fix --quiet . || true
	$(VENV)/ruff format .
	$(VENV)/djlint --reformat --quiet . || true

bench: KIND = dev
bench: environment ## Measure against the targets and write docs/benchmarks.md
	@$(VENV)/python -m tests.bench

demo: environment ## Do the whole road through the public API (needs `make run` beside it)
	@$(VENV)/python -m factory.demo

base-image: environment ## Build the image that agents are built on
	@$(LINT_ENV) DJANGO_SETTINGS_MODULE=config.settings.local $(VENV)/python manage.py base_image

lock: KIND = dev
lock: environment ## Write the hashed locks from pyproject.toml (UPGRADE=1: newest versions)
	@$(PYTHON) requirements/environment.py lock

clean: ## Remove what was made, but not the data (.data)
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
		.coverage .coverage.* htmlcov staticfiles
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Every target does its own set-up; `make help` lists them. Choose an interpreter with `make PYTHON=python3.12 ...`.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench up down clean lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv from the lock (the other targets do it by themselves)
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing: install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) devstack/bootstrap.py

demo: setup ## a thousand tickets move on a real chain; CRASH=1 kills the worker twice on the way
	@$(BIN)/python -m devstack demo

test: setup ## the tests, on real Postgres, Temporal and anvil
	@$(BIN)/python -m devstack.tools
	@$(BIN)/python -m pytest $(ARGS)

check: setup ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup ## measure speed and memory against a plain script; ARGS='--help' for the sizes
	@$(BIN)/python -m devstack.tools
	@$(BIN)/python -m bench $(ARGS)

up: setup ## start the stack and one worker for development; writes .devstack/env
	@$(BIN)/python -m devstack up

down: setup ## stop the stack and keep its data
	@$(BIN)/python -m devstack down

clean: setup ## stop the stack and delete its data
	@$(BIN)/python -m devstack clean

lock: ## write the lock files anew (for maintainers; needs uv and npm)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra dev --extra devstack pyproject.toml --output-file requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --constraints requirements-dev.lock pyproject.toml --output-file requirements.lock
	npm install --package-lock-only --ignore-scripts
	node -e 'const fs=require("fs"),f="package-lock.json",l=JSON.parse(fs.readFileSync(f));for(const p of Object.values(l.packages))delete p.funding;fs.writeFileSync(f,JSON.stringify(l,null,2)+"\n")'

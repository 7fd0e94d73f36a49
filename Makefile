# GridWatch. `make help` lists the targets; each works from a clean clone with Python >= 3.11, git and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.synced
UV     := UV_PYTHON_DOWNLOADS=never $(BIN)/uv
.DEFAULT_GOAL := help
.PHONY: help setup up check test bench lock clips

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1|/' | column -t -s '|'

setup: $(STAMP) ## build .venv with everything, hashes checked (offline the second time)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gridwatch needs Python >= 3.11; say which with: make PYTHON=python3.11 setup")'
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && grep -A 99 '^uv==' requirements.txt | awk 'NR>1 && /^[a-z]/ {exit} {print}' > $(VENV)/uv.txt && $(BIN)/pip install -q --require-hashes -r $(VENV)/uv.txt; }
	$(UV) pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements.txt
	$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

up: setup ## start everything on this machine: broker, warehouse, worker, cameras, page
	$(BIN)/gridwatch up

check: setup ## ruff, mypy --strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: setup chromium ## every test, against the real broker, warehouse, cameras and browser
	$(BIN)/gridwatch fetch
	$(BIN)/pytest

.PHONY: faults
faults: setup ## kills, freezes, full disks, and builds with one safeguard switched off (half an hour)
	$(BIN)/gridwatch fetch
	$(BIN)/pytest tests/faults -m '' -rP

.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq chromium fonts-noto-cjk; } \
	  || { echo "the page's tests need Chromium: sudo apt-get install chromium fonts-noto-cjk"; exit 1; }

bench: setup ## every benchmark, written into docs/performance.md
	@for name in grids cases timers recovery alerts intake queries sink; do $(BIN)/gridwatch bench $$name --json --write || exit 1; done

lock: $(BIN)/uv ## write requirements.txt and the jar list again from pyproject.toml and jgo.toml
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --all-extras --group dev pyproject.toml -o requirements.txt --custom-compile-command "make lock"
	$(BIN)/gridwatch fetch --lock

clips: setup ## draw the simulator's camera clips again (they are committed)
	$(BIN)/python -m producers.simulator.draw_clips

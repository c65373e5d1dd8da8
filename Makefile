# Two commands for a new machine: `make run` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: run test lint bench gpu-check clean
.DEFAULT_GOAL := run

$(VENV)/.runtime: requirements.txt
	@./tools/install.sh "$(PYTHON)" "$(VENV)" requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	@./tools/install.sh "$(PYTHON)" "$(VENV)" requirements-dev.txt
	@touch $@

run: $(VENV)/.runtime
	$(BIN)/python -m wfgy_triage serve

test: $(VENV)/.dev
	$(BIN)/python tools/ensure_chromium.py
	$(BIN)/python tools/ensure_postgres.py
	$(BIN)/python -m wfgy_triage demo
	$(BIN)/python -m pytest -n auto --maxprocesses 2 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

gpu-check: $(VENV)/.runtime
	$(BIN)/python -m benchmarks.gpu_check $(ARGS)

clean:
	rm -rf $(VENV)

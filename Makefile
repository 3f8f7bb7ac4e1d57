# Every target sets up what it needs by itself: `make` on a fresh Debian 12 is enough.
SHELL := /bin/bash
.DEFAULT_GOAL := help

FAST := not slow and not network and not board and not toolbox
PYTEST := .venv/bin/python -m pytest
# Tests of boards, and of machines, one after the other; all others beside them (tests/side_by_side.py).
# Three, as on two cores each waits for boards, links and time limits for a good part of its time.
SIDE_BY_SIDE := --numprocesses 3

.PHONY: help venv system demo test test-fast lint format bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

venv: ## make .venv with edgekit and its development tools
	@bash scripts/bootstrap.sh

demo: venv ## deploy a small detector to a virtual RK3566 and to this machine
	@bash scripts/system-packages.sh board
	@bash scripts/demo.sh

# Without these packages the tests that need them skip and say so.
system:
	@bash scripts/system-packages.sh board || echo "edgekit: going on; tests of virtual boards will skip" >&2
	@bash scripts/system-packages.sh system-board || echo "edgekit: going on; tests of system boards will skip" >&2
	@bash scripts/system-packages.sh flash || echo "edgekit: going on; tests of disk images will skip" >&2
	@bash scripts/system-packages.sh browser || echo "edgekit: going on; tests of pages and timelines will skip" >&2
	@bash scripts/system-packages.sh native || echo "edgekit: going on; tests of ncnn's program will skip" >&2
	@bash scripts/system-packages.sh camera || echo "edgekit: going on; tests of GStreamer pipelines will skip" >&2

test: venv system lint ## lint, then every test
	@$(PYTEST) $(SIDE_BY_SIDE) $(ARGS)

test-fast: venv ## the tests that need neither network, board nor toolbox
	@$(PYTEST) $(SIDE_BY_SIDE) -m '$(FAST)' $(ARGS)

lint: venv ## style, types, import rules, Python floor
	@bash scripts/lint.sh

format: venv ## bring the style in order
	@.venv/bin/ruff check --fix --quiet . ; .venv/bin/ruff format --quiet .

bench: venv ## measure the figures that the project holds itself to
	@bash scripts/system-packages.sh board
	@bash scripts/system-packages.sh bench
	@.venv/bin/python -m benchmarks $(ARGS)

lock: venv ## make the requirement locks anew
	@bash scripts/lock.sh

clean: ## remove what make and the tools made here (the cache in ~/.cache/edgekit stays)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

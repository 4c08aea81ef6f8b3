# All that a developer or a newcomer runs. Each target may be run again; what is done is not redone.

PYTHON ?= python3
DEMO := .venv/bin
DEV := .venv-dev/bin

# Builds in a venv of their own take their tools from here, too; newer pip reads the second name.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types docs package bench clean

help:  ## Say what can be made.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.done  ## Sort the packaged photos with the packaged model (core only, no torch).
	$(DEMO)/beltsight demo

# What measures time or plays in real time runs by itself, the rest in two processes.
TIMED := tests/line tests/cli/test_line.py tests/test_startup.py tests/test_image_bounds.py

test: .venv-dev/.done  ## Run the tests.
	$(DEV)/pytest $(TIMED)
	$(DEV)/pytest --numprocesses 2 --dist loadfile $(TIMED:%=--ignore=%)

check: lint types docs package test  ## Everything that must pass before a change lands.

lint: .venv-dev/.done  ## Style and form.
	$(DEV)/ruff check
	$(DEV)/ruff format --check

types: .venv-dev/.done  ## Types, strictly.
	$(DEV)/mypy $(wildcard src tests studies benchmarks examples)

docs: .venv-dev/.done  ## Build the documentation; any warning fails.
	$(DEV)/sphinx-build -W -n --keep-going -q -b html docs docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

package: .venv-dev/.done  ## Build the wheel and the source package.
	rm -rf dist
	$(DEV)/python -m build --no-isolation --outdir dist .

# Some of them: make bench BENCH='latency pipeline'. Fail under a floor: OPTIONS=--assert. Figures to be
# published: RESULTS=benchmarks/results
BENCH ?= startup latency pipeline archive answers augmentation check_trashnet finetune store find belt line
RESULTS ?= build/bench
OPTIONS :=

bench: .venv-dev/.done  ## Measure speed: on a quiet machine; the archive alone takes half an hour.
	@mkdir -p $(RESULTS); failed=; for name in $(BENCH); do echo "== benchmarks/$$name.py"; \
	$(DEV)/python benchmarks/$$name.py --out $(RESULTS)/$$name.json $(OPTIONS) || failed="$$failed $$name"; \
	done; if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

clean:  ## Remove everything that make made.
	rm -rf .venv .venv-dev build dist docs/_build beltsight-demo .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# A stamp tells a whole set-up from one that was interrupted, and is older than what changes it.
.venv/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Beltsight needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(DEMO)/pip install --quiet --editable .
	@touch $@

.venv-dev/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Beltsight needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv-dev
	$(DEV)/python -m pip install --quiet --upgrade pip
	$(DEV)/pip install --quiet --editable '.[train,tensorboard,openvino,archive,industrial,postgres]' --group dev
	@touch $@

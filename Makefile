# One command a chore, the same here and in CI. `make demo` and `make test` are the two to know.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-deep setup-test setup-bench demo demo-python demo-all test test-cpp test-r test-no-python test-python test-slow \
  bench check lint format stubs document clean

PYTHON := .venv/bin/python
# A test that skips because the engine is missing would look like a pass: these make it fail.
ENGINE := NOT_CRAN=true ISTHMUS_REQUIRE_ENGINE=1 RETICULATE_PYTHON=$(CURDIR)/.venv/bin/python
# What hangs must fail, and say where, before CI gives up on the whole run.
LIMIT := timeout --foreground 2700
PY_FILES := conftest.py python tests benchmarks tools inst/scripts

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## install what the demo needs (a second run takes seconds)
	@tools/setup.sh demo
setup-deep: ## ... and torch and scvi-tools
	@tools/setup.sh deep
setup-test: ## ... and what the tests, checks and linters need
	@tools/setup.sh test
setup-bench: ## ... and what the benchmarks compare with
	@tools/setup.sh bench

demo: setup ## real counts in R, a GLM in the engine, data frames back
	Rscript inst/scripts/demo.R
demo-python: setup ## the same from Python
	$(PYTHON) inst/scripts/demo.py
demo-all: setup-deep demo ## every model: the same, factors of a panel, ambient RNA, cell-cell interactions
	Rscript inst/scripts/demo-factors.R
	Rscript inst/scripts/demo-interactions.R
	$(PYTHON) inst/scripts/demo-interactions.py
	$(PYTHON) inst/scripts/demo-factors.py
	Rscript inst/scripts/demo-ambient.R
	$(PYTHON) inst/scripts/demo-ambient.py

test: setup-test ## every test but the slow ones: C++, R, R without Python, Python
	@$(MAKE) --no-print-directory test-cpp
	@$(MAKE) --no-print-directory test-r
	@$(MAKE) --no-print-directory test-no-python
	@$(MAKE) --no-print-directory test-python
test-cpp:
	tools/cpp-tests.sh build/cpp-tests
test-r:
	$(ENGINE) $(LIMIT) Rscript tools/r-tests.R
test-no-python:
	tools/no-python.sh
test-python: # last, so that its summary is the last line
	$(ENGINE) $(LIMIT) $(PYTHON) -m pytest

test-slow: setup-test ## calibration, sanitizers, and the Python tests with numpy 2
	tools/cpp-tests.sh build/cpp-tests-asan address,undefined
	tools/cpp-tests.sh build/cpp-tests-tsan thread
	tools/numpy2-tests.sh
	$(ENGINE) $(PYTHON) -m pytest tests/slow

bench: setup-bench ## ours against the peers, side by side in one run
	$(ENGINE) $(PYTHON) benchmarks/run.py

check: setup-test ## R CMD check of what is committed; fails on ERROR or WARNING
	$(ENGINE) $(LIMIT) tools/check.sh

lint: setup-test ## ruff, mypy, clang-format, lintr, and whether man/ is up to date
	$(PYTHON) -m ruff check $(wildcard $(PY_FILES))
	$(PYTHON) -m ruff format --check $(wildcard $(PY_FILES))
	$(PYTHON) -m mypy
	find cpp -name '*.[ch]pp' -print0 | xargs -0 -r clang-format --dry-run -Werror
	Rscript --no-environ tools/lint.R
	Rscript --no-environ tools/check-docs.R

format: setup-test ## let ruff and clang-format write what `make lint` asks for
	$(PYTHON) -m ruff check --fix-only -q $(wildcard $(PY_FILES))
	$(PYTHON) -m ruff format $(wildcard $(PY_FILES))
	find cpp -name '*.[ch]pp' -print0 | xargs -0 -r clang-format -i
stubs: setup-test ## write python/isthmus/_core.pyi from the built module
	$(PYTHON) tools/stubs.py
document: setup-test ## write NAMESPACE and man/ from the roxygen comments
	Rscript --vanilla -e 'roxygen2::roxygenise(load_code = "source")'

clean: ## remove what builds and tests left (not .venv)
	rm -rf build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .setup/engine-*

#!/usr/bin/env bash
# The Python tests with the numpy 2 pins, in a virtual environment of their own (.venv itself follows reticulate).
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-numpy2
[ -x $venv/bin/python ] || .venv/bin/python -c 'import sys; print(sys._base_executable)' | xargs -I{} {} -m venv $venv
$venv/bin/pip install -q -c inst/constraints/current.txt scikit-build-core pybind11
$venv/bin/pip install -q -c inst/constraints/current.txt --no-build-isolation -e '.[test]' -C build-dir=build/numpy2
$venv/bin/python -c 'import numpy; assert numpy.__version__ >= "2", numpy.__version__'
ISTHMUS_REQUIRE_ENGINE=1 $venv/bin/python -m pytest --ignore tests/python/test_symbols.py

#!/usr/bin/env bash
# Builds and runs the C++ tests with warnings as errors.
# usage: tools/cpp-tests.sh BUILD_FOLDER [SANITIZERS]      SANITIZERS: address,undefined or thread
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1 sanitize=${2:-}
cmake -S . -B "$build" -G Ninja -DISTHMUS_BUILD_PYTHON=OFF -DISTHMUS_BUILD_TESTS=ON -DISTHMUS_SANITIZE="$sanitize" >/dev/null
cmake --build "$build" -- --quiet
ctest --test-dir "$build" --output-on-failure --no-tests=error

#!/usr/bin/env bash
# Makes this checkout ready: R and its packages, .venv, the engine, the R package. A second run takes seconds.
# usage: tools/setup.sh [demo|deep|test|bench]
#   demo   what `make demo` needs (the default)
#   deep   and the deep extra: torch and scvi-tools
#   test   and what the tests, the checks and the linters need
#   bench  and the packages that the benchmarks compare with
# Installs system packages when it runs as root on Debian or Ubuntu; otherwise it says what to install and ends with
# status 2. Everything it writes is ignored by git, except that R's default library receives the R package.
set -euo pipefail
cd "$(dirname "$0")/.."
level=${1:-demo}
case $level in demo|deep|test|bench) ;; *) sed -n 2,9p "$0" >&2; exit 2;; esac

apt_demo="g++ cmake ninja-build python3-dev python3-venv fonts-dejavu-core
  r-base-core r-bioc-singlecellexperiment r-cran-ggplot2 r-cran-reticulate r-cran-rlang"
# r-base-dev: rpy2's extension is linked with R's own libraries, and without their headers pip builds it without the extension.
apt_test="clang-format doctest-dev pandoc qpdf r-base-dev
  r-bioc-bioccheck r-bioc-biocparallel r-bioc-delayedarray r-bioc-hdf5array r-bioc-scuttle r-cran-jsonlite r-cran-knitr r-cran-lintr r-cran-mass r-cran-mgcv r-cran-rmarkdown r-cran-roxygen2 r-cran-testthat r-cran-yaml"
apt_bench="r-bioc-deseq2 r-bioc-dropletutils r-bioc-edger r-bioc-glmgampoi"
extras_demo=plot
extras_deep=plot,deep
extras_test=dev,deep

say() { printf 'setup: %s\n' "$*"; }
stop() { printf 'setup: %s\n' "$@" >&2; exit 2; }

apt_packages() {
  echo $apt_demo
  case $level in test|bench) echo $apt_test;; esac
  [ "$level" != bench ] || echo $apt_bench
}

on_debian() { [ -r /etc/os-release ] && grep -qE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release && command -v apt-get >/dev/null; }

missing_packages() {
  local package
  for package in $(apt_packages); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

install_system_packages() {
  local missing
  missing=$(missing_packages | xargs)
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || stop "these packages are missing and need root. Run:" \
    "  sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing" "and then this command again."
  say "installing $missing"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >/dev/null
  # shellcheck disable=SC2086
  apt-get install -y -q --no-install-recommends $missing >.setup/apt.log 2>&1 || { tail -20 .setup/apt.log >&2; exit 1; }
}

# Elsewhere (macOS, other distributions) we do not choose the package manager: name what is not there and stop.
check_system_tools() {
  local tool missing=""
  for tool in R Rscript python3 cmake ninja c++; do command -v "$tool" >/dev/null || missing="$missing $tool"; done
  [ -z "$missing" ] || stop "this is not Debian or Ubuntu, and these are missing:$missing." \
    "Install R (>= 4.2), Python (>= 3.11) built as a shared library, CMake, Ninja and a C++20 compiler, then in R:" \
    "  install.packages(c('BiocManager', 'reticulate', 'rlang', 'ggplot2', 'testthat', 'lintr', 'roxygen2'))" \
    "  BiocManager::install(c('SingleCellExperiment', 'DelayedArray'))" "and run this command again."
}

sha256=$(command -v sha256sum || echo "shasum -a 256") # macOS has only the latter
# The hash of what a step reads, to know whether the step has to run again.
hash_of() {
  local what=$1; shift
  { echo "$what"; { find "$@" -type f -not -name '*.pyc' -print0 2>/dev/null || true; } | LC_ALL=C sort -z | xargs -0 $sha256; } |
    $sha256 | cut -d' ' -f1
}
is_done() { [ "$(cat ".setup/$1" 2>/dev/null)" = "$2" ]; }
mark_done() { echo "$2" >".setup/$1"; }

# Debian's own Python: reticulate needs a shared libpython, and the first python3 on PATH may be pyenv's, which has none.
base_python() { if on_debian; then echo /usr/bin/python3; else command -v python3; fi; }

make_venv() {
  local python; python=$(base_python)
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || stop "$python is older than Python 3.11, which isthmus needs."
  [ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null && return 0
  say "making .venv with $python"
  "$python" -m venv --clear .venv
  rm -f .setup/engine-*
}

constraints() { echo "inst/constraints/$(Rscript --vanilla -e 'source("R/constraints.R"); cat(constraints_file())')"; }

# --use-pep517: scvi-tools needs docrep, which has no pyproject.toml, and Debian's pip warns about the old way.
pip_install() { .venv/bin/pip install -q --disable-pip-version-check --use-pep517 "$@" 2>&1 | { grep -v 'is ignored: it is neither a file nor a directory' || true; }; }

# rpy2 installs without its extension where it could not be built (and pip keeps that wheel): build it again and say why.
build_rpy2() {
  .venv/bin/python -c 'import _rinterface_cffi_api' 2>/dev/null && return 0
  pip_install -c "$1" --no-cache-dir --force-reinstall --no-deps rpy2-rinterface
  .venv/bin/python -c 'import _rinterface_cffi_api' || stop "rpy2 could not be built against this R. On Debian it needs the package r-base-dev;" \
    "elsewhere R with its headers (R CMD config --ldflags names the libraries). Then run this command again."
}

install_engine() {
  local want pins extras stamp=engine-$level done_by other
  case $level in
    demo) extras=$extras_demo done_by="demo deep test";;
    deep) extras=$extras_deep done_by="deep test";;
    *) extras=$extras_test stamp=engine-test done_by=test;;
  esac
  # The names of the Python files count, not their text: an editable install lists the modules that exist.
  want=$(hash_of "$PWD $(.venv/bin/python -V) $(find python -name '*.py' | LC_ALL=C sort)" CMakeLists.txt pyproject.toml DESCRIPTION R/constraints.R inst/constraints cpp)
  # The extension lies in python/isthmus, where reticulate finds it too (CMakeLists.txt says why).
  if compgen -G 'python/isthmus/_core*.so' >/dev/null; then
    for other in $done_by; do if is_done "engine-$other" "$want"; then return 0; fi; done
  fi
  pins=$(constraints)
  say "installing the engine and its Python packages into .venv (pins: $pins)"
  pip_install -c "$pins" pybind11 scikit-build-core
  # torch by its own name first: asked for by another package, pip takes the newest build with its CUDA libraries.
  case $extras in *deep*) pip_install -c "$pins" torch;; esac
  pip_install -c "$pins" --no-build-isolation -e ".[$extras]"
  .venv/bin/python -c 'import isthmus._core'
  [ "$level" = demo ] || [ "$level" = deep ] || build_rpy2 "$pins"
  mark_done $stamp "$want"
}

point_r_at_venv() {
  local line="RETICULATE_PYTHON=$PWD/.venv/bin/python"
  grep -qxF "$line" .Renviron 2>/dev/null && return 0
  { grep -v '^RETICULATE_PYTHON=' .Renviron 2>/dev/null || true; echo "$line"; } >.setup/Renviron
  mv .setup/Renviron .Renviron
}

install_r_package() {
  local want
  want=$(hash_of "$(R --version | head -1)" DESCRIPTION NAMESPACE LICENSE R man inst)
  if is_done r-package "$want" && [ -n "$(cd / && Rscript --vanilla -e 'cat(system.file(package = "isthmus"))')" ]; then return 0; fi
  # Where root may not be, R's first library is not writable: then R wants a library of the user's own to exist.
  (cd / && Rscript --vanilla -e 'if (file.access(.libPaths()[1], 2) != 0) dir.create(Sys.getenv("R_LIBS_USER"), recursive = TRUE, showWarnings = FALSE)')
  say "installing the R package"
  R CMD INSTALL --no-multiarch . >.setup/r-install.log 2>&1 || { cat .setup/r-install.log >&2; exit 1; }
  mark_done r-package "$want"
}

mkdir -p .setup
# Two runs in one checkout wait for each other instead of writing into the same .venv.
if command -v flock >/dev/null; then exec 9>.setup/lock; flock 9; fi
if on_debian; then install_system_packages; else check_system_tools; fi
make_venv
install_engine
point_r_at_venv
install_r_package
say "ready ($level)"

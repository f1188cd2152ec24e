"""The builds for different instruction sets share no symbol that the linker could merge.

An inline or template function that both object files define weakly is kept once. If the AVX2 copy wins, the baseline
build runs AVX2 code and dies on an older processor; if the baseline copy wins, the fast build is slow.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import isthmus._core

ROOT = Path(__file__).parents[2]
WEAK = set("WVwvu")
OURS = ("isthmus::baseline::", "isthmus::avx2::", "isthmus::avx512::")


def symbols(file: Path) -> dict[str, str]:
    """Defined symbols of an object file: demangled name -> type letter of nm."""
    text = subprocess.run(["nm", "-C", "--defined-only", file], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in text.splitlines() if len(line.split(maxsplit=2)) == 3]
    return {name: letter for _, letter, name in rows}


SOURCES = ("isa", "isa_factors")
WIDER = [("isa", "avx2"), ("isa_factors", "avx2"), ("isa", "avx512")]


def object_file(isa: str, source: str = "isa") -> Path:
    found = sorted(ROOT.glob(f"build/cp[0-9]*/CMakeFiles/isthmus_isa_{isa}.dir/cpp/src/{source}.cpp.o"))
    assert found, "no object files under build/: run `make setup`"
    return max(found, key=lambda path: path.stat().st_mtime)


needs_avx2 = pytest.mark.skipif(
    not list(ROOT.glob("build/cp[0-9]*/CMakeFiles/isthmus_isa_avx2.dir")), reason="AVX2 is built on x86-64 only"
)


@needs_avx2
@pytest.mark.parametrize(("source", "isa"), [*WIDER, ("isa", "avx2, avx512")])
def test_builds_share_no_weak_symbol(source: str, isa: str) -> None:
    names = isa.split(", ") if ", " in isa else ["baseline", isa]
    one, other = (symbols(object_file(name, source)) for name in names)
    shared = sorted(name for name in one.keys() & other.keys() if {one[name], other[name]} & WEAK)
    assert shared == []


@pytest.mark.parametrize(
    ("source", "isa"),
    [(source, "baseline") for source in SOURCES] + [pytest.param(*wider, marks=needs_avx2) for wider in WIDER],
)
def test_no_standard_template_is_instantiated_in_a_kernel(isa: str, source: str) -> None:
    """std algorithms and iostreams in a kernel are weak symbols whose name does not tell the builds apart."""
    weak = {name for name, letter in symbols(object_file(isa, source)).items() if letter in WEAK}
    assert sorted(name for name in weak if f"isthmus::{isa}::" not in name) == []


def test_kernels_live_in_their_own_namespaces() -> None:
    names = symbols(Path(isthmus._core.__file__))
    assert any("isthmus::baseline::" in name for name in names)
    if list(ROOT.glob("build/cp[0-9]*/CMakeFiles/isthmus_isa_avx2.dir")):
        assert any("isthmus::avx2::" in name for name in names)
        assert any("isthmus::avx512::" in name for name in names)
    kernels = [name for name in symbols(object_file("baseline")) if name.startswith("isthmus::")]
    assert kernels
    assert [name for name in kernels if not name.startswith(OURS)] == []

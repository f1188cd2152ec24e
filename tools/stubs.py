"""Write python/isthmus/_core.pyi from the compiled module, as pybind11-stubgen sees it.

``make stubs`` writes the file; with ``--check`` it only compares, prints the difference and ends with status 1.
"""

import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

STUB = Path(__file__).parents[1] / "python" / "isthmus" / "_core.pyi"


def generate() -> str:
    """Return the text of the stub of the installed ``isthmus._core``.

    Raises
    ------
    subprocess.CalledProcessError
        If pybind11-stubgen meets a signature that is no valid Python: a C++ type that was bound after its first use.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = ["pybind11_stubgen", "isthmus._core", "--output-dir", folder, "--exit-code"]
        subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
        written = Path(folder, "isthmus", "_core.pyi").read_text(encoding="utf-8")
    # Constants keep their type only: which kernels there are depends on the processor.
    written = re.sub(r"^(?!__all__)(\w+: [\w.\[\], ]+) = .*$", r"\1", written, flags=re.MULTILINE)
    formatter = ["ruff", "format", "--isolated", "--line-length", "120", "--stdin-filename", "_core.pyi", "-"]
    done = subprocess.run([sys.executable, "-m", *formatter], input=written, check=True, capture_output=True, text=True)
    return done.stdout


def check() -> int:
    """Print how the committed stub differs from the generated one; 0 where they agree."""
    committed = STUB.read_text(encoding="utf-8") if STUB.exists() else ""
    difference = difflib.unified_diff(
        committed.splitlines(), generate().splitlines(), "committed", "generated", lineterm=""
    )
    lines = list(difference)
    print(*lines, sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(check())
    STUB.write_text(generate(), encoding="utf-8")
    print(f"wrote {STUB}")

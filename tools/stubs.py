"""Write python/isthmus/_core.pyi from the compiled module, as pybind11-stubgen sees it.

``make stubs`` writes the file; tests/python/test_stubs.py compares what it would write with what is committed.
"""

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
        subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True, text=True)
        written = Path(folder, "isthmus", "_core.pyi").read_text(encoding="utf-8")
    formatter = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "120", "--stdin-filename", "_core.pyi", "-"]
    return subprocess.run(formatter, input=written, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    STUB.write_text(generate(), encoding="utf-8")
    print(f"wrote {STUB}")

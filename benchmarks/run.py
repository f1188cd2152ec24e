"""Every benchmark, one after the other: `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MODELS = (
    "glm",
    "glm_designs",
    "glm_deliverable",
    "glm_stored",
    "glm_replicates",
    "factors",
    "ambient",
    "interactions",
    "bridge",
)

for model in MODELS:
    subprocess.run([sys.executable, str(Path(__file__).with_name(f"{model}.py")), *sys.argv[1:]], check=True)

"""Adds Python's column names to tests/contract/formulas.json, after checking that its values are those of R (see
make_formulas.R)."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus.data.design import design_matrix

PATH = Path("tests/contract/formulas.json")


def cells_of(data: dict) -> pd.DataFrame:
    """The stored table, with its factors."""
    cells = pd.DataFrame(data["columns"])
    for name, levels in data["factors"].items():
        cells[name] = pd.Categorical(cells[name], categories=levels)
    for name, levels in data["ordered"].items():
        cells[name] = pd.Categorical(cells[name], categories=levels, ordered=True)
    return cells


def main() -> int:
    contract = json.loads(PATH.read_text())
    cells = cells_of(contract["data"])
    wrong = []
    for kind in ("agree", "differ"):
        for entry in contract[kind]:
            design = design_matrix(cells, entry["python"])
            entry["names"]["python"] = list(design.columns)
            expected = np.array(entry["columns"], dtype=float).T
            same = expected.shape == design.shape and np.allclose(expected, design, rtol=0, atol=1e-10)
            if same != (kind == "agree"):
                wrong.append(f"{kind}: {entry['python']}: {list(design.columns)} / {entry['names']['r']}")
    # one line per formula: a diff then shows which one changed
    head = {key: contract[key] for key in ("about", "versions", "data")}
    lines = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    for kind in ("agree", "differ"):
        lines.append(f'"{kind}": [\n' + ",\n".join(json.dumps(entry) for entry in contract[kind]) + "\n]")
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print("\n".join(wrong) or "25 agree, and the rest differ as described")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())

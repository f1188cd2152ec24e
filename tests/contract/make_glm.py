"""Write glm.json: counts, models in both languages' words, and the exact fits of tests/reference/simulated.

    python tests/contract/make_glm.py

The R package carries tests/contract but not tests/reference, so the numbers that both languages are held to are
repeated there.
"""

import json
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
SOURCE = HERE.parent / "reference" / "simulated"
GENES = [f"gene{k}" for k in (1, 4, 8, 12)]
DONORS = ["d1", "d2", "d3", "d4"]


def names(language: str) -> dict[str, str]:
    """The reference's name of a term -> the language's."""
    if language == "python":
        return {"Intercept": "Intercept", "condition": "condition[T.b]", "age": "age"} | {
            d: f"donor[{d}]" for d in DONORS
        }
    return {"Intercept": "(Intercept)", "condition": "conditionb", "age": "age"} | {d: f"donor{d}" for d in DONORS}


MODELS = {
    "covariates": {"design": "~ condition + age", "dispersion_design": "~ condition"},
    "donors": {
        "design": "~ condition + donor",
        "dispersion_design": "~ condition + donor",
        "constraints": {"donor": "condition"},
        "dispersion_constraints": {"donor": "condition"},
    },
    "fixed_effect": {
        "design": "~ condition + age",
        "dispersion_design": "~ 1",
        "text": {"python": "condition[T.b] = 0.3", "r": "conditionb = 0.3"},
    },
}


def fitted(exact: pd.DataFrame, name: str) -> list[dict]:
    rows = exact[(exact["fit"] == name) & exact["gene"].isin(GENES)]
    return [
        {
            "gene": row.gene,
            "model": row.model,
            "term": {language: names(language)[row.term] for language in ("python", "r")},
            "estimate": row.estimate,
            "se_expected": row.se_expected,
            "se_observed": row.se_observed,
            "log_likelihood": row.log_likelihood,
        }
        for row in rows.itertuples()
    ]


def main() -> None:
    exact, cells = pd.read_csv(SOURCE / "exact.csv"), pd.read_csv(SOURCE / "cells.csv")
    contract = {
        "about": "Exact maximum likelihood fits that Python and R must reach; written by make_glm.py.",
        "counts": {gene: cells[gene].tolist() for gene in GENES},
        "cells": {name: cells[name].tolist() for name in ("condition", "donor", "age", "depth")},
        "size_factors": "depth",
        "fits": {name: model | {"exact": fitted(exact, name)} for name, model in MODELS.items()},
    }
    text = json.dumps(contract, indent=None, separators=(",", ":"))
    (HERE / "glm.json").write_text(text.replace('{"gene"', '\n{"gene"').replace('"fits"', '\n"fits"') + "\n")


if __name__ == "__main__":
    main()

"""Write interactions.json: twelve cells, their neighbours found by hand, and the columns of every table.

Neighbours and distances are plain arithmetic here: all cells of other types in the same sample, the three nearest.
Run: .venv/bin/python tests/contract/make_interactions.py
"""

import json
from pathlib import Path

import numpy as np

from isthmus import schema

TABLES = {
    "explained_variance": schema.EXPLAINED_VARIANCE,
    "explained_variance_genes": schema.EXPLAINED_VARIANCE_GENES,
    "neighbor_effects": schema.NEIGHBOR_EFFECTS,
    "interaction_matrix": schema.INTERACTION_MATRIX,
    "attention": schema.ATTENTION,
    "attention_by_distance": schema.ATTENTION_BY_DISTANCE,
    "length_scales": schema.LENGTH_SCALES,
    "communication_hubs": schema.COMMUNICATION_HUBS,
    "heads": schema.HEADS,
    "history": schema.INTERACTION_HISTORY,
    "contributions": schema.CONTRIBUTIONS,
}
K = 3


def main() -> None:
    rng = np.random.default_rng(12)
    cells = [f"c{i + 1}" for i in range(12)]
    kinds, samples = list("AABBCCABCABC"), ["s1", "s2"] * 6
    places = np.round(rng.uniform(0, 10, (12, 2)), 2)  # both samples in one square: they overlap
    expression = np.round(rng.gamma(1.0, 1.0, (12, 4)), 2)
    neighbors = []
    for i in range(12):
        others = [j for j in range(12) if kinds[j] != kinds[i] and samples[j] == samples[i]]
        apart = [float(np.sqrt(((places[i] - places[j]) ** 2).sum())) for j in others]
        for near in np.argsort(apart, kind="stable")[:K]:
            neighbors.append([cells[i], cells[others[near]], apart[near]])
    content = {
        "about": "Twelve cells in two samples that overlap. `neighbors`: cell, neighbor, distance, nearest first.",
        "cells": cells,
        "types": kinds,
        "samples": samples,
        "places": places.tolist(),
        "genes": ["g1", "g2", "g3", "g4"],
        "expression": expression.tolist(),
        "n_neighbors": K,
        "neighbors": neighbors,
        "columns": {name: list(columns) for name, columns in TABLES.items()},
    }
    text = json.dumps(content, indent=1)
    (Path(__file__).parent / "interactions.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

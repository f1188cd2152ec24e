"""Take 40 of the 10,101 genes of humanGender: the eight that lead the sex comparison, 24 over all levels, the eight
lowest.

python make_subset.py FOLDER      # FOLDER holds counts.csv.gz and samples.csv of DEGreport's humanGender
"""

import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
Y_LINKED = [
    "ENSG00000129824",
    "ENSG00000114374",
    "ENSG00000067646",
    "ENSG00000198692",
    "ENSG00000183878",
    "ENSG00000012817",
    "ENSG00000067048",
    "ENSG00000165246",
]

folder = Path(sys.argv[1])
counts = pd.read_csv(folder / "counts.csv.gz", index_col=0)
samples = pd.read_csv(folder / "samples.csv", index_col=0)
by_level = [gene for gene in counts.mean(axis=1).sort_values().index if gene not in Y_LINKED]
spread = by_level[200 :: len(by_level) // 24][:24]
counts.loc[Y_LINKED + spread + by_level[:8]].to_csv(HERE / "counts.csv", index_label="gene")
samples[["group", "sizeFactor"]].to_csv(HERE / "samples.csv", index_label="sample")

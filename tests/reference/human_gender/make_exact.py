"""Exact maximum likelihood of `~ group` on the mean, with `~ 1` and `~ group` on the dispersion; about 3 minutes.

python tests/reference/human_gender/make_exact.py
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import exact  # noqa: E402  it lies one folder up

counts = pd.read_csv(HERE / "counts.csv", index_col=0)
samples = pd.read_csv(HERE / "samples.csv", index_col=0)
offset = np.log(samples["sizeFactor"].to_numpy())
one, male = np.ones(len(samples)), (samples["group"] == "Male").to_numpy(float)
group = np.column_stack([one, male])
rows = []
for dispersion_design, z in {"~ 1": one[:, None], "~ group": group}.items():
    for gene, y in counts.iterrows():
        fit = exact.fit(y.to_numpy(float), group, z, offset)
        estimate = np.concatenate([fit.mean, fit.dispersion])
        names = [("mean", "Intercept"), ("mean", "groupMale"), ("dispersion", "Intercept"), ("dispersion", "groupMale")]
        for k, (model, term) in enumerate(names[: len(estimate)]):
            errors = [np.sqrt(cov[k, k]) for cov in (fit.cov_expected, fit.cov_observed)]
            rows.append([dispersion_design, gene, model, term, estimate[k], *errors, fit.log_likelihood])
columns = ["dispersion_design", "gene", "model", "term", "estimate", "se_expected", "se_observed", "log_likelihood"]
pd.DataFrame(rows, columns=columns).to_csv(HERE / "exact.csv", index=False, float_format="%.16g")

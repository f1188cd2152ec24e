"""statsmodels' NegativeBinomial (NB2, joint maximum likelihood, observed information) on the 40 genes.

python tests/reference/human_gender/make_statsmodels.py
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
import statsmodels
from statsmodels.discrete.discrete_model import NegativeBinomial

HERE = Path(__file__).parent
counts = pd.read_csv(HERE / "counts.csv", index_col=0)
samples = pd.read_csv(HERE / "samples.csv", index_col=0)
male = (samples["group"] == "Male").to_numpy(float)
design = np.column_stack([np.ones(len(male)), male])
offset = np.log(samples["sizeFactor"].to_numpy())
rows = []
for gene, y in counts.iterrows():
    model = NegativeBinomial(y.to_numpy(float), design, loglike_method="nb2", offset=offset)
    with warnings.catch_warnings():  # BFGS stops at its own precision and says so; Newton finishes.
        warnings.simplefilter("ignore")
        start = model.fit(method="bfgs", maxiter=2000, gtol=1e-6, disp=False)
    fit = model.fit(start_params=start.params, method="newton", maxiter=100, tol=1e-12, disp=False)
    assert fit.mle_retvals["converged"], gene
    alpha, se_alpha = fit.params[-1], fit.bse[-1]
    # The delta method turns the standard error of alpha into that of log alpha.
    rows.append([gene, *fit.params[:2], np.log(alpha), *fit.bse[:2], se_alpha / alpha, fit.llf])
columns = [
    "gene",
    "Intercept",
    "groupMale",
    "log_alpha",
    "se_Intercept",
    "se_groupMale",
    "se_log_alpha",
    "log_likelihood",
]
pd.DataFrame(rows, columns=columns).to_csv(HERE / "statsmodels.csv", index=False, float_format="%.12g")
print("statsmodels", statsmodels.__version__, "scipy", scipy.__version__, "numpy", np.__version__)

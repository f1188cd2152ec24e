"""Writes counts.csv and optimum.csv: the largest log-likelihood of the ambient mixture, by a general optimiser.

    python tests/reference/ambient/make_mixture.py

scipy's L-BFGS-B from 20 random starts, on softmax profiles and logistic shares, with numerical care of its own and no
code of isthmus. The optimum is a ridge (the level is free): its height is the number, not its place.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

HERE = Path(__file__).parent
rng = np.random.default_rng(5)
N_CELLS, N_GENES, N_CLUSTERS = 30, 12, 2

types = rng.dirichlet(np.full(N_GENES, 0.5), N_CLUSTERS)
ambient = rng.dirichlet(np.full(N_GENES, 2.0))
label = np.arange(N_CELLS) % N_CLUSTERS
rho = rng.uniform(0.02, 0.5, N_CELLS)
mean = (1 - rho)[:, None] * types[label] + rho[:, None] * ambient
counts = np.stack([rng.multinomial(300, m) for m in mean])


def loss(v):
    profile = log_softmax(v[: N_CLUSTERS * N_GENES].reshape(N_CLUSTERS, N_GENES), axis=1)
    share = expit(v[N_CLUSTERS * N_GENES :])[:, None]
    own = np.exp(profile)
    mixed = (1 - share) * own[label] + share * ambient
    slope = counts / mixed  # of the log-likelihood in m
    by_profile = np.zeros_like(own)
    np.add.at(by_profile, label, slope * (1 - share))
    by_logit = own * (by_profile - (own * by_profile).sum(axis=1, keepdims=True))
    by_share = (slope * (ambient - own[label])).sum(axis=1) * (share * (1 - share)).ravel()
    return -float((counts * np.log(mixed)).sum()), -np.concatenate([by_logit.ravel(), by_share])


best = np.inf
for _ in range(20):
    start = rng.normal(0, 1, N_CLUSTERS * N_GENES + N_CELLS)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 20_000, "ftol": 1e-15, "gtol": 1e-8})
    best = min(best, found.fun)

table = pd.DataFrame(counts, columns=[f"gene{g + 1}" for g in range(N_GENES)])
table.insert(0, "label", label)
table.to_csv(HERE / "counts.csv", index=False)
pd.DataFrame({"gene": table.columns[1:], "ambient": ambient}).to_csv(HERE / "profile.csv", index=False)
pd.DataFrame({"log_likelihood": [-best]}).to_csv(HERE / "optimum.csv", index=False)

"""Simulate 240 cells x 12 genes and write their exact maximum likelihood fits under three models; about a minute.

    python tests/reference/simulated/make_exact.py

* `covariates`: mean ~ condition + age, dispersion ~ condition.
* `donors`: mean and dispersion ~ condition + donor, the two donors of a condition summing to zero. The fit is made
  without any constraint, one level per donor; the constrained parameters are averages and differences of those levels.
* `fixed_effect`: mean ~ condition + age with the constraint condition = 0.3, dispersion ~ 1; 0.3 goes into the offset.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import exact  # noqa: E402  it lies one folder up

N_CELLS, N_GENES = 240, 12
DONORS = ["d1", "d2", "d3", "d4"]  # d1, d2 in condition a; d3, d4 in b


def simulate() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(20261121)
    donor = np.repeat(DONORS, N_CELLS // 4)
    cells = pd.DataFrame({"condition": np.where(np.isin(donor, ["d3", "d4"]), "b", "a"), "donor": donor})
    cells["age"] = rng.normal(size=N_CELLS).round(3)
    cells["depth"] = np.exp(rng.normal(0, 0.4, N_CELLS)).round(4)
    in_b = (cells["condition"] == "b").to_numpy(float)[:, None]
    level, effect, slope = np.linspace(1.0, 4.5, N_GENES), rng.normal(0, 0.7, N_GENES), rng.normal(0, 0.2, N_GENES)
    of_donor = rng.normal(0, 0.2, (4, N_GENES))[pd.Categorical(donor).codes]
    eta = level + in_b * effect + cells[["age"]].to_numpy() * slope + of_donor
    alpha = np.exp(rng.normal(-0.7, 0.5, N_GENES) + in_b * rng.normal(0, 0.5, N_GENES))
    mu = cells[["depth"]].to_numpy() * np.exp(eta)
    y = rng.poisson(rng.gamma(1 / alpha, alpha * mu))
    return cells, pd.DataFrame(y, columns=[f"gene{k + 1}" for k in range(N_GENES)])


def tidy(
    name: str, gene: str, terms: tuple[list[str], list[str]], estimate, cov_expected, cov_observed, value
) -> list[list]:
    labels = [("mean", t) for t in terms[0]] + [("dispersion", t) for t in terms[1]]
    errors = [np.sqrt(np.diag(cov)) for cov in (cov_expected, cov_observed)]
    return [[name, gene, *label, estimate[k], errors[0][k], errors[1][k], value] for k, label in enumerate(labels)]


def main() -> None:
    cells, counts = simulate()
    one, in_b = np.ones(N_CELLS), (cells["condition"] == "b").to_numpy(float)
    age, offset = cells["age"].to_numpy(), np.log(cells["depth"].to_numpy())
    levels = np.column_stack([cells["donor"] == d for d in DONORS]).astype(float)
    # Intercept = mean level of a, condition = difference of the mean levels, donor = its level less that of its
    # condition.
    to_terms = np.array(
        [
            [0.5, 0.5, 0, 0],
            [-0.5, -0.5, 0.5, 0.5],
            [0.5, -0.5, 0, 0],
            [-0.5, 0.5, 0, 0],
            [0, 0, 0.5, -0.5],
            [0, 0, -0.5, 0.5],
        ]
    )
    donor_terms = ["Intercept", "condition", *DONORS]
    rows = []
    for gene in counts:
        y = counts[gene].to_numpy(float)
        fit = exact.fit(y, np.column_stack([one, in_b, age]), np.column_stack([one, in_b]), offset)
        terms = (["Intercept", "condition", "age"], ["Intercept", "condition"])
        rows += tidy(
            "covariates",
            gene,
            terms,
            np.r_[fit.mean, fit.dispersion],
            fit.cov_expected,
            fit.cov_observed,
            fit.log_likelihood,
        )
        fit = exact.fit(y, levels, levels, offset)
        both = np.kron(np.eye(2), to_terms)
        estimate, covs = (
            both @ np.r_[fit.mean, fit.dispersion],
            [both @ c @ both.T for c in (fit.cov_expected, fit.cov_observed)],
        )
        rows += tidy("donors", gene, (donor_terms, donor_terms), estimate, *covs, fit.log_likelihood)
        fit = exact.fit(y, np.column_stack([one, age]), one[:, None], offset + 0.3 * in_b)
        terms = (["Intercept", "age"], ["Intercept"])
        rows += tidy(
            "fixed_effect",
            gene,
            terms,
            np.r_[fit.mean, fit.dispersion],
            fit.cov_expected,
            fit.cov_observed,
            fit.log_likelihood,
        )
    columns = ["fit", "gene", "model", "term", "estimate", "se_expected", "se_observed", "log_likelihood"]
    pd.DataFrame(rows, columns=columns).to_csv(HERE / "exact.csv", index=False, float_format="%.16g")
    counts.join(cells).to_csv(HERE / "cells.csv", index=False)


if __name__ == "__main__":
    main()

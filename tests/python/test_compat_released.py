"""What the last release of diffxpy gets wrong (0.7.4): here the right answers, each by an argument of its own."""

import numpy as np
import pandas as pd
import patsy
import pytest
from scipy import sparse, stats

import isthmus
import isthmus.compat.diffxpy as de
from isthmus.messages import collected

N = 200


@pytest.fixture(scope="module")
def adata():
    """Poisson, separated, one count, strongly different, and plain genes in two groups."""
    rng = np.random.default_rng(1)
    group = np.repeat([0, 1], N // 2)
    counts = np.zeros((N, 6))
    counts[:, 0] = np.tile([3, 4, 5, 4], N // 4)  # less variance than Poisson: r has no finite estimate
    counts[:, 1] = np.where(group == 1, rng.poisson(4, N), 0)
    counts[-1, 2] = 1
    counts[:, 3] = rng.poisson(np.where(group == 1, 6.0, 2.0))
    counts[:, 4:] = rng.negative_binomial(2, 0.2, (N, 2))
    data = isthmus.simulate_counts(N, 6, seed=0)
    data.X = sparse.csr_matrix(counts)
    data.obs["group"] = np.where(group == 1, "b", "a")
    return data


def test_a_fold_change_is_a_logarithm_to_base_two(adata):
    """0.7.4 gives the natural one under that name."""
    table = de.test.wald(adata, "group", formula_loc="~ 1 + group").summary()
    known = [0, 3, 4, 5]
    counts, second = adata.X.toarray()[:, known], (adata.obs["group"] == "b").to_numpy()
    wanted = np.log2(counts[second].mean(axis=0) / counts[~second].mean(axis=0))
    np.testing.assert_allclose(table["log2fc"][known], wanted, rtol=1e-6, atol=1e-10)


def test_the_likelihood_at_the_poisson_limit_is_poissons(adata):
    """0.7.4 loses it to cancellation, up to 0.000."""
    estim = de.fit.model(adata, "~ 1 + group")
    y, group = adata.X.toarray()[:, 0], adata.obs["group"].to_numpy()
    means = pd.Series(y).groupby(group).transform("mean")
    assert estim.log_likelihood[0] == pytest.approx(stats.poisson.logpmf(y, means).sum(), abs=1e-6)


def test_separated_genes_have_no_certain_difference(adata):
    """0.7.4: p = 0 with a standard error of 2e-162, for one count in one cell too."""
    table = de.test.wald(adata, "group", formula_loc="~ 1 + group").summary()
    assert np.isinf(table["log2fc"][[1, 2]]).all()
    assert np.isnan(table["coef_sd"][[1, 2]]).all()
    assert table["pval"][2] == pytest.approx(stats.chi2.sf(2 * np.log(2), 1), rel=1e-4)
    assert 0 < table["pval"][1] < 1e-20


def test_small_p_values_are_not_zero(adata):
    """1 - cdf is 0 from z = 8.3 on."""
    table = de.test.wald(adata, "group", formula_loc="~ 1 + group").summary()
    z = table["coef_mle"][3] / table["coef_sd"][3]
    assert z > 9
    assert table["pval"][3] == pytest.approx(2 * stats.norm.sf(z), rel=1e-10)
    assert table["pval"][3] > 0


@pytest.mark.parametrize("kind", ["matrix", "dataframe"])
def test_designs_of_patsy_need_no_constraints(adata, kind):
    """0.7.4 takes a DesignMatrix with constraints only."""
    design = patsy.dmatrix("~ group", adata.obs, return_type=kind)
    estim = de.fit.model(adata, dmat_loc=design)
    np.testing.assert_allclose(estim.a_var, de.fit.model(adata, "~ 1 + group").a_var, rtol=1e-12)


def test_a_size_factor_divides_the_mean(adata):
    """0.7.4 adds it to the logarithm as it is."""
    factors = np.resize([0.5, 2.0], N)
    estim = de.fit.model(adata, "~ 1", size_factors=factors)
    y = adata.X.toarray()[:, 0]
    poisson = isthmus.fit_glm(adata, "~ 1", size_factors=factors, noise_model="poisson")
    assert poisson.coef().iloc[0, 0] == pytest.approx(np.log(y.sum() / factors.sum()), rel=1e-10)
    np.testing.assert_allclose(estim.model.location[:, 0] / factors, np.exp(estim.a_var[0, 0]), rtol=1e-12)


def test_a_call_leaves_nothing_for_the_next(adata):
    """0.7.4 keeps ``train_args`` of one call in the next; summaries of all pairs at once are None."""
    with collected():
        first = de.test.wald(adata, "group", formula_loc="~ 1 + group").summary()
        de.test.wald(adata, "group", formula_loc="~ 1 + group", batch_size=(100, 2), quick_scale=True)
    again = de.test.wald(adata, "group", formula_loc="~ 1 + group").summary()
    pd.testing.assert_frame_equal(first, again)
    whole = de.test.pairwise(adata, grouping="group", test="t-test", lazy=False).summary()
    assert whole is not None
    assert len(whole) == 6

"""simulate_counts draws from the model it says, keeps the truth, and depends on its seed alone."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from isthmus.errors import InputError
from isthmus.testing import simulate_counts


def test_shape_and_truth():
    adata = simulate_counts(seed=0)
    assert adata.shape == (2000, 100)
    assert sparse.isspmatrix_csr(adata.X) or isinstance(adata.X, sparse.csr_array)
    assert adata.X.dtype == np.float64
    assert np.array_equal(adata.X.data, np.round(adata.X.data))
    assert adata.varm["coef"].shape == adata.varm["dispersion_coef"].shape == (100, 1)
    assert list(adata.obs["size_factors"].unique()) == [1.0]
    assert list(adata.uns["simulate_counts"]["mean_names"]) == ["Intercept"]
    assert (adata.obs_names[0], adata.var_names[-1]) == ("cell1", "gene100")


def test_default_parameters_follow_batchglm():
    design = np.column_stack([np.ones(4), np.repeat([0, 1], 2), np.tile([0, 1], 2)])
    adata = simulate_counts(4, 20_000, design=design, dispersion_design=design, seed=1)
    mean, fold = np.exp(adata.varm["coef"][:, 0]), np.exp(adata.varm["coef"][:, 1:])
    # U(1, 10000) and U(0.5, 2): mean and sd of a uniform, each to five standard errors
    assert abs(mean.mean() - 5000.5) < 5 * 9999 / np.sqrt(12 * 20_000)
    assert mean.min() >= 1
    assert mean.max() <= 10_000
    assert abs(fold.mean() - 1.25) < 5 * 1.5 / np.sqrt(12 * 40_000)
    assert fold.min() >= 0.5
    assert fold.max() <= 2
    r, r_fold = np.exp(-adata.varm["dispersion_coef"][:, 0]), np.exp(-adata.varm["dispersion_coef"][:, 1:])
    values, number = np.unique(np.round(r, 9), return_counts=True)
    np.testing.assert_array_equal(values, np.arange(1, 11))
    # rounding gives the ends half the weight of the others
    np.testing.assert_allclose(number / 20_000, np.r_[0.5, np.ones(8), 0.5] / 9, atol=0.012)
    assert abs(r_fold.mean() - 1.25) < 5 * 1.5 / np.sqrt(12 * 40_000)


def test_counts_have_the_moments_of_the_model():
    n = 40_000
    design = np.column_stack([np.ones(n), np.arange(n) % 2])
    factors = np.where(np.arange(n) < n // 2, 0.5, 2.0)
    adata = simulate_counts(
        design=design,
        dispersion_design=design,
        coef=[[1.0, 2.0, 0.0], [0.5, -1.0, 0.0]],
        dispersion_coef=[[-1.0, 0.0, -np.log(2)], [1.0, -0.5, 0.0]],
        size_factors=factors,
        seed=2,
    )
    assert adata.shape == (n, 3)
    counts = adata.X.toarray()
    mean = np.exp(design @ adata.varm["coef"].T) * factors[:, None]
    alpha = np.exp(design @ adata.varm["dispersion_coef"].T)
    for group in (0, 1):
        for depth in (0.5, 2.0):
            cells = (design[:, 1] == group) & (factors == depth)
            mu, a = mean[cells][0], alpha[cells][0]
            variance = mu + a * mu**2
            np.testing.assert_allclose(
                counts[cells].mean(axis=0), mu, atol=0, rtol=5 * np.max(np.sqrt(variance / cells.sum()) / mu)
            )
            np.testing.assert_allclose(counts[cells].var(axis=0), variance, rtol=0.15)


def test_no_dispersion_gives_poisson_counts():
    adata = simulate_counts(50_000, 1, coef=[2.0], dispersion_coef=[-np.inf], seed=3)
    counts = adata.X.toarray()
    assert abs(counts.mean() / np.exp(2) - 1) < 0.01
    assert abs(counts.var() / counts.mean() - 1) < 0.03


def test_the_seed_is_all_that_matters():
    state = np.random.get_state()
    first, again, other = (simulate_counts(20, 5, seed=seed) for seed in (7, 7, 8))
    fresh = [simulate_counts(20, 5) for _ in range(2)]
    assert (first.X != again.X).nnz == 0
    np.testing.assert_array_equal(first.varm["coef"], again.varm["coef"])
    assert (first.X != other.X).nnz > 0
    assert (fresh[0].X != fresh[1].X).nnz > 0
    assert fresh[0].uns["simulate_counts"]["seed"] == "fresh"
    now = np.random.get_state()
    assert now[0] == state[0]
    np.testing.assert_array_equal(now[1], state[1])
    assert now[2:] == state[2:]


def test_designs_keep_their_names_and_set_the_size():
    design = pd.DataFrame({"Intercept": 1.0, "b": [0.0, 1.0, 1.0]})
    adata = simulate_counts(n_genes=4, design=design, dispersion_design="~ 1", seed=0)
    assert adata.shape == (3, 4)
    assert list(adata.uns["simulate_counts"]["mean_names"]) == ["Intercept", "b"]
    np.testing.assert_array_equal(adata.obsm["design"], design)
    assert adata.obsm["dispersion_design"].shape == (3, 1)
    assert simulate_counts(design=design, coef=np.zeros((2, 6)), seed=0).shape == (3, 6)
    assert simulate_counts(5.0, 2.0, seed=0).shape == (5, 2)


def test_it_survives_a_file(tmp_path):
    adata = simulate_counts(10, 3, seed=0)
    adata.write_h5ad(tmp_path / "a.h5ad")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"n_cells": 0}, r"`n_cells` must be a whole number, 1 or more; got 0"),
        ({"n_genes": 2.5}, r"`n_genes` must be a whole number, 1 or more; got 2.5"),
        ({"n_cells": "5"}, r"`n_cells` must be a whole number"),
        ({"n_cells": True}, r"`n_cells` must be a whole number"),
        ({"n_cells": 5, "design": np.ones((4, 1))}, r"`design` must have one row per cell \(n_cells = 5\); got 4 rows"),
        (
            {"n_cells": 5, "design": "~ condition"},
            r"`design` must be a matrix.*got '~ condition'. Make it with design_matrix",
        ),
        (
            {"n_cells": 5, "size_factors": np.zeros(5)},
            r"`size_factors` must be one finite positive number per cell.*5 val",
        ),
        ({"seed": "a"}, r"`seed` must be a whole number, 0 or more; got 'a'"),
        ({"seed": -1}, r"`seed` must be a whole number, 0 or more; got -1"),
        ({"n_cells": 5, "size_factors": np.ones(4)}, r"got 4\."),
        (
            {"n_cells": 5, "n_genes": 3, "coef": np.zeros((1, 4))},
            r"`coef` must be coefficients x genes \(1 x 3\).*got 1 x 4",
        ),
        ({"n_cells": 5, "n_genes": 3, "coef": 1.0}, r"got a single number"),
        ({"n_cells": 5, "n_genes": 3, "coef": [np.nan]}, r"`coef` must not be missing; got 3 NaN"),
        ({"n_cells": 5, "n_genes": 3, "coef": [50.0]}, r"must give means up to 1e\+09; got 5.18e\+21"),
        ({"n_cells": 5, "n_genes": 3, "dispersion_coef": [np.inf]}, r"must give finite dispersions"),
    ],
)
def test_arguments_that_do_not_fit(arguments, text):
    with pytest.raises(InputError, match=text):
        simulate_counts(**({"seed": 0} | arguments))

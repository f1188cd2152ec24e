"""Replicates: sandwich variances against brute force with whole hat matrices, levels on donors, sums, and warnings."""

from __future__ import annotations

import tracemalloc
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from glm_cases import nb_counts
from scipy.stats import f as f_law
from scipy.stats import t as t_law

import isthmus
from isthmus.errors import InputError, ReplicateWarning
from isthmus.glm.hypothesis import read_hypothesis
from isthmus.glm.replicates import Replicates, check_contrast
from isthmus.glm.weights import unseen_directions
from isthmus.messages import collected


def donors(per_arm, cells=60, n_genes=400, sd=0.2, seed=1):
    """Null counts with a random effect per donor and gene, as ../shared's bench_data.donors_null."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(2 * per_arm), cells)
    mu = 2 * np.exp(rng.normal(0, sd, (2 * per_arm, n_genes)))[donor]
    obs = pd.DataFrame(
        {
            "donor": pd.Categorical([f"d{i:02d}" for i in donor]),
            "arm": pd.Categorical(np.where(donor < per_arm, "a", "b")),
            "age": rng.normal(size=len(donor)),
        },
        index=[f"cell{i}" for i in range(len(donor))],
    )
    return ad.AnnData(sp.csr_matrix(nb_counts(rng, mu, 0.3)), obs=obs)


@pytest.fixture(scope="module")
def data():
    return donors(4, cells=15, n_genes=6)


@pytest.fixture(scope="module")
def fit(data):
    return isthmus.fit_glm(data, "~ arm + age", size_factors=None)


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReplicateWarning)
        return isthmus.test_glm(*args, **options)


def brute_force(fit, data, gene, rows, kind):
    """Variance and influences' covariance with the hat matrix of all cells written out."""
    y, x = data.X.toarray()[:, gene], np.asarray(fit.design_loc)
    mu, alpha = fit.predict().to_numpy()[:, gene], fit.dispersion[gene]
    scaled = x * np.sqrt(mu / (1 + alpha * mu))[:, None]
    residual = (y - mu) / np.sqrt(mu + alpha * mu**2)
    bread = np.linalg.inv(scaled.T @ scaled)
    left = np.eye(len(y)) - scaled @ bread @ scaled.T
    weights = np.zeros((8, len(y), len(rows)))
    for c in range(8):
        own = np.flatnonzero(data.obs["donor"].cat.codes == c)
        adjust = np.eye(len(own))
        if kind == "CR2":
            values, axes = np.linalg.eigh(left[np.ix_(own, own)])
            adjust = axes @ np.diag(values**-0.5) @ axes.T
        weights[c, own] = adjust @ scaled[own] @ bread @ rows.T
    influence = np.einsum("cik,i->ck", weights, residual)
    variance = influence.T @ influence * (8 / 7 if kind == "CR1" else 1)
    return variance, np.einsum("cik,ij,djl->ckdl", weights, left, weights)


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2"])
@pytest.mark.parametrize("coef", ["arm[T.b]", "age"])
def test_variance_and_degrees_of_freedom(fit, data, kind, coef):
    table = quietly(fit, coef, replicate="donor", sandwich=kind, data=data)
    row = (np.array(fit.mean_model.names) == coef).astype(float)[None]
    for gene in range(3):
        variance, g = brute_force(fit, data, gene, row, kind)
        assert table["se"][gene] == pytest.approx(np.sqrt(variance[0, 0]), rel=1e-6)
        g = g[:, 0, :, 0]
        assert table["df_resid"][gene] == pytest.approx(np.trace(g) ** 2 / (g**2).sum(), rel=1e-6)
    wald = table["estimate"] / table["se"]
    np.testing.assert_allclose(table["stat"], wald)
    np.testing.assert_allclose(table["pval"], 2 * t_law.sf(np.abs(wald), table["df_resid"]), rtol=1e-9)


def test_several_rows_are_an_approximate_hotelling_test(fit, data):
    table = quietly(fit, reduced="~ 1", replicate="donor", data=data)
    rows = np.eye(3)[1:]
    for gene in range(3):
        variance, g = brute_force(fit, data, gene, rows, "CR2")
        values, axes = np.linalg.eigh(np.einsum("ckcl->kl", g))
        white = axes / np.sqrt(values)
        g = np.einsum("ks,ckdl,lt->csdt", white, g, white)
        spread = sum(
            (g[:, s, :, s] * g[:, t, :, t]).sum() + (g[:, s, :, t] * g[:, t, :, s]).sum()
            for s in range(2)
            for t in range(2)
        )
        eta = 2 * 3 / spread
        estimate = fit.mean_model.coef[1:, gene]
        stat = (eta - 1) / (2 * eta) * estimate @ np.linalg.solve(variance, estimate)
        assert table["stat"][gene] == pytest.approx(stat, rel=1e-6)
        assert table["df_resid"][gene] == pytest.approx(eta - 1, rel=1e-6)
        assert table["pval"][gene] == pytest.approx(f_law.sf(stat, 2, eta - 1), rel=1e-6)


def test_balanced_arms_leave_their_donors_less_two(data):
    fit = isthmus.fit_glm(data, "~ arm", size_factors=None)
    table = quietly(fit, "arm[T.b]", replicate="donor", data=data)
    np.testing.assert_allclose(table["df_resid"], 6, atol=0.15)  # 6 but for the arms' different weights


def test_replicates_of_one_cell_are_hc_variances(data):
    """CR0 with a cluster a cell is White's (1980) variance."""
    fit = isthmus.fit_glm(data, "~ age", size_factors=None)
    table = quietly(fit, "age", replicate=np.arange(120).astype(str), sandwich="CR0", data=data)
    x, y = np.asarray(fit.design_loc), data.X.toarray()
    mu, alpha = fit.predict().to_numpy(), fit.dispersion
    bread = np.linalg.inv(np.einsum("nf,ng,nh->gfh", x, mu / (1 + alpha * mu), x))
    score = ((y - mu) / (1 + alpha * mu))[:, :, None] * x[:, None, :]
    white = bread @ np.einsum("ngf,ngh->gfh", score, score) @ bread
    np.testing.assert_allclose(table["se"], np.sqrt(white[:, 1, 1]), rtol=1e-6)


def test_labels_by_name_by_vector_and_by_series_agree(fit, data):
    by_name = quietly(fit, "arm[T.b]", replicate="donor", data=data)
    vector = quietly(fit, "arm[T.b]", replicate=data.obs["donor"].to_numpy(), data=data)
    series = quietly(fit, "arm[T.b]", replicate=data.obs["donor"].iloc[::-1], data=data)
    pd.testing.assert_frame_equal(by_name, vector)
    pd.testing.assert_frame_equal(by_name, series)


@pytest.mark.parametrize("per_arm", [2, 4, 8])
def test_levels_between_donors(per_arm):
    """Plain Wald rejects 30 % and more, CR2 with Satterthwaite and qlf on sums what they should."""
    data = donors(per_arm)
    fit = isthmus.fit_glm(data, "~ arm", size_factors=None)
    assert (quietly(fit, "arm[T.b]")["pval"] < 0.05).mean() > 0.2
    assert 0.02 < (quietly(fit, "arm[T.b]", replicate="donor", data=data)["pval"] < 0.05).mean() < 0.085
    sums = isthmus.pseudobulk(data, ["donor", "arm"])
    with collected():
        small = isthmus.fit_glm(sums, "~ arm")
    assert 0.02 < (isthmus.test_glm(small, "arm[T.b]", method="qlf", data=sums)["pval"] < 0.05).mean() < 0.085


def test_score_with_replicates_does_not_reject_too_often():
    """The residuals of the null fit hold the effect, so with few donors the test is conservative."""
    data = donors(8)
    fit = isthmus.fit_glm(data, "~ arm", size_factors=None)
    table = quietly(fit, "arm[T.b]", method="score", replicate="donor", data=data)
    assert 0.005 < (table["pval"] < 0.05).mean() < 0.07
    clear = table["stat"].abs() > 0.5
    assert (np.sign(table["stat"]) == np.sign(table["estimate"]))[clear].all()


def test_a_separated_contrast_has_no_robust_test(data):
    counts = data.X.toarray()
    counts[(data.obs["arm"] == "b").to_numpy(), 0] = 0
    fit = isthmus.fit_glm(counts, "~ arm", cell_data=data.obs, size_factors=None)
    table = quietly(fit, "arm[T.b]", replicate=data.obs["donor"], data=counts)
    assert table["status"][0] == "separated"
    assert table.loc[0, ["se", "pval"]].isna().all()
    assert table["estimate"][0] == -np.inf


# ---- rules and warnings


def test_effects_that_donors_absorb_cannot_be_tested(data):
    fit = isthmus.fit_glm(data, "~ arm + donor + age", constraints={"donor": "arm"}, size_factors=None)
    with pytest.raises(InputError, match=r"`replicate` needs a design that leaves variance.*'arm\[T\.b\]' lies in"):
        isthmus.test_glm(fit, "arm[T.b]", replicate="donor", data=data)
    within = quietly(fit, "age", replicate="donor", data=data)  # varies within donors
    assert within["pval"].notna().all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "lrt"}, r'`replicate` is for method="wald" and "score"; got "lrt".*pseudobulk'),
        ({"method": "qlf"}, r"`method` = .qlf. needs at least 50 genes"),
        ({"information": "observed"}, "`replicate` takes the expected information"),
        ({"replicate": "doner"}, r"`replicate` must be a column.*'doner'\. Did you mean `donor`"),
        ({"replicate": ["d"] * 5}, r"`replicate` must be a column's name or one label per cell \(120\); got 5"),
        ({"replicate": ["d"] * 120}, r"`replicate` must name at least two replicates; got one, 'd'"),
        ({"replicate": [None] + ["d"] * 119}, r"`replicate` must not be missing.*1 cell"),
        ({"sandwich": "CR3"}, r"`sandwich` must be one of CR0, CR1, CR2; got 'CR3'"),
        ({"coef": "Intercept", "model": "dispersion"}, r"`replicate` is for tests of the mean model"),
    ],
)
def test_wrong_arguments(fit, data, options, match):
    with pytest.raises(InputError, match=f"(?s){match}"):
        isthmus.test_glm(fit, **({"coef": "arm[T.b]", "replicate": "donor"} | options), data=data)


def test_few_and_uneven_replicates_are_warned_of():
    few = donors(3, n_genes=3)
    fit = isthmus.fit_glm(few, "~ arm", size_factors=None)
    with pytest.warns(ReplicateWarning, match="3 replicates in an arm of this contrast; below 4"):
        isthmus.test_glm(fit, "arm[T.b]", replicate="donor", data=few)
    data = donors(4, n_genes=3)
    kept = np.r_[0:60, [i for d in range(1, 8) for i in range(60 * d, 60 * d + 10)]]
    uneven = data[kept].copy()
    fit = isthmus.fit_glm(uneven, "~ arm", size_factors=None)
    with pytest.warns(ReplicateWarning, match=r"'d00' has 60 cells, over 3 times the median of 10"):
        isthmus.test_glm(fit, "arm[T.b]", replicate="donor", data=uneven)


def test_cells_taken_for_replicates_are_warned_of_once():
    data = donors(4, n_genes=3)
    fit = isthmus.fit_glm(data, "~ arm + age", size_factors=None)
    with pytest.warns(ReplicateWarning, match=r"'arm' is constant within 'donor'.*replicate='donor'"):
        isthmus.test_glm(fit, "arm[T.b]")
    isthmus.test_glm(fit, "arm[T.b]")  # warnings are errors here: the second test is quiet
    isthmus.test_glm(isthmus.fit_glm(data, "~ arm + age", size_factors=None), "age")


# ---- sums


def test_pseudobulk_sums(data):
    data = data.copy()
    data.obs["batch"] = np.where(data.obs["donor"].cat.codes % 2 == 0, "x", "y")
    sums = isthmus.pseudobulk(data, ["donor", "arm"])
    assert list(sums.obs_names[:2]) == ["d00_a", "d01_a"]
    expected = pd.DataFrame(data.X.toarray()).groupby(data.obs["donor"].to_numpy()).sum().to_numpy()
    np.testing.assert_array_equal(sums.X.toarray(), expected)
    assert sums.obs["n_cells"].tolist() == [15] * 8
    np.testing.assert_array_equal(sums.obs["library_size"], expected.sum(axis=1))
    assert sums.obs["batch"].tolist() == ["x", "y"] * 4  # constant within donors; age is not
    assert "age" not in sums.obs
    assert list(sums.var_names) == list(data.var_names)


def test_pseudobulk_leaves_small_groups_out(data):
    part = data[np.r_[0:15, 15:24, 60:75]].copy()
    with collected() as messages:
        sums = isthmus.pseudobulk(part, "donor")
    assert sums.obs_names.tolist() == ["d00", "d04"]
    assert list(sums.obs["donor"].cat.categories) == ["d00", "d04"]
    assert any("1 group with fewer than 10 cells left out ('d01')" in text for text in messages)
    assert isthmus.pseudobulk(part, "donor", min_cells=9).n_obs == 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"by": "doner"}, r"`by` must name columns.*'doner'\. Did you mean `donor`"),
        ({"by": []}, "`by` must name one or more columns"),
        ({"by": "donor", "min_cells": 16}, "`min_cells` must leave a group; the largest has 15 cells, got 16"),
        ({"by": "donor", "min_cells": 0}, "`min_cells` must be a whole number of at least 1; got 0"),
        ({"by": "part"}, "`by` must not be missing; column 'part' has 1 missing value"),
    ],
)
def test_pseudobulk_rules(data, options, match):
    data = data.copy()
    data.obs["part"] = [None] + ["x"] * 119
    with pytest.raises(InputError, match=match):
        isthmus.pseudobulk(data, **options)


def test_many_cells_need_no_matrix_of_cells_by_cells():
    """20,000 cells squared are 3.2 GB."""
    n = 20_000
    rng = np.random.default_rng(0)
    cells = pd.DataFrame({"condition": np.repeat(["a", "b"], n // 2), "donor": np.repeat(np.arange(16), n // 16)})
    fit = isthmus.fit_glm(rng.poisson(1.0, (n, 2)).astype(float), "~ condition", cell_data=cells, size_factors=None)
    asked = read_hypothesis(fit, "mean", coef="condition[T.b]", factor=None, contrast=None, reduced=None)
    weights = np.ones((n, 2))
    weights[:4, 1] = 0
    tracemalloc.start()
    check_contrast(fit, asked, Replicates(np.arange(16).astype(object), cells["donor"].to_numpy()))
    assert unseen_directions(fit.mean_model.free_design, weights) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6

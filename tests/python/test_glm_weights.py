"""Observation weights: what they mean (repeated and absent cells), other packages' numbers, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from glm_cases import REFERENCE, genes, nb_counts

import isthmus
from isthmus.errors import InputError
from isthmus.glm.kernel import fit_genes

N_CELLS = 60


@pytest.fixture(scope="module")
def problem() -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Counts, cells and whole-number weights per cell and gene, some of them 0; the last gene is close to Poisson."""
    rng = np.random.default_rng(4)
    cells = pd.DataFrame({"group": np.repeat(["a", "b"], 30), "age": rng.normal(size=N_CELLS)})
    mu = np.exp(1 + rng.normal(size=8) + 0.3 * cells[["age"]].to_numpy())
    counts = nb_counts(rng, mu, 0.4)
    counts[:, 7] = rng.poisson(mu[:, 7])
    names = [f"g{k}" for k in range(8)]
    return pd.DataFrame(counts, columns=names), cells, rng.integers(0, 4, (N_CELLS, 8)).astype(float)


def repeated(counts: pd.DataFrame, cells: pd.DataFrame, weight: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    cell = np.repeat(np.arange(len(cells)), weight.astype(int))
    return counts.iloc[cell].reset_index(drop=True), cells.iloc[cell].reset_index(drop=True)


@pytest.mark.parametrize(
    ("dispersion", "dispersion_design", "noise_model"),
    [
        ("ml", "~ 1", "nb"),
        ("ml", "~ group", "nb"),
        ("ml", "~ age", "nb"),
        ("moments", "~ group", "nb"),
        ("cox_reid", "~ 1", "nb"),
        ("ml", "~ 1", "poisson"),
    ],
)
def test_a_cell_of_weight_two_counts_as_two(problem, dispersion, dispersion_design, noise_model):
    counts, cells, weights = problem
    options = {"dispersion": dispersion, "dispersion_design": dispersion_design, "noise_model": noise_model}
    options |= {"size_factors": None}
    fit = isthmus.fit_glm(counts, "~ group + age", cell_data=cells, weights=weights, **options)
    wald = isthmus.test_glm(fit, "group[T.b]").set_index("gene")
    for k, gene in enumerate(counts.columns[[0, 3, 7]]):
        more, more_cells = repeated(counts[[gene]], cells, weights[:, [0, 3, 7][k]])
        alone = isthmus.fit_glm(more, "~ group + age", cell_data=more_cells, **options)
        test = isthmus.test_glm(alone, "group[T.b]").iloc[0]
        assert genes(fit).loc[gene, "status"] == alone.status[0]
        np.testing.assert_allclose(genes(fit).loc[gene, "log_likelihood"], alone.log_likelihood[0], rtol=1e-8)
        np.testing.assert_allclose(
            wald.loc[gene, ["estimate", "se"]].astype(float), test[["estimate", "se"]].astype(float), rtol=2e-5
        )


@pytest.mark.parametrize("dispersion", ["ml", "cox_reid"])
def test_chunks_of_genes_take_their_weights(problem, dispersion):
    counts, cells, weights = problem
    options = {"cell_data": cells, "weights": weights, "size_factors": None, "dispersion": dispersion}
    whole = isthmus.fit_glm(counts, "~ group + age", **options)
    parts = isthmus.fit_glm(counts, "~ group + age", chunk_genes=3, **options)
    np.testing.assert_allclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(genes(parts)["dispersion"], genes(whole)["dispersion"], rtol=1e-6)


@pytest.mark.parametrize("method", ["lrt", "score"])
def test_refits_use_the_weights(problem, method):
    counts, cells, weights = problem
    fit = isthmus.fit_glm(counts, "~ group + age", cell_data=cells, weights=weights, size_factors=None)
    found = isthmus.test_glm(fit, "age", method=method, data=counts, weights=weights).set_index("gene")
    more, more_cells = repeated(counts[["g2"]], cells, weights[:, 2])
    alone = isthmus.fit_glm(more, "~ group + age", cell_data=more_cells, size_factors=None)
    expected = isthmus.test_glm(alone, "age", method=method, data=more).iloc[0]
    np.testing.assert_allclose(found.loc["g2", "stat"], expected["stat"], rtol=1e-5)
    np.testing.assert_allclose(found.loc["g2", "pval"], expected["pval"], rtol=1e-5)


@pytest.mark.parametrize("method", ["wald", "lrt", "qlf"])
def test_a_cell_of_weight_zero_is_as_if_absent(method):
    rng = np.random.default_rng(5)
    cells = pd.DataFrame({"group": np.repeat(["a", "b"], 8)})
    counts = pd.DataFrame(nb_counts(rng, np.exp(rng.normal(4, 1, 60)) * np.ones((16, 1)), 0.2))
    present = np.arange(16) % 5 > 0
    counts.iloc[~present] *= 50  # would be noticed
    options = {"size_factors": None, "dispersion": "cox_reid"}
    fit = isthmus.fit_glm(counts, "~ group", cell_data=cells, weights=present.astype(float), **options)
    fewer = counts[present].reset_index(drop=True)
    alone = isthmus.fit_glm(fewer, "~ group", cell_data=cells[present].reset_index(drop=True), **options)
    assert fit.df_resid == alone.df_resid
    options = {"method": method} | ({"reference": "t"} if method == "wald" else {})
    ours = isthmus.test_glm(fit, "group[T.b]", data=counts, **options)
    theirs = isthmus.test_glm(alone, "group[T.b]", data=fewer, **options)
    if method == "qlf":  # the means that the trend is fitted to do not use the weights
        assert np.corrcoef(np.log(ours["pval"]), np.log(theirs["pval"]))[0, 1] > 0.9
        return
    np.testing.assert_allclose(ours["stat"], theirs["stat"], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(ours["df_resid"], theirs["df_resid"])
    np.testing.assert_allclose(ours["pval"], theirs["pval"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kernel", ["baseline", "reference"])
def test_kernels_agree(problem, monkeypatch, kernel):
    counts, cells, weights = problem
    x = np.column_stack([np.ones(N_CELLS), cells["group"] == "b", cells["age"]])
    z = np.column_stack([np.ones(N_CELLS), cells["group"] == "b"])
    found = []
    for name in ("baseline", kernel) if kernel == "reference" else ("", kernel):
        monkeypatch.setenv("ISTHMUS_KERNEL", name)
        found.append(
            fit_genes(sp.csr_matrix(counts.to_numpy()), x, z, np.linspace(-0.2, 0.2, N_CELLS), weights=weights + 0.25)
        )
    ours, theirs = found
    np.testing.assert_array_equal(ours.code, theirs.code)
    np.testing.assert_allclose(ours.log_likelihood, theirs.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(ours.expected_info, theirs.expected_info, rtol=1e-5)
    np.testing.assert_allclose(ours.mean_coef, theirs.mean_coef, rtol=1e-5, atol=1e-6)


def peer(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "weights" / f"{name}.csv", index_col=0)


def test_glm_nb_finds_the_same():
    fit = isthmus.fit_glm(
        peer("counts").T, "~ condition + age", cell_data=peer("cells"), weights=peer("weights").T, size_factors=None
    )
    test, theirs = isthmus.test_glm(fit, "condition[T.b]").set_index("gene"), peer("mass")
    np.testing.assert_allclose(test["estimate"], theirs["estimate"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(test["se"], theirs["se"], rtol=1e-5)
    np.testing.assert_allclose(genes(fit)["dispersion"], theirs["alpha"], rtol=1e-4)


def test_deseq2_finds_the_same_at_its_dispersions():
    """Its search for the dispersion starts at moments without weights, and ends short of the optimum where the count of
    weight 0 is an outlier: there the adjusted profile likelihood is higher at ours."""
    counts, cells, weights, theirs = peer("counts").T, peer("cells"), peer("weights").T, peer("deseq2")
    x = np.column_stack([np.ones(24), cells["age"], cells["condition"] == "b"])

    def at(alpha: np.ndarray):
        fits = fit_genes(
            sp.csr_matrix(counts.to_numpy(float)),
            x,
            np.ones((24, 1)),
            np.zeros(24),
            weights=weights.to_numpy(),
            start_dispersion=np.log(alpha)[None, :],
            fix_dispersion=True,
        )
        return fits, fits.log_likelihood - np.linalg.slogdet(fits.expected_info)[1] / 2

    fits, their_objective = at(theirs["genewise"].to_numpy())
    np.testing.assert_allclose(fits.mean_coef[2] / np.log(2), theirs["log2fc"], atol=2e-4)
    se = np.sqrt(np.linalg.inv(fits.expected_info)[:, 2, 2]) / np.log(2)
    np.testing.assert_allclose(se, theirs["se"], rtol=1e-4)
    ours = isthmus.fit_glm(
        counts, "~ age + condition", cell_data=cells, weights=weights, size_factors=None, dispersion="cox_reid"
    )
    assert (at(ours.dispersion)[1] >= their_objective - 1e-6).all()
    assert np.quantile(np.abs(np.log(ours.dispersion / theirs["genewise"])), 0.25) < 1e-3


def test_weights_go_by_name_or_by_column(problem):
    counts, cells, weights = problem
    named = [f"cell{i}" for i in range(N_CELLS)]
    counts, cells = counts.set_axis(named), cells.set_axis(named)
    per_cell = pd.Series(weights[:, 0] + 0.5, index=named)
    options = {"cell_data": cells.assign(w=per_cell), "size_factors": None}
    same = ("w", per_cell, per_cell[::-1], per_cell.to_numpy(), np.repeat(per_cell.to_numpy()[:, None], 8, axis=1))
    fits = [isthmus.fit_glm(counts, "~ group", weights=w, **options) for w in same]
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.log_likelihood, fits[0].log_likelihood)
    by_gene = pd.DataFrame(weights, index=named, columns=counts.columns)
    one, other = (isthmus.fit_glm(counts, "~ group", weights=w, **options) for w in (by_gene, by_gene.iloc[:, ::-1]))
    np.testing.assert_array_equal(one.log_likelihood, other.log_likelihood)


def test_what_no_cell_shows_has_no_estimate():
    rng = np.random.default_rng(6)
    cells = pd.DataFrame({"group": np.repeat(["a", "b", "c"], 20)})
    counts = pd.DataFrame(nb_counts(rng, np.full((60, 3), 5.0), 0.3), columns=["x", "y", "z"])
    weights = np.ones((60, 3))
    weights[40:, 1] = 0  # nothing is known of y in group c
    counts.loc[20:38, "z"] = 0
    weights[39, 2] = 0  # the only count of z in group b says nothing
    fit = isthmus.fit_glm(counts, "~ group", cell_data=cells, weights=weights, size_factors=None)
    assert list(fit.status) == ["ok", "separated", "separated"]
    for method in ("wald", "lrt"):
        found = isthmus.test_glm(fit, "group[T.c]", method=method, data=counts, weights=weights)
        assert list(found["status"]) == ["ok", "separated", "ok"]
        assert np.isnan(found.loc[1, ["estimate", "se", "stat", "pval", "padj"]].astype(float)).all()
        assert found["pval"].notna().tolist() == [True, False, True]
        b = isthmus.test_glm(fit, "group[T.b]", method=method, data=counts, weights=weights)
        assert list(b["status"]) == ["ok", "ok", "separated"]
        assert b.loc[2, "estimate"] == -np.inf
        assert b.loc[2, "pval"] < 1e-3
        assert b.loc[2, "estimate_penalized"] < -2
    two = cells["group"] != "c"
    alone = isthmus.fit_glm(counts[["y"]][two], "~ group", cell_data=cells[two], size_factors=None)
    expected = isthmus.test_glm(alone, "group[T.b]").iloc[0]
    found = isthmus.test_glm(fit, "group[T.b]").iloc[1]
    np.testing.assert_allclose(
        found[["estimate", "se", "pval"]].astype(float), expected[["estimate", "se", "pval"]].astype(float), rtol=1e-5
    )


def test_a_gene_whose_counts_have_no_weight_is_all_zero():
    counts = pd.DataFrame({"x": [3.0, 1, 2, 4], "y": [7.0, 0, 0, 0]})
    weights = np.array([[1, 0], [1, 1], [1, 1], [1, 1.0]])
    fit = isthmus.fit_glm(counts, "~ 1", weights=weights, size_factors=None)
    assert list(fit.status) == ["poisson_limit", "all_zero"]
    found = isthmus.test_glm(fit, "Intercept", method="lrt", data=counts, weights=weights)
    assert found["pval"].isna().tolist() == [False, True]


def test_weights_are_kept_per_cell_and_asked_for_per_gene(problem, tmp_path):
    counts, cells, weights = problem
    per_cell = weights[:, 0] + 0.5
    fit = isthmus.fit_glm(counts, "~ group", cell_data=cells, weights=per_cell, size_factors=None)
    isthmus.save_fit(fit, tmp_path / "fit")
    loaded = isthmus.load_fit(tmp_path / "fit")
    np.testing.assert_array_equal(loaded.weights, per_cell)
    ours, theirs = (isthmus.test_glm(f, "group[T.b]", method="lrt", data=counts) for f in (fit, loaded))
    pd.testing.assert_frame_equal(ours, theirs)
    with pytest.raises(InputError, match="`weights` are only asked for again where the fit had one per cell and gene"):
        isthmus.test_glm(fit, "group[T.b]", method="lrt", data=counts, weights=per_cell)
    fit = isthmus.fit_glm(counts, "~ group", cell_data=cells, weights=weights, size_factors=None)
    assert fit.weights is None
    with pytest.raises(InputError, match="`weights` must be passed again"):
        isthmus.test_glm(fit, "group[T.b]", method="lrt", data=counts)
    with pytest.raises(InputError, match='`reference` = "t" needs the same degrees of freedom in every gene'):
        isthmus.test_glm(fit, "group[T.b]", reference="t")
    with pytest.raises(InputError, match="`replicate` is for fits without observation weights"):
        isthmus.test_glm(fit, "group[T.b]", replicate=np.arange(N_CELLS) % 10, data=counts)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(59), r"`weights` must hold one value per cell \(60\) or per cell and gene \(60 x 8\); got 59"),
        (np.full(60, -1.0), "`weights` must be finite and at least 0; got missing, infinite or negative values in"),
        (np.full(60, np.nan), "`weights` must be finite and at least 0"),
        (np.zeros(60), "`weights` must be positive somewhere; got 0 in all cells"),
        (np.ones((60, 8)) * (np.arange(8) > 0), "`weights` must be positive somewhere; got 0 in all cells of 'g0'"),
        (["x"] * 60, "`weights` must be numbers; got list"),
        ("nothing", "`weights` must be numbers or a column of the cells' data; there is no column 'nothing'"),
        ((np.arange(60) < 30) * 1.0, "`weights` must leave enough cells to estimate `design`"),
        ((np.arange(60) % 59 == 0) * 1.0, "fewer free parameters than there are cells with a positive weight"),
    ],
)
def test_weights_that_cannot_be_used(problem, weights, message):
    counts, cells, _ = problem
    with pytest.raises(InputError, match=message):
        isthmus.fit_glm(counts, "~ group", cell_data=cells, weights=weights, size_factors=None)

"""Cook's distances and the outliers they flag, against DESeq2's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from glm_cases import REFERENCE
from scipy import stats

import isthmus
from isthmus.errors import InputError
from isthmus.glm import cooks_distance, flag_outliers


def peer(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "cooks" / f"{name}.csv", index_col=0)


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    return peer("counts").T.astype(float)


@pytest.fixture(scope="module")
def fit(counts):
    return isthmus.fit_glm(counts, "~ group", cell_data=peer("cells"), size_factors=None, dispersion="cox_reid")


def test_distances_are_deseq2s(counts, fit):
    ours, theirs = cooks_distance(fit, counts), peer("cooks").T
    assert list(ours.columns) == list(theirs.columns)
    assert list(ours.index) == list(theirs.index)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_distances_with_a_numeric_covariate(counts):
    fit = isthmus.fit_glm(counts, "~ age + group", cell_data=peer("cells"), size_factors=None, dispersion="cox_reid")
    ours, theirs = cooks_distance(fit, counts), peer("cooks_age").T  # leverages depend on the dispersions here
    assert np.isclose(ours, theirs, rtol=0.05, atol=1e-3).all(axis=0).mean() > 0.95
    flagged = flag_outliers(isthmus.test_glm(fit, "group[T.b]"), fit, counts)
    assert flagged["max_cooks"].isna().all()  # no two samples share a row of the design: nothing can be said
    assert not flagged["outlier"].any()


def test_flags_are_deseq2s(counts, fit):
    theirs = peer("deseq2")
    test = isthmus.test_glm(fit, "group[T.b]")
    flagged = flag_outliers(test, fit, counts).set_index("gene")
    np.testing.assert_array_equal(flagged["outlier"], theirs["pval"].isna())
    assert 5 < flagged["outlier"].sum() < 25
    np.testing.assert_array_equal(flagged["pval"].isna(), theirs["pval"].isna())
    np.testing.assert_allclose(flagged["max_cooks"], theirs["max_cooks"], rtol=1e-3, atol=1e-6)
    assert flagged.loc["g3", "max_cooks"] > stats.f.ppf(0.99, 2, 8)
    assert not flagged.loc["g3", "outlier"]  # three other counts are larger
    left = ~flagged["outlier"]
    np.testing.assert_allclose(flagged["padj"][left], stats.false_discovery_control(flagged["pval"][left]))
    np.testing.assert_array_equal(test["pval"].isna().sum(), 0)  # the caller's table is as it was
    kept = flag_outliers(test, fit, counts, drop=False)
    pd.testing.assert_frame_equal(kept[test.columns], test)


def test_the_largest_distance_is_that_of_leaving_the_count_out():
    """With one coefficient and a Poisson fit, D is the squared change of log mu by the count in standard errors, up to
    terms of the change squared."""
    counts = np.array([[1000.0], [1010], [990], [1030], [1001], [995]])
    fit = isthmus.fit_glm(counts, size_factors=None, noise_model="poisson")
    ours = cooks_distance(fit, counts).to_numpy()[:, 0]
    mean = counts.mean()
    assert np.isclose(fit.dispersion[0], 0)
    for cell in range(6):
        change = np.log(np.delete(counts, cell).mean()) - np.log(mean)
        # over the robust variance mu + 0.04 mu^2 in place of mu
        expected = change**2 * counts.sum() / (1 + 0.04 * mean)
        np.testing.assert_allclose(ours[cell], expected, rtol=0.02)


def test_blocks_of_contrasts_and_another_cutoff(counts):
    cells = peer("cells").assign(group=[*"aaabbbcccc"])
    fit = isthmus.fit_glm(counts, "~ group", cell_data=cells, size_factors=None, dispersion="cox_reid")
    test = isthmus.test_glm(fit, pairwise="group")
    flagged = flag_outliers(test, fit, counts, cutoff=5.0)
    assert len(flagged) == 3 * fit.n_genes
    largest = cooks_distance(fit, counts).max(axis=0).to_numpy()
    np.testing.assert_array_equal(flagged["outlier"], np.tile(largest > 5, 3))
    one = flag_outliers(isthmus.test_glm(fit, contrast="group[T.c] - group[T.b]"), fit, counts, cutoff=5.0)
    block = flagged[flagged["contrast"] == test["contrast"].unique()[2]]
    np.testing.assert_allclose(block["padj"], one["padj"], rtol=1e-9)


def test_a_cell_of_weight_zero_has_no_distance(counts):
    cells, weights = peer("cells"), np.array([1.0, 1, 1, 1, 1, 1, 1, 1, 1, 0])
    fit = isthmus.fit_glm(counts, "~ group", cell_data=cells, size_factors=None, weights=weights)
    distances = cooks_distance(fit, counts)
    assert (distances.iloc[9] == 0).all()
    assert (distances.iloc[:9].max(axis=0) > 0).all()


def test_what_cannot_be_flagged(counts, fit):
    test = isthmus.test_glm(fit, "group[T.b]")
    for arguments, message in [
        ((test.iloc[::-1], fit, counts), "`test` must hold all genes of `fit` in the fit's order"),
        ((test.drop(columns="pval"), fit, counts), "`test` must be a table of test_glm"),
        ((test, test, counts), "`fit` must be what fit_glm returned"),
        ((test, fit, counts + 1), "`data` must hold the counts that were fitted"),
    ]:
        with pytest.raises(InputError, match=message):
            flag_outliers(*arguments)
    for cutoff in (0, -1, np.nan, True, "5"):
        with pytest.raises(InputError, match="`cutoff` must be a positive number"):
            flag_outliers(test, fit, counts, cutoff=cutoff)
    with pytest.raises(InputError, match="`drop` must be True or False; got 3"):
        flag_outliers(test, fit, counts, drop=3)
    with pytest.raises(InputError, match="`data` must be passed again for Cook's distances"):
        cooks_distance(isthmus.GlmFit.from_state(fit.state()))

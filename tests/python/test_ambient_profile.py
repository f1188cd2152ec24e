"""The ambient profile: the sums that it must be, names before positions, and a sentence for each mistake."""

import tracemalloc

import ambient_cases as cases
import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import isthmus
from isthmus import messages, schema


@pytest.fixture(scope="module")
def experiment():
    return cases.problem()


def test_the_profile_is_the_share_of_the_sums(experiment):
    cells, droplets = experiment
    table = isthmus.ambient_profile(cells, droplets, lower=1e6)
    empty = np.asarray(droplets.X[cells.n_obs :].sum(axis=0)).ravel()
    assert list(table.columns) == list(schema.AMBIENT_PROFILE)
    assert table["gene"].tolist() == list(cells.var_names)
    assert table["count"].to_numpy() == pytest.approx(empty, abs=0)
    assert table["prob"].to_numpy() == pytest.approx(empty / empty.sum(), rel=1e-12)
    assert set(table["batch"]) == {"all"}
    assert (table["n_empty"] == (np.asarray(droplets.X[cells.n_obs :].sum(axis=1)) > 0).sum()).all()


def test_the_knee_parts_cells_from_empty_droplets_without_names(experiment):
    cells, droplets = experiment
    unnamed = ad.AnnData(droplets.X, var=droplets.var)
    table = isthmus.ambient_profile(cells, unnamed)
    smallest = np.asarray(cells.X.sum(axis=1)).min()
    assert 0.9 * 4_000 < table["n_empty"][0] < 4_000 * 1.01
    assert table.attrs["empties"]["all"]["max_umi"] <= 1.2 * smallest


def test_it_is_as_near_the_truth_as_sampling_allows(experiment):
    cells, droplets = experiment
    table = isthmus.ambient_profile(cells, droplets)
    truth, total = cells.varm["ambient"][:, 0], table["count"].sum()
    expected = np.sqrt(2 / np.pi) * np.sqrt(truth * (1 - truth) / total).sum()
    assert np.abs(table["prob"] - truth).sum() <= 1.1 * expected


def test_genes_are_matched_by_name(experiment):
    cells, droplets = experiment
    order = np.random.default_rng(0).permutation(cells.n_vars)
    straight = isthmus.ambient_profile(cells, droplets).set_index("gene")["prob"]
    turned = isthmus.ambient_profile(cells, droplets[:, order].copy()).set_index("gene")["prob"]
    pd.testing.assert_series_equal(straight, turned)
    other = isthmus.ambient_profile(cells[:, order].copy(), droplets).set_index("gene")["prob"]
    pd.testing.assert_series_equal(straight[other.index], other)


def test_missing_genes_are_named_and_keep_their_counts(experiment):
    cells, droplets = experiment
    with messages.collected() as told:
        table = isthmus.ambient_profile(cells, droplets[:, 2:].copy())
    assert any("lacks 2 genes of `cells` ('gene1', 'gene2')" in text for text in told)
    assert table["prob"][:2].tolist() == [0, 0]
    assert table["prob"].sum() == pytest.approx(1)


def test_the_message_says_how_many_and_from_which_range(experiment):
    with messages.collected() as told:
        isthmus.ambient_profile(*experiment)
    assert len(told) == 1
    assert "of 4,800 taken as empty, with" in told[0]


def test_names_that_never_meet_are_told(experiment):
    cells, droplets = experiment
    suffixed = ad.AnnData(cells.X, obs=pd.DataFrame(index=cells.obs_names + "-1"), var=cells.var)
    with messages.collected() as told:
        table = isthmus.ambient_profile(suffixed, droplets)
    assert any("has no droplet with the name of a cell (such as 'cell1-1')" in text for text in told)
    assert table.attrs["empties"]["all"]["max_umi"] < np.median(np.asarray(cells.X.sum(axis=1)))


def test_nameless_matrices_are_matched_by_position(experiment):
    cells, droplets = experiment
    named = isthmus.ambient_profile(cells, droplets, lower=300)
    nameless = isthmus.ambient_profile(cells.X, droplets.X, lower=300)
    assert nameless["prob"].to_numpy() == pytest.approx(named["prob"].to_numpy(), abs=2e-3)


def test_each_batch_has_its_own_profile():
    cells, droplets = cases.problem(n_batches=2)
    table = isthmus.ambient_profile(cells, droplets, batch="batch")
    levels = list(pd.unique(cells.obs["batch"]))
    assert list(pd.unique(table["batch"])) == levels
    for level in levels:
        own = table["batch"] == level
        truth = cells.varm["ambient"][:, sorted(levels).index(level)]
        assert table.loc[own, "prob"].sum() == pytest.approx(1)
        assert np.abs(table.loc[own, "prob"].to_numpy() - truth).sum() < 0.05
    given = {"cells": cells.obs["batch"].to_numpy(), "droplets": droplets.obs["batch"].tolist()}
    pd.testing.assert_frame_equal(isthmus.ambient_profile(cells, droplets, batch=given), table)


def test_the_multinomial_rule_is_scars(experiment):
    """log P(x | profile) >= n_genes log(prob), three rounds: written out densely for comparison."""
    from scipy.stats import multinomial

    cells, droplets = experiment
    x = droplets.X[cells.n_obs :].toarray()
    keep = x.sum(axis=1) >= 2
    for _ in range(3):
        p = x[keep].sum(axis=0) / x[keep].sum()
        log_p = np.array([multinomial.logpmf(row, row.sum(), p) for row in x])
        keep = keep & (log_p >= x.shape[1] * np.log(0.6))
    table = isthmus.ambient_profile(cells, droplets, rule="multinomial", prob=0.6)
    assert table["n_empty"][0] == keep.sum()
    assert keep.sum() > 100
    assert table["count"].to_numpy() == pytest.approx(x[keep].sum(axis=0), abs=0)
    with pytest.raises(isthmus.InputError, match=r"at least 10 empty droplets .* Lower `prob`\."):
        isthmus.ambient_profile(cells, droplets, rule="multinomial", prob=0.9999)


def test_memory_stays_near_the_raw_matrix():
    rng = np.random.default_rng(0)
    raw = sparse.random(60_000, 5_000, 0.02, "csr", dtype=np.float32, random_state=rng)
    raw.data[:] = 1
    names = [f"g{i}" for i in range(5_000)]
    droplets = ad.AnnData(raw, obs=pd.DataFrame(index=[f"d{i}" for i in range(60_000)]), var=pd.DataFrame(index=names))
    cells = droplets[:500].copy()
    size = raw.data.nbytes + raw.indices.nbytes + raw.indptr.nbytes
    tracemalloc.start()
    isthmus.ambient_profile(cells, droplets, lower=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 0.3 * size  # beside the matrix itself: the 1.3 x


def _changed(adata, **columns):
    return ad.AnnData(adata.X.copy(), obs=adata.obs.assign(**columns), var=adata.var)


def _renamed(adata, names):
    return ad.AnnData(adata.X, obs=adata.obs, var=pd.DataFrame(index=names))


MISTAKES = {
    "filtered": (lambda c, d: (c, c), {}, r"`droplets` must be the raw matrix.*each of them is called a cell"),
    "smaller": (
        lambda c, d: (c, ad.AnnData(c.X[:50], var=c.var)),
        {},
        r"`droplets` must be the raw matrix.*got 50 droplets, and `cells` has 800",
    ),
    "swapped": (lambda c, d: (d, c), {}, r"each of them is called a cell\. Are `cells` and `droplets` swapped\?"),
    "nameless droplets": (
        lambda c, d: (_renamed(c, [f"ENSG{i}" for i in range(c.n_vars)]), d.X),
        {},
        r"`droplets` must name its genes.*900 genes in `cells`, 900 in `droplets`",
    ),
    "nameless, other number": (lambda c, d: (c.X[:, :100], d.X), {}, r"`cells` must name its genes.*100 genes in"),
    "fractions": (
        lambda c, d: (c, ad.AnnData(d.X * 0.5, obs=d.obs, var=d.var)),
        {},
        r"`droplets` must hold whole counts",
    ),
    "fractional cells": (lambda c, d: (ad.AnnData(c.X * 0.5, obs=c.obs, var=c.var), d), {}, r"`cells` must hold whole"),
    "disjoint": (lambda c, d: (c, _renamed(d, [f"x{i}" for i in range(d.n_vars)])), {}, r"shares none of 900"),
    "few": (lambda c, d: (c, d[: c.n_obs + 3].copy()), {"lower": 1e5}, r"at least 10 empty droplets.*got 3 droplets"),
    "low bound": (lambda c, d: (c, d), {"lower": 1}, r"at least 10 empty droplets .*Raise `lower`"),
    "batch without droplets": (
        lambda c, d: (_changed(c, batch="other"), d),
        {"batch": "batch"},
        r"must hold droplets of every batch .*1 batch \('other'\)",
    ),
    "no column": (lambda c, d: (c, d), {"batch": "nothing"}, r"`batch` must be a column of `cells`.*'nothing'"),
    "one vector": (lambda c, d: (c, d), {"batch": ["a"] * 800}, r"`batch` must say the batch of each droplet too"),
    "rule": (lambda c, d: (c, d), {"rule": "knee"}, r"`rule` must be 'umi' or 'multinomial'; got 'knee'"),
    "lower": (lambda c, d: (c, d), {"lower": -1}, r"`lower` must be a number of at least 1"),
    "prob": (lambda c, d: (c, d), {"prob": 1.0}, r"`prob` must lie between 0 and 1; got 1.0"),
    "sample": (lambda c, d: (c, d), {"sample": 0}, r"`sample` must be a whole number of at least 1; got 0"),
    "seed": (lambda c, d: (c, d), {"seed": -1}, r"`seed` must be a whole number of at least 0; got -1"),
    "min_raw_counts": (lambda c, d: (c, d), {"min_raw_counts": 0}, r"`min_raw_counts` must be a whole number"),
    "iterations": (lambda c, d: (c, d), {"iterations": 1.5}, r"`iterations` must be a whole number"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_has_its_sentence(experiment, name):
    change, arguments, sentence = MISTAKES[name]
    with pytest.raises(isthmus.InputError, match=sentence):
        isthmus.ambient_profile(*change(*experiment), **arguments)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")  # anndata's own remark
def test_duplicated_genes_are_refused(experiment):
    cells, droplets = experiment
    twice = _renamed(droplets, ["a", "a", *droplets.var_names[2:]])
    with pytest.raises(isthmus.InputError, match=r"`gene_names` must be unique; got 1 duplicated name \('a'\)"):
        isthmus.ambient_profile(cells, twice)


def test_nothing_is_written_into_the_callers_objects(experiment):
    cells, droplets = experiment
    before = (cells.X.copy(), list(cells.var.columns), list(cells.varm), list(droplets.obs.columns))
    isthmus.ambient_profile(cells, droplets)
    assert (before[0] != cells.X).nnz == 0
    assert (list(cells.var.columns), list(cells.varm), list(droplets.obs.columns)) == before[1:]

"""Counts that stay in their store: the same numbers as from memory, read in pieces."""

from __future__ import annotations

import dataclasses
import warnings
from itertools import pairwise

import anndata
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

import isthmus
from isthmus import bridge
from isthmus.data import stored
from isthmus.data.counts import open_counts, read_counts
from isthmus.data.stored import StoredMatrix
from isthmus.errors import InputError
from isthmus.glm import qlf, trend
from isthmus.glm.size_factors import size_factors
from isthmus.messages import collected

N_CELLS, N_GENES = 311, 23


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Files of test size come in many pieces too."""
    monkeypatch.setattr(stored, "_TILE", 700)
    monkeypatch.setattr(stored, "_CHUNK", 900)


@pytest.fixture(scope="module")
def adata() -> anndata.AnnData:
    rng = np.random.default_rng(4)
    group = rng.integers(0, 2, N_CELLS)
    depth = np.exp(rng.normal(0, 0.4, N_CELLS))
    mean = depth[:, None] * np.exp(rng.normal(-0.5, 1, N_GENES) + 0.5 * group[:, None] * (np.arange(N_GENES) % 3 == 0))
    y = rng.poisson(rng.gamma(2.0, mean / 2.0)).astype("f4")
    y[:, 5] = 0
    y[group == 1, 7] = 0  # separated
    y[:, 9] += 1  # in every cell: for ratios
    obs = pd.DataFrame({"group": np.array(["a", "b"])[group], "age": rng.standard_normal(N_CELLS)})
    obs.index = [f"cell{i}" for i in range(N_CELLS)]
    return anndata.AnnData(sparse.csr_matrix(y), obs=obs, var=pd.DataFrame(index=[f"g{j}" for j in range(N_GENES)]))


KINDS = (
    "h5ad csr",
    "h5ad csc",
    "h5ad dense",
    "zarr csr",
    "zarr csc",
    "zarr dense",
    "dask dense",
    "dask tall",
    "dask csr",
)


def keep(adata: anndata.AnnData, kind: str, path):
    """The same data with its matrix in a store."""
    where, how = kind.split()
    dense = adata.X.toarray()
    if where == "dask":
        chunks = {"dense": (100, 7), "tall": (N_CELLS, 4), "csr": (90, N_GENES)}[how]
        x = da.from_array(dense, chunks=chunks)
        x = x.map_blocks(sparse.csr_matrix) if how == "csr" else x
        return anndata.AnnData(x, obs=adata.obs, var=adata.var)
    own = adata.copy()
    own.X = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[how](dense)
    if where == "h5ad":
        own.write_h5ad(path / "a.h5ad", compression="gzip")
        return anndata.read_h5ad(path / "a.h5ad", backed="r")
    if how == "dense":
        x = zarr.create_array(path / "a.zarr", data=dense, chunks=(64, 10))
        return anndata.AnnData(x, obs=adata.obs, var=adata.var)
    group = zarr.open_group(path / "a.zarr", mode="w")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "zarr v3 autosharding", UserWarning)
        anndata.io.write_elem(group, "X", own.X)
    return anndata.AnnData(anndata.io.sparse_dataset(group["X"]), obs=adata.obs, var=adata.var)


def assert_same_fit(one, other, rtol: float = 0.0) -> None:
    """Equal to the bit, or to `rtol`."""
    for field in dataclasses.fields(one):
        if field.name in ("settings", "source", "separations", "mean_model", "dispersion_model"):
            continue
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray) and a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=rtol, atol=1e3 * rtol, err_msg=field.name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=field.name)
    for name in ("mean_model", "dispersion_model"):
        np.testing.assert_allclose(getattr(one, name).coef, getattr(other, name).coef, rtol=rtol, atol=rtol)
    assert [(s.gene, s.model) for s in one.separations] == [(s.gene, s.model) for s in other.separations]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_matrix_gives_the_same_fit_to_the_bit(adata, kind, tmp_path):
    backed = keep(adata, kind, tmp_path)
    matrix = open_counts(backed).matrix
    assert isinstance(matrix, StoredMatrix)
    assert len(matrix.gene_ranges(None)) > 2, "more than one chunk"
    wanted = isthmus.fit_glm(adata, "~ group + age")
    got = isthmus.fit_glm(backed, "~ group + age")
    assert_same_fit(wanted, got)
    assert {"all_zero", "separated", "ok"} <= set(got.status)
    assert_same_fit(wanted, isthmus.fit_glm(backed, "~ group + age", chunk_genes=4, n_threads=2))
    pd.testing.assert_frame_equal(isthmus.test_glm(wanted, "group[T.b]"), isthmus.test_glm(got, "group[T.b]"))


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_make_up_the_matrix(adata, kind, tmp_path):
    counts = open_counts(keep(adata, kind, tmp_path))
    matrix, dense = counts.matrix, adata.X.toarray()
    out = np.full(dense.shape, np.nan)
    for rows, columns, tile in matrix.tiles():
        assert np.isnan(out[rows, columns]).all(), "each value once"
        out[rows, columns] = tile.toarray()
    np.testing.assert_array_equal(out, dense)
    np.testing.assert_array_equal(np.vstack([band.toarray() for _, band in matrix.row_tiles()]), dense)
    ranges = matrix.gene_ranges(None)
    assert (ranges[0][0], ranges[-1][1]) == (0, N_GENES)
    assert all(a[1] == b[0] for a, b in pairwise(ranges))
    for first, last in ranges:
        np.testing.assert_array_equal(matrix.columns(first, last).toarray(), dense[:, first:last])
    np.testing.assert_array_equal(matrix.survey.cell_sums, dense.sum(axis=1))
    np.testing.assert_array_equal(matrix.survey.gene_entries, (dense != 0).sum(axis=0))


@pytest.mark.parametrize("kind", ["h5ad csr", "h5ad csc", "zarr dense", "dask tall"])
@pytest.mark.parametrize("word", ["sum", "ratio", "poscounts"])
def test_size_factors_of_stored_counts(adata, kind, word, tmp_path):
    got = size_factors(word, open_counts(keep(adata, kind, tmp_path)))
    np.testing.assert_allclose(got, size_factors(word, read_counts(adata)), rtol=1e-13)


@pytest.mark.parametrize("dispersion", ["moments", "cox_reid", "trend"])
def test_every_kind_of_dispersion_is_chunked(adata, dispersion, tmp_path):
    wanted = isthmus.fit_glm(adata, "~ group", dispersion=dispersion)
    got = isthmus.fit_glm(keep(adata, "h5ad csr", tmp_path), "~ group", dispersion=dispersion)
    assert_same_fit(wanted, got, rtol=1e-12)  # least squares of several genes at once: not to the bit
    assert wanted.settings.get("trend", {}) == pytest.approx(got.settings.get("trend", {}), rel=1e-12)


@pytest.mark.parametrize("init", ["standard", "closed_form", "zero", "array"])
def test_starts_and_offsets_are_cut_with_the_genes(adata, init, tmp_path):
    rng = np.random.default_rng(1)
    value = rng.normal(0, 0.3, (2, N_GENES)) if init == "array" else init
    options = {"init": value, "offset": rng.normal(0, 0.2, adata.shape), "size_factors": "ratio"}
    wanted = isthmus.fit_glm(adata, "~ group", **options)
    assert_same_fit(wanted, isthmus.fit_glm(adata, "~ group", chunk_genes=5, **options), rtol=1e-11)
    got = isthmus.fit_glm(keep(adata, "h5ad csc", tmp_path), "~ group", **options)
    np.testing.assert_allclose(got.log_likelihood, wanted.log_likelihood, rtol=1e-12)


def test_bare_stored_arrays_are_taken(adata, tmp_path):
    dense, x = adata.X.toarray(), adata.obs[["group"]].reset_index(drop=True)
    wanted = isthmus.fit_glm(dense, "~ group", cell_data=x)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", data=dense, chunks=(50, 5), compression="gzip")
        assert_same_fit(wanted, isthmus.fit_glm(data, "~ group", cell_data=x))
    assert_same_fit(wanted, isthmus.fit_glm(da.from_array(dense, chunks=60), "~ group", cell_data=x))
    array = zarr.create_array(tmp_path / "b.zarr", data=dense, chunks=(40, 8))
    assert_same_fit(wanted, isthmus.fit_glm(array, "~ group", cell_data=x))


def test_tests_that_need_counts_find_them_in_the_store(adata, tmp_path):
    backed = keep(adata, "h5ad csr", tmp_path)
    got = isthmus.test_glm(isthmus.fit_glm(backed, "~ group"), "group[T.b]", method="lrt")
    wanted = isthmus.test_glm(isthmus.fit_glm(adata, "~ group"), "group[T.b]", method="lrt")
    pd.testing.assert_frame_equal(got, wanted)


TESTS = {
    "lrt": {"coef": "group[T.b]", "method": "lrt"},
    "score": {"coef": "age", "method": "score"},
    "qlf": {"coef": "group[T.b]", "method": "qlf"},
    "separated": {"coef": "group[T.b]"},
    "CR2": {"coef": "group[T.b]", "replicate": "donor"},
    "CR1 score": {"coef": "group[T.b]", "replicate": "donor", "sandwich": "CR1", "method": "score"},
    "pairs": {"pairwise": "group", "method": "lrt"},
    "reduced": {"reduced": "~ 1", "method": "lrt"},
}


@pytest.fixture
def never_whole(monkeypatch):
    """A stored matrix that is asked for as a whole is a failure."""

    def whole(_):
        pytest.fail("the stored matrix was read as a whole")

    monkeypatch.setattr(StoredMatrix, "whole", whole)
    monkeypatch.setattr(qlf, "_LEAST_GENES", 10)


def assert_same_tests(got: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", list(TESTS))
@pytest.mark.parametrize("kind", ["h5ad csr", "h5ad csc", "dask dense"])
def test_tests_read_stored_counts_in_ranges_of_genes(adata, kind, name, tmp_path, never_whole):
    own = adata.copy()
    own.obs["donor"] = np.resize([f"d{i}" for i in range(12)], N_CELLS)
    backed = keep(own, kind, tmp_path)
    wanted = isthmus.test_glm(isthmus.fit_glm(own, "~ group + age"), **TESTS[name])
    fit = isthmus.fit_glm(backed, "~ group + age")
    got = isthmus.test_glm(fit, **TESTS[name])
    assert_same_tests(got, wanted)
    assert {"all_zero", "ok"} <= set(got["status"])
    assert_same_tests(isthmus.test_glm(fit, **TESTS[name], data=backed, n_threads=2), wanted)


@pytest.mark.parametrize("dispersion", ["moments", "cox_reid", "trend"])
def test_quasi_likelihood_of_stored_counts(adata, dispersion, tmp_path, never_whole, monkeypatch):
    monkeypatch.setattr(trend, "_LEAST_GENES", 10)
    backed = keep(adata, "zarr csr", tmp_path)
    fits = [isthmus.fit_glm(data, "~ group", dispersion=dispersion) for data in (adata, backed)]
    wanted, got = (isthmus.test_glm(fit, "group[T.b]", method="qlf") for fit in fits)
    assert_same_tests(got, wanted)


def test_dispersions_of_stored_counts_are_tested(adata, tmp_path, never_whole):
    options = {"coef": "group[T.b]", "model": "dispersion", "method": "lrt"}
    backed = keep(adata, "h5ad dense", tmp_path)
    wanted, got = (isthmus.fit_glm(d, "~ group", dispersion_design="~ group") for d in (adata, backed))
    assert_same_tests(isthmus.test_glm(got, **options), isthmus.test_glm(wanted, **options))


def test_offsets_and_weights_are_cut_with_the_genes_of_a_test(adata, tmp_path, never_whole):
    rng = np.random.default_rng(3)
    both = {"offset": rng.normal(0, 0.2, adata.shape), "weights": rng.uniform(0.5, 2, adata.shape)}
    backed = keep(adata, "h5ad csc", tmp_path)
    wanted, got = (isthmus.fit_glm(d, "~ group", size_factors=None, **both) for d in (adata, backed))
    for method in ("lrt", "qlf"):
        tables = [isthmus.test_glm(fit, "group[T.b]", method=method, **both) for fit in (got, wanted)]
        assert_same_tests(*tables)


@pytest.mark.filterwarnings("ignore::isthmus.errors.ConvergenceWarning")  # groups of a gene that are zero throughout
@pytest.mark.parametrize("kind", KINDS)
def test_normal_fits_of_stored_values(adata, kind, tmp_path, never_whole):
    own = adata.copy()
    own.X = own.X.astype(float)
    own.X.data = np.log1p(own.X.data) - 1  # negative values too
    backed = keep(own, kind, tmp_path)
    options = {"noise_model": "normal", "dispersion_design": "~ group"}
    wanted, got = (isthmus.fit_glm(data, "~ group + age", **options) for data in (own, backed))
    assert_same_fit(got, wanted, rtol=1e-10)
    for method in ("wald", "lrt", "score"):
        tables = [isthmus.test_glm(fit, "group[T.b]", method=method) for fit in (got, wanted)]
        assert_same_tests(*tables)


@pytest.mark.parametrize("kind", ["h5ad csr", "dask dense"])
def test_missing_values_in_a_store_are_counted_and_placed(adata, kind, tmp_path):
    own = adata.copy()
    own.X = own.X.astype(float)
    own.X.data[[0, 7, -1]] = [np.nan, np.inf, -np.inf]
    backed = keep(own, kind, tmp_path)
    cell, gene = own.obs_names[0], own.var_names[own.X.indices[0]]
    with pytest.raises(
        InputError, match=rf"must be finite; got 3 missing or infinite values \(nan in .*{cell}.*{gene}"
    ):
        isthmus.fit_glm(backed, "~ 1", noise_model="normal")


@pytest.mark.parametrize("kind", KINDS)
def test_levels_of_stored_counts(adata, kind, tmp_path, never_whole):
    own = adata.copy()
    own.obs["type"] = np.random.default_rng(5).choice(["x", "y", "z"], N_CELLS, p=[0.6, 0.3, 0.1])
    backed = keep(own, kind, tmp_path)
    wanted, got = (isthmus.fit_glm(data, "~ group", by="type", size_factors=None) for data in (own, backed))
    pd.testing.assert_frame_equal(got.table("coefficients"), wanted.table("coefficients"), rtol=1e-10)
    for options in ({}, {"method": "lrt"}):
        assert_same_tests(
            isthmus.test_glm(got, "group[T.b]", **options), isthmus.test_glm(wanted, "group[T.b]", **options)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_pseudobulk_of_stored_counts(adata, kind, tmp_path, never_whole):
    wanted, got = (isthmus.pseudobulk(d, "group") for d in (adata, keep(adata, kind, tmp_path)))
    np.testing.assert_array_equal(got.X.toarray(), wanted.X.toarray())
    np.testing.assert_array_equal(wanted.X.toarray()[0], adata.X.toarray()[adata.obs["group"] == "a"].sum(axis=0))
    pd.testing.assert_frame_equal(got.obs, wanted.obs, check_dtype=False, check_categorical=False)


def test_an_object_that_r_holds_stays_stored(adata, tmp_path, never_whole):
    """What R sends of `fit_glm(backed, ~group)` and `test_glm(fit, 2)`: the object and an evaluated design."""
    x = np.column_stack([np.ones(N_CELLS), adata.obs["group"] == "b"]).astype(float)
    design = {"matrix": np.asfortranarray(x), "names": {"values": ["(Intercept)", "groupb"]}}
    constant = {"matrix": np.ones((N_CELLS, 1)), "names": {"values": "(Intercept)"}}
    columns = []
    for data in (adata, keep(adata, "h5ad csr", tmp_path)):
        fit = bridge.fit_glm(data, design, constant, size_factors=None)["value"]["fit"]
        answer = bridge.test_glm(fit, data, coef="groupb", method="lrt", n_threads=1.0)
        assert "error" not in answer
        columns.append(answer["value"])
        assert "error" not in bridge.pseudobulk(data, None, "group")
    np.testing.assert_allclose(columns[0]["stat"], columns[1]["stat"], rtol=1e-10)


def test_other_counts_in_a_store_are_not_those_of_the_fit(adata, tmp_path):
    fit = isthmus.fit_glm(adata, "~ group", size_factors=None)
    other = adata.copy()
    other.X[3, 2] += 1
    with pytest.raises(InputError, match="the means of 'g2' differ"):
        isthmus.test_glm(fit, "group[T.b]", method="lrt", data=keep(other, "h5ad csr", tmp_path))


@pytest.mark.parametrize("kind", ["h5ad csr", "h5ad csc", "dask tall"])
def test_bad_values_in_a_store_are_counted_and_placed(adata, kind, tmp_path):
    wrong = adata.copy()
    dense = wrong.X.toarray()
    dense[[3, 200], [2, 20]] = -1.0, -2.0
    wrong.X = sparse.csr_matrix(dense)
    text = r"`data` must be counts, zero or positive; got 2 negative values \(-1 in cell 'cell3', gene 'g2'\)"
    with pytest.raises(InputError, match=text):
        isthmus.fit_glm(keep(wrong, kind, tmp_path), "~ group", size_factors=None)


def test_fractional_values_in_a_store_are_told_once(adata, tmp_path):
    wrong = adata.copy()
    wrong.X = sparse.csr_matrix(wrong.X * np.float32(0.5))
    with collected() as wanted:
        isthmus.fit_glm(wrong, "~ group", size_factors=None)
    with collected() as got:
        isthmus.fit_glm(keep(wrong, "h5ad csr", tmp_path), "~ group", size_factors=None)
    assert "fractional values" in wanted[0]
    assert got == wanted

"""AnnData -> transport dict -> AnnData, without R: what R would send back is what it was sent."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata.tests.helpers import assert_equal
from hypothesis import HealthCheck, given, settings
from random_anndata import anndatas, assert_same
from scipy import sparse

from isthmus.data.convert import from_anndata, to_anndata

SHARED = Path(__file__).parents[3] / "shared" / "data"
FILES = sorted([*SHARED.glob("conversion/*.h5ad"), *SHARED.glob("kang18_muscat/*.h5ad")])

COUNTS = np.array([[0, 2, 0], [1, 0, 3], [0, 0, 0], [4, 5, 6]])
CELLS = [f"c{i}" for i in range(4)]


def cells(**columns) -> ad.AnnData:
    return ad.AnnData(sparse.csr_matrix(COUNTS, dtype=float), obs=pd.DataFrame(columns, index=CELLS))


def there_and_back(adata: ad.AnnData) -> ad.AnnData:
    wire, lost = from_anndata(adata)
    assert lost == []
    return to_anndata(wire)


MATRICES = {
    "none": None,
    "csr float64": sparse.csr_matrix(COUNTS, dtype="float64"),
    "csr float32": sparse.csr_matrix(COUNTS, dtype="float32"),
    "csr int64": sparse.csr_matrix(COUNTS, dtype="int64"),
    "csr int32": sparse.csr_matrix(COUNTS, dtype="int32"),
    "csr bool": sparse.csr_matrix(COUNTS, dtype=bool),
    "csc float64": sparse.csc_matrix(COUNTS, dtype="float64"),
    "csr_array": sparse.csr_array(COUNTS, dtype="float64"),
    "csc_array float32": sparse.csc_array(COUNTS, dtype="float32"),
    "dense float64": COUNTS.astype("float64"),
    "dense float32": COUNTS.astype("float32"),
    "dense fortran": np.asfortranarray(COUNTS, dtype="float64"),
    "dense int64": COUNTS.astype("int64"),
    "dense int32": COUNTS.astype("int32"),
    "dense uint8": COUNTS.astype("uint8"),
    "dense bool": COUNTS > 1,
    "dense text": np.array([["a", "b", "c"]] * 4, dtype=object),
}


@pytest.mark.parametrize("name", MATRICES)
def test_matrices_keep_their_type(name):
    adata = ad.AnnData(MATRICES[name], shape=(4, 3) if MATRICES[name] is None else None)
    if MATRICES[name] is not None:
        adata.layers["again"] = MATRICES[name].copy()
    back = there_and_back(adata)
    assert_equal(adata, back, exact=True)
    assert type(back.X) is type(adata.X)
    assert getattr(back.X, "dtype", None) == getattr(adata.X, "dtype", None)


def test_integers_that_a_double_cannot_hold_are_kept_as_bytes():
    big = np.array([[2**53 + 1, 1], [2, 3]])
    adata = ad.AnnData(big, layers={"sparse": sparse.csr_matrix(big)})
    assert_equal(adata, there_and_back(adata), exact=True)


COLUMNS = {
    "int64": np.arange(4),
    "int64 large": np.array([2**40, 1, 2, 3]),
    "int64 huge": np.array([2**62 + 1, 1, 2, 3]),
    "uint8": np.arange(4, dtype="uint8"),
    "float32": np.arange(4, dtype="float32"),
    "float nan": [1.0, np.nan, np.inf, -np.inf],
    "bool": [True, False, True, True],
    "Int64": pd.array([1, None, 3, 4], dtype="Int64"),
    "Int8": pd.array([1, None, 3, 4], dtype="Int8"),
    "Float32": pd.array([1.5, None, 3, 4], dtype="Float32"),
    "boolean": pd.array([True, None, False, True], dtype="boolean"),
    "boolean full": pd.array([True, True, False, True], dtype="boolean"),
    "text": ["a", "", "NA", "\u00e9"],
    "text none": ["a", None, "NA", "b"],
    "string": pd.array(["a", None, "", "d"], dtype="string"),
    "category": pd.Categorical(["a", "b", None, "a"], categories=["b", "a", "unused"]),
    "category ordered": pd.Categorical(["a", "b", "a", "a"], ordered=True),
    "category int": pd.Categorical([3, 1, 3, 2]),
    "category float": pd.Categorical([3.5, 1.0, 3.5, 2.0]),
    "category bool": pd.Categorical([True, False, True, True]),
    "datetime ns": pd.to_datetime(["2024-01-01 01:02:03.000004", None, "2024-01-02", "1969-12-31"], format="ISO8601"),
    "datetime zone": pd.to_datetime(["2024-07-01", None, "2024-01-02", "1969-12-31"]).tz_localize("Europe/Paris"),
    "datetime s": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-02", "1969-12-31"]).as_unit("s"),
    "nanoseconds": pd.to_datetime([1, 2, 3, 4]),
    "timedelta": pd.to_timedelta([1, 2, None, 4], unit="min"),
    "complex": [1 + 2j, 3, 4, 5],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_keep_their_type(name):
    adata = cells(v=COLUMNS[name])
    back = there_and_back(adata)
    pd.testing.assert_series_equal(back.obs["v"], adata.obs["v"])
    rows = [3, 1]
    if name not in ("int64 huge", "nanoseconds"):  # kept as bytes: they know no rows
        wire, _ = from_anndata(adata)
        assert_equal(to_anndata(wire)[rows].copy().obs, adata[rows].copy().obs, exact=True)


UNS = {
    "scalars": {"i": 1, "f": 1.5, "b": True, "s": "x", "n": None, "big": 2**40, "c": 1 + 2j},
    "numpy scalars": {"i": np.int64(3), "f": np.float32(1.5), "b": np.array([True])[0]},
    "arrays": {"i": np.arange(3), "f": np.ones(2, "float32"), "one": np.array([1.0]), "none": np.array([])},
    "two dimensions": {"m": np.arange(6).reshape(2, 3), "cube": np.arange(24.0).reshape(2, 3, 4)},
    "lists": {"t": ["a", "b"], "i": [1, 2], "one": ["a"], "mixed": [1, "a", None], "none": [], "tuple": (1, 2)},
    "nested": {"a": {"b": {"c": {}, "d": [1.5, 2.5]}}},
    "frame": {"df": pd.DataFrame({"x": np.arange(2), "y": ["a", "b"]}, index=["r1", "r2"])},
    "frame counted": {"df": pd.DataFrame({"x": np.arange(2, dtype="float32")})},
    "sparse": {"m": sparse.csr_matrix(COUNTS), "c": sparse.csc_matrix(COUNTS, dtype="float32")},
    "structured": {"r": np.array([(1, "a"), (2, "b")], dtype=[("x", "i8"), ("y", "O")])},
    "recarray": {"r": np.array([(1, 2.5), (2, 3.5)], dtype=[("x", "i8"), ("y", "f4")]).view(np.recarray)},
    "text arrays": {"o": np.array(["a", "b"], dtype=object), "u": np.array(["a", "bc"])},
    "nullable": {"i": pd.array([1, None], dtype="Int64"), "s": pd.array(["a", None], dtype="string")},
    "categorical": {"c": pd.Categorical(["a", "b", "a"])},
}


@pytest.mark.parametrize("name", UNS)
def test_uns_keeps_its_types(name):
    adata = cells()
    adata.uns.update(UNS[name])
    back = there_and_back(adata)
    assert list(back.uns) == list(adata.uns)
    assert_equal(adata, back, exact=True)
    for key, value in UNS[name].items():
        assert type(back.uns[key]) is type(value)
        assert getattr(back.uns[key], "dtype", None) == getattr(value, "dtype", None)


def everything() -> ad.AnnData:
    adata = cells(v=np.arange(4))
    adata.obs.index.name = "barcode"
    adata.var["gene"] = list("xyz")
    adata.obsm["X_pca"] = np.arange(8, dtype="float32").reshape(4, 2)
    adata.obsm["frame"] = pd.DataFrame({"a": np.arange(4), "b": list("wxyz")}, index=adata.obs_names)
    adata.obsm["sparse"] = sparse.csr_matrix(COUNTS)
    adata.varm["PCs"] = np.arange(6.0).reshape(3, 2)
    adata.obsp["distances"] = sparse.csr_matrix(np.triu(np.ones((4, 4))))
    adata.obsp["dense"] = np.arange(16.0).reshape(4, 4)
    adata.varp["corr"] = sparse.csc_matrix(np.eye(3), dtype="float32")
    adata.raw = ad.AnnData(
        sparse.csr_matrix(np.ones((4, 5), "float32")),
        obs=adata.obs[[]],
        var=pd.DataFrame({"n": np.arange(5)}, index=list("vwxyz")),
    )
    adata.uns["altExps"] = {"ADT": ad.AnnData(np.ones((4, 2)), obs=pd.DataFrame(index=adata.obs_names))}
    return adata


def test_every_slot_comes_back():
    adata = everything()
    back = there_and_back(adata)
    assert_equal(adata, back, exact=True)
    assert back.obs.index.name == "barcode"
    assert back.raw.X.dtype == "float32"
    assert_equal(adata.raw.to_adata(), back.raw.to_adata(), exact=True)


def test_alternatives_follow_the_cells():
    adata = everything()
    adata.raw = None
    adata.uns["altExps"]["ADT"].X[:] = np.arange(8).reshape(4, 2)
    back = there_and_back(adata[[2, 0]].copy())
    assert back.uns["altExps"]["ADT"].X.tolist() == [[4, 5], [0, 1]]


def test_nothing_is_transposed_or_copied():
    adata = cells()
    wire, _ = from_anndata(adata)
    node = wire["assays"]["items"][0]
    assert np.shares_memory(node["x"], adata.X.data)
    assert np.shares_memory(node["i"], adata.X.indices)
    assert np.shares_memory(to_anndata(wire).X.data, adata.X.data)
    dense = ad.AnnData(np.ones((4, 3)))
    wire, _ = from_anndata(dense)
    assert np.shares_memory(wire["assays"]["items"][0]["values"], dense.X)


def test_the_callers_object_is_not_changed():
    adata, before = everything(), everything()
    unsorted = sparse.csr_matrix((np.array([1.0, 2.0]), np.array([2, 0]), np.array([0, 2, 2, 2, 2])), shape=(4, 3))
    adata.layers["unsorted"] = unsorted
    back = there_and_back(adata)
    assert unsorted.indices.tolist() == [2, 0]
    assert back.layers["unsorted"].indices.tolist() == [0, 2]
    del adata.layers["unsorted"]
    assert_equal(adata, before, exact=True)


def test_a_backed_file_is_read_and_said(tmp_path):
    adata = cells(v=np.arange(4))
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    wire, lost = from_anndata(backed)
    assert lost == [f"X (backed by {tmp_path / 'a.h5ad'}): read into memory"]
    assert_equal(to_anndata(wire), ad.read_h5ad(tmp_path / "a.h5ad"), exact=True)
    backed.file.close()


def test_what_cannot_cross_is_named():
    adata = cells(interval=pd.cut(np.arange(4), 2))
    adata.uns["function"] = print
    adata.uns["deep"] = {"set": {1, 2}, "kept": 1}
    wire, lost = from_anndata(adata)
    assert len(lost) == 3
    assert lost[0] == "obs['interval']: the type category"
    assert lost[1:] == ["uns['function'] (builtin_function_or_method)", "uns['deep']['set'] (set)"]
    back = to_anndata(wire)
    assert back.obs["interval"].astype(str).tolist() == adata.obs["interval"].astype(str).tolist()
    assert back.uns == {"deep": {"kept": 1}}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_stored_files_come_back(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata about its own old formats
        adata = ad.read_h5ad(path)
    for key, value in adata.varm.items():  # assert_equal() holds NaN for different from itself
        adata.varm[key] = np.nan_to_num(value) if isinstance(value, np.ndarray) else value
    assert_equal(adata, there_and_back(adata), exact=True)


@pytest.mark.skipif(not FILES, reason="the files are in ../shared, which a plain clone does not have")
def test_all_the_stored_files_are_there():
    assert len(FILES) == 9


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(anndatas())
def test_random_objects_come_back(adata):
    wire, lost = from_anndata(adata)
    assert lost == []
    assert_same(to_anndata(wire), adata)

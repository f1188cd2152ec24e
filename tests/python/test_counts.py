"""Every form counts come in, every rule they must meet, and that reading neither copies nor changes what it need
not."""

import tracemalloc

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from isthmus.data import counts as module
from isthmus.data import matrix as matrix_module
from isthmus.data.counts import read_counts
from isthmus.data.sums import row_sums
from isthmus.errors import InputError
from isthmus.messages import collected

DENSE = np.array([[0, 3, 1], [1, 0, 0], [2, 5, 0], [0, 0, 7]])
CELLS = ["c1", "c2", "c3", "c4"]
GENES = ["A", "B", "C"]


def an_anndata(x=DENSE) -> anndata.AnnData:
    obs = pd.DataFrame({"condition": list("aabb")}, index=CELLS)
    return anndata.AnnData(sparse.csr_matrix(x.astype("float32")), obs=obs, var=pd.DataFrame(index=GENES))


FORMS = {
    "ndarray": DENSE,
    "int32": DENSE.astype("int32"),
    "uint8": DENSE.astype("uint8"),
    "float32": DENSE.astype("float32"),
    "fortran": np.asfortranarray(DENSE),
    "big endian": DENSE.astype(">f8"),
    "object": DENSE.astype(object),
    "strided": np.repeat(DENSE, 2, axis=0)[::2],
    "csr_matrix": sparse.csr_matrix(DENSE),
    "csc_matrix": sparse.csc_matrix(DENSE),
    "coo_matrix": sparse.coo_matrix(DENSE),
    "lil_matrix": sparse.lil_matrix(DENSE),
    "csr_array": sparse.csr_array(DENSE),
    "csc_array": sparse.csc_array(DENSE),
    "coo_array": sparse.coo_array(DENSE),
    "frame": pd.DataFrame(DENSE),
    "sparse frame": pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(DENSE)),
    "nullable frame": pd.DataFrame(DENSE).astype("Int64"),
    "frame of two types": pd.DataFrame(DENSE).astype({0: "float32"}),
    "masked": np.ma.masked_array(DENSE),
    "anndata": an_anndata(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_matrix(form):
    counts = read_counts(FORMS[form])
    assert isinstance(counts.matrix, sparse.csr_matrix)
    np.testing.assert_array_equal(counts.matrix.toarray(), DENSE)
    assert (counts.n_cells, counts.n_genes) == (4, 3)


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [("f4", "f4"), ("f8", "f8"), ("i4", "i4"), ("i8", "i8"), ("u2", "u2"), ("f2", "f8"), ("?", "f8"), (">i4", "f8")],
)
def test_dtypes_stay_where_the_kernel_can_take_them(dtype, kept):
    for build in (np.asarray, sparse.csr_matrix):
        if dtype in ("f2", ">i4") and build is sparse.csr_matrix:
            continue  # scipy itself does not hold these
        assert read_counts(build(np.array([[1, 0], [0, 1]], dtype=dtype))).matrix.dtype == np.dtype(kept)


def test_names_come_from_the_data_or_are_made():
    made = read_counts(DENSE)
    assert list(made.gene_names) == ["gene1", "gene2", "gene3"]
    assert list(made.cell_names) == ["cell1", "cell2", "cell3", "cell4"]
    assert not made.cells_named
    own = read_counts(pd.DataFrame(DENSE, index=CELLS, columns=GENES))
    assert list(own.gene_names) == GENES
    assert list(own.cell_names) == CELLS
    assert own.cells_named
    assert own.gene_names.dtype == object
    assert list(read_counts(DENSE, gene_names=[7, 8, 9]).gene_names) == ["7", "8", "9"]
    assert list(read_counts(DENSE, cell_data=pd.DataFrame({"x": range(4)}, index=CELLS)).cell_names) == CELLS


def test_anndata_parts():
    adata = an_anndata()
    adata.layers["raw"] = sparse.csc_matrix(DENSE * 2)
    adata.var["symbol"] = ["a", "b", "c"]
    adata.obs["size_factors"] = [1.0, 2.0, 0.5, 1.0]
    counts = read_counts(adata, layer="raw", gene_names="symbol")
    np.testing.assert_array_equal(counts.matrix.toarray(), DENSE * 2)
    assert list(counts.gene_names) == ["a", "b", "c"]
    np.testing.assert_array_equal(counts.stored_size_factors, [1.0, 2.0, 0.5, 1.0])
    assert list(counts.cell_data["condition"]) == list("aabb")
    adata.raw = adata.copy()
    raw = read_counts(adata.raw, cell_data=adata.obs)
    np.testing.assert_array_equal(raw.matrix.toarray(), DENSE)
    assert (list(raw.gene_names), list(raw.cell_names)) == (GENES, CELLS)
    assert read_counts(adata.raw).cell_data is None
    view = adata[["c3", "c1"]]
    np.testing.assert_array_equal(read_counts(view).matrix.toarray(), DENSE[[2, 0]])


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
def test_backed_anndata_is_read(tmp_path, kind):
    adata = an_anndata()
    adata.X = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[kind](DENSE.astype("f4"))
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    counts = read_counts(backed)
    np.testing.assert_array_equal(counts.matrix.toarray(), DENSE)
    assert list(counts.cell_names) == CELLS
    backed.file.close()


def test_a_file_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(matrix_module, "_BLOCK", 6)

    class Counting:
        to_read = DENSE
        shape = DENSE.shape
        read: list[slice] = []  # noqa: RUF012

        def __getitem__(self, rows):
            self.read.append(rows)
            return self.to_read[rows]

    monkeypatch.setattr(module, "_is_backed", lambda values: isinstance(values, Counting))
    np.testing.assert_array_equal(read_counts(Counting()).matrix.toarray(), DENSE)
    assert Counting.read == [slice(0, 2), slice(2, 4)]


def test_memory_mapped_and_hdf5_matrices_are_read(tmp_path):
    np.save(tmp_path / "a.npy", DENSE)
    np.testing.assert_array_equal(read_counts(np.load(tmp_path / "a.npy", mmap_mode="r")).matrix.toarray(), DENSE)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        np.testing.assert_array_equal(read_counts(file.create_dataset("x", data=DENSE)).matrix.toarray(), DENSE)


def test_csr_buffers_are_shared_and_left_alone():
    matrix = sparse.random(200, 50, density=0.2, format="csr", random_state=0)
    matrix.data = np.ceil(matrix.data * 5)
    before = [part.copy() for part in (matrix.data, matrix.indices, matrix.indptr)]
    counts = read_counts(matrix)
    for ours, theirs, saved in zip(
        (counts.matrix.data, counts.matrix.indices, counts.matrix.indptr),
        (matrix.data, matrix.indices, matrix.indptr),
        before,
        strict=True,
    ):
        assert np.shares_memory(ours, theirs)
        np.testing.assert_array_equal(theirs, saved)


def test_64_bit_indices_unsorted_rows_and_explicit_zeros():
    indices, indptr = np.array([2, 0, 1], dtype=np.int64), np.array([0, 2, 3], dtype=np.int64)
    matrix = sparse.csr_matrix((2, 3), dtype=float)
    matrix.data, matrix.indices, matrix.indptr = np.array([5.0, 0.0, 2.0]), indices, indptr
    counts = read_counts(matrix)
    np.testing.assert_array_equal(counts.matrix.toarray(), [[0, 0, 5], [0, 2, 0]])
    np.testing.assert_array_equal(indices, [2, 0, 1])
    assert counts.matrix.indices.dtype == np.int64
    assert counts.matrix.nnz == 3


@pytest.mark.parametrize("order", [[1, 1, 0], [0, 1, 1]])
def test_duplicated_entries_are_summed_in_a_copy(order):
    matrix = sparse.csr_matrix((np.array([1.0, 2.0, 4.0]), np.array(order), np.array([0, 3])), shape=(1, 2))
    counts = read_counts(matrix)
    assert counts.matrix.nnz == 2
    np.testing.assert_array_equal(matrix.indices, order)
    np.testing.assert_array_equal(matrix.data, [1.0, 2.0, 4.0])
    np.testing.assert_array_equal(counts.matrix.toarray(), matrix.toarray())


def test_duplicates_that_hide_a_negative_value_are_judged_by_their_sum():
    matrix = sparse.coo_matrix((np.array([3.0, -1.0]), (np.array([0, 0]), np.array([1, 1]))), shape=(1, 2))
    np.testing.assert_array_equal(read_counts(matrix).matrix.toarray(), [[0, 2]])


def test_reading_a_large_csr_takes_little_memory():
    matrix = sparse.random(20_000, 400, density=0.25, format="csr", random_state=1)
    matrix.data = np.ceil(matrix.data * 9)
    tracemalloc.start()
    read_counts(matrix)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert matrix.data.nbytes > 15e6
    # names of the cells, and blocks of a million values with their temporaries
    assert peak < 20e6


def test_dense_is_read_in_blocks(monkeypatch):
    monkeypatch.setattr(matrix_module, "_BLOCK", 4)
    dense = np.random.default_rng(0).poisson(0.7, size=(23, 3))
    counts = read_counts(dense)
    np.testing.assert_array_equal(counts.matrix.toarray(), dense)
    np.testing.assert_array_equal(row_sums(counts.matrix), dense.sum(axis=1))
    assert row_sums(read_counts(dense.astype("float32")).matrix).dtype == np.float64


def test_row_blocks_cover_every_row_once(monkeypatch):
    monkeypatch.setattr(matrix_module, "_BLOCK", 3)
    dense = np.zeros((40, 2), dtype=int)
    dense[[5, 6, 7, 30]] = 1
    blocks = list(matrix_module.row_blocks(sparse.csr_matrix(dense)))
    assert np.concatenate([np.arange(40)[rows] for rows in blocks]).tolist() == list(range(40))


def test_fractional_values_give_one_message():
    with collected() as texts:
        counts = read_counts(pd.DataFrame([[0.5, 1.0], [2.25, 0.0]], index=["x", "y"], columns=["A", "B"]))
    assert len(texts) == 1
    assert texts[0].startswith("`data` has fractional values (66.7 % of those stored; 0.5 in cell 'x', gene 'A').")
    np.testing.assert_array_equal(counts.matrix.toarray(), [[0.5, 1], [2.25, 0]])
    with collected() as texts:
        read_counts(DENSE.astype(float))
    assert texts == []


@pytest.mark.parametrize("build", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, pd.DataFrame])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.nan, r"Values of `data` must not be missing; got 1 missing value \(nan in cell 'cell2', gene 'gene3'\)"),
        (-2.0, r"`data` must be counts, zero or positive; got 1 negative value \(-2 in cell 'cell2', gene 'gene3'\)"),
        (np.inf, r"`data` must be finite; got 1 infinite value \(inf in cell 'cell2', gene 'gene3'\)"),
        (2.0**31, r"`data` must be below 2\^31; got 1 too large value \(2.14748e\+09 in cell 'cell2', gene 'gene3'\)"),
    ],
)
def test_values_that_are_no_counts(build, value, text):
    bad = DENSE.astype(float)
    bad[1, 2] = value
    with pytest.raises(InputError, match=text):
        read_counts(build(bad))


def test_missing_values_of_nullable_and_masked_data():
    frame = pd.DataFrame(DENSE).astype("Int64")
    frame.iloc[0, 0] = pd.NA
    masked = np.ma.masked_array(DENSE, mask=DENSE == 5)
    for bad in (frame, masked, frame.astype(object).where(frame.notna(), None).to_numpy()):
        with pytest.raises(InputError, match="must not be missing; got 1 missing value"):
            read_counts(bad)
    with pytest.raises(InputError, match=r"below 2\^31"):
        read_counts(np.array([[2**31, 1]]))
    with pytest.raises(InputError, match="must be counts, zero or positive"):
        read_counts(np.array([[-1, 1]], dtype="int8"))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (np.empty((0, 3)), r"at least one cell; got 0 cells x 3 genes"),
        (np.empty((3, 0)), r"at least one gene; got 3 cells x 0 genes"),
        (sparse.csr_matrix((0, 0)), r"at least one cell"),
        (np.arange(3), r"two dimensions, cells x genes; got 1"),
        ([[1, 2]], r"`data` must be an AnnData.*; got list"),
        ("counts.h5ad", r"`data` must be an AnnData.*; got str"),
        (None, r"`data` must be an AnnData.*; got NoneType"),
        (np.array([["a", "b"]]), r"`data` must hold numbers; got values of type <U1"),
        (np.array([["a", 1]], dtype=object), r"`data` must hold numbers; got values of type object"),
        (np.array([[1j]]), r"`data` must hold numbers; got values of type complex128"),
        (
            pd.DataFrame({"A": [1], "cond": ["x"], "day": ["y"]}),
            r"numbers only; got 2 columns of another type \('cond', 'day'\). Keep the genes",
        ),
    ],
)
def test_what_is_no_matrix_of_counts(data, text):
    with pytest.raises(InputError, match=text):
        read_counts(data)


def test_broken_sparse_matrices_are_refused():
    for indices, indptr in (([0, 9], [0, 1, 2]), ([0, -1], [0, 1, 2]), ([0, 1], [0, 2, 1])):
        matrix = sparse.csr_matrix((2, 3), dtype=float)
        matrix.data, matrix.indices, matrix.indptr = np.ones(2), np.array(indices), np.array(indptr)
        with pytest.raises(InputError, match="valid sparse matrix; its `indptr` and `indices` do not fit"):
            read_counts(matrix)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["A", "B"], r"`gene_names` must have one name per gene \(n_genes = 3\); got 2"),
        (["A", "B", "A"], r"must be unique; got 1 duplicated name \('A'\)"),
        (["A", None, "C"], r"must not be missing; got 1 missing name \(genes number 2\)"),
        (["A", np.nan, "C"], r"must not be missing; got 1 missing name \(genes number 2\)"),
        (["A", "", "C"], r"must not be missing; got 1 missing name"),
        ("symbol", r"works only for an AnnData's `var`"),
    ],
)
def test_gene_names_must_be_usable(names, text):
    with pytest.raises(InputError, match=text):
        read_counts(DENSE, gene_names=names)


def test_anndata_names_and_layers_that_do_not_fit():
    adata = an_anndata()
    with pytest.raises(InputError, match=r"`layer` must be a layer of `data`; got 'raw'. The layers are: none"):
        read_counts(adata, layer="raw")
    with pytest.raises(InputError, match=r"`layer` names a layer of an AnnData; got ndarray"):
        read_counts(DENSE, layer="raw")
    with pytest.raises(InputError, match=r"`gene_names` must be a column of `data.var`.*got 'symbol'"):
        read_counts(adata, gene_names="symbol")
    with pytest.raises(InputError, match=r"`data` has no X. Pass `layer`; the layers are: none"):
        read_counts(anndata.AnnData(obs=adata.obs, var=adata.var))
    adata.var_names = ["A", "A", "B"]
    with pytest.raises(InputError, match=r"1 duplicated name \('A'\). Use `adata.var_names_make_unique"):
        read_counts(adata)


def test_cell_data_is_matched_by_name():
    frame = pd.DataFrame(DENSE, index=CELLS, columns=GENES)
    shuffled = pd.DataFrame({"x": [4, 2, 3, 1]}, index=["c4", "c2", "c3", "c1"])
    assert list(read_counts(frame, cell_data=shuffled).cell_data["x"]) == [1, 2, 3, 4]
    assert list(read_counts(an_anndata(), cell_data=shuffled).cell_data["x"]) == [1, 2, 3, 4]
    by_position = shuffled.reset_index(drop=True)
    assert list(read_counts(frame, cell_data=by_position).cell_data["x"]) == [4, 2, 3, 1]
    assert list(read_counts(DENSE, cell_data=shuffled).cell_names) == ["c4", "c2", "c3", "c1"]
    assert list(read_counts(DENSE, cell_data={"x": [1, 2, 3, 4]}).cell_data["x"]) == [1, 2, 3, 4]
    filtered = pd.DataFrame({"x": [1, 2, 3, 4]}, index=[3, 5, 8, 9])
    assert list(read_counts(frame, cell_data=filtered).cell_data["x"]) == [1, 2, 3, 4]


def test_the_numbers_of_an_anndata_without_names_are_not_compared():
    adata = anndata.AnnData(sparse.csr_matrix(DENSE))
    counts = read_counts(adata, cell_data=pd.DataFrame({"x": [1, 2, 3, 4]}, index=CELLS))
    assert list(counts.cell_data["x"]) == [1, 2, 3, 4]
    assert list(counts.cell_names) == ["0", "1", "2", "3"]
    assert not counts.cells_named


def test_cell_data_that_does_not_fit():
    frame = pd.DataFrame(DENSE, index=CELLS, columns=GENES)
    with pytest.raises(InputError, match=r"one row per cell \(n_cells = 4\); got 5 rows. Drop the filtered cells"):
        read_counts(frame, cell_data=pd.DataFrame({"x": range(5)}))
    with pytest.raises(InputError, match=r"row names of `cell_data` must be the names of the cells; got 1 cell"):
        read_counts(frame, cell_data=pd.DataFrame({"x": range(4)}, index=["c1", "c2", "c3", "other"]))
    with pytest.raises(InputError, match="duplicated names in another order"):
        read_counts(
            pd.DataFrame(DENSE, index=["a", "a", "b", "c"]),
            cell_data=pd.DataFrame({"x": range(4)}, index=["a", "b", "a", "c"]),
        )
    with pytest.raises(InputError, match=r"`cell_data` must be a DataFrame with one row per cell; got list"):
        read_counts(frame, cell_data=[1, 2, 3, 4])
    with pytest.raises(InputError, match=r"Cell names of `data` must not be missing; got 1 missing name \(rows 2\)"):
        read_counts(pd.DataFrame(DENSE, index=["a", None, "b", "c"]))


def test_duplicated_cell_names_are_allowed():
    assert list(read_counts(pd.DataFrame(DENSE, index=["a", "a", "b", "c"])).cell_names) == ["a", "a", "b", "c"]


def test_a_transposed_matrix_is_recognised():
    cells = pd.DataFrame({"x": range(4)}, index=CELLS)
    text = r"`data` must be cells x genes; got 3 rows x 4 columns, and {}. It looks transposed: pass `data.T`."
    with pytest.raises(InputError, match=text.format("`cell_data` has 4 rows")):
        read_counts(DENSE.T, cell_data=cells)
    with pytest.raises(InputError, match=text.format("`gene_names` has 3 names")):
        read_counts(DENSE.T, gene_names=GENES)
    square = pd.DataFrame(np.ones((3, 3)), index=GENES, columns=CELLS[:3])
    with pytest.raises(InputError, match="the row names of `cell_data` are the column names of `data`"):
        read_counts(square, cell_data=cells.iloc[:3])


def test_lazy_arrays_are_named_with_their_remedy():
    class Lazy:
        shape, dask = (2, 2), {}

    with pytest.raises(InputError, match=r"Convert it with `.compute\(\)`"):
        read_counts(Lazy())

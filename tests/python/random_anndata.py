"""Random AnnData objects of every kind of slot, for hypothesis and for the slow tests."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import strategies as st
from scipy import sparse

NUMBERS = ["float64", "float32", "int64", "int32", "uint8", "bool"]
CLASSES = [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array]
COLUMNS = ["float64", "float32", "int64", "int32", "bool", "Int64", "Int32", "boolean", "Float64", "string", "text"]
COLUMNS += ["category", "ordered", "category int", "datetime64[ns]", "datetime64[s]", "zone", "timedelta64[ns]"]


def matrix(draw, n: int, m: int):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.integers(0, 4, (n, m)) * (rng.random((n, m)) < 0.5)
    return draw(st.sampled_from(CLASSES))(values.astype(draw(st.sampled_from(NUMBERS))))


def column(draw, n: int):
    kind = draw(st.sampled_from(COLUMNS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    numbers, missing = rng.integers(-(2**33), 2**33, n), rng.random(n) < 0.3
    texts = np.array(["a", "", "NA", "\u00e9", "None"], dtype=object)[numbers % 5]
    if kind in ("text", "string"):
        texts[missing] = None
        return texts if kind == "text" else pd.array(texts, dtype="string")
    if kind == "category int":
        return pd.Categorical(numbers % 3)
    if kind in ("category", "ordered"):
        return pd.Categorical(texts, ordered=kind == "ordered", categories=["\u00e9", "a", "", "NA", "None", "unused"])
    if kind == "bool":
        return numbers % 2 == 0
    if kind == "boolean":
        return pd.arrays.BooleanArray(numbers % 2 == 0, missing)
    if kind in ("Int64", "Int32"):
        return pd.arrays.IntegerArray((numbers % 1000).astype(kind.lower()), missing)
    if kind == "Float64":
        return pd.arrays.FloatingArray(numbers / 7, missing)
    if kind == "zone":
        return pd.DatetimeIndex(numbers.astype("datetime64[s]")).tz_localize("UTC").tz_convert("Asia/Tokyo")
    if kind.startswith(("datetime", "timedelta")):
        times = numbers.astype(kind.replace("[ns]", "[s]")).astype(kind)
        times[missing] = "NaT"
        return pd.Series(times)
    values = numbers.astype(kind) if kind != "int32" else (numbers % 2**31).astype(kind)
    if values.dtype.kind == "f":
        values[missing] = np.nan
    return values


def frame(draw, index: pd.Index) -> pd.DataFrame:
    n_columns = draw(st.integers(0, 3))
    columns = {f"v{j}": pd.Series(column(draw, len(index))).set_axis(index) for j in range(n_columns)}
    return pd.DataFrame(columns, index=index)


def unstructured(draw, depth: int = 0):
    kinds = ["int", "float", "text", "none", "array", "texts", "list", "sparse", "frame"] + ["dict"] * (depth < 2)
    kind = draw(st.sampled_from(kinds))
    if kind == "dict":
        return {f"k{i}": unstructured(draw, depth + 1) for i in range(draw(st.integers(0, 3)))}
    makers = {
        "int": lambda: draw(st.integers(-(2**40), 2**40)),
        "float": lambda: draw(st.floats(allow_nan=False)),
        "text": lambda: draw(st.text("ab\u00e9 ", max_size=3)),
        "none": lambda: None,
        "array": lambda: np.arange(draw(st.integers(0, 3))).astype(draw(st.sampled_from(NUMBERS))),
        "texts": lambda: np.array(draw(st.lists(st.text("ab", max_size=2), max_size=3)), dtype=object),
        "list": lambda: draw(st.lists(st.integers(0, 9), max_size=3)),
        "sparse": lambda: sparse.csr_matrix(np.eye(draw(st.integers(1, 3)))),
        "frame": lambda: frame(draw, pd.RangeIndex(draw(st.integers(0, 3)))),
    }
    return makers[kind]()


@st.composite
def anndatas(draw) -> ad.AnnData:
    n, m = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    cells, genes = (
        pd.Index([f"{letter}{i}" for i in range(size)], dtype=object) for letter, size in (("c", n), ("g", m))
    )
    adata = ad.AnnData(
        matrix(draw, n, m) if draw(st.booleans()) else None, obs=frame(draw, cells), var=frame(draw, genes)
    )
    some = st.integers(0, 2)
    for i in range(draw(some)):
        adata.layers[f"l{i}"] = matrix(draw, n, m)
    for i in range(draw(some)):
        adata.obsm[f"m{i}"] = matrix(draw, n, draw(st.integers(1, 3))) if draw(st.booleans()) else frame(draw, cells)
        adata.varm[f"w{i}"] = matrix(draw, m, draw(st.integers(1, 3)))
    for i in range(draw(some)):
        adata.obsp[f"p{i}"] = matrix(draw, n, n)
    if adata.X is not None and draw(st.booleans()):
        adata.raw = ad.AnnData(matrix(draw, n, 3), obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=list("xyz")))
    adata.uns.update({f"u{i}": unstructured(draw) for i in range(draw(st.integers(0, 3)))})
    return adata


def assert_same(a: ad.AnnData, b: ad.AnnData) -> None:
    """assert_equal(), where NaN and NaT are equal to themselves, and dtypes and classes count."""
    from isthmus.data.likeness import same

    assert a.shape == b.shape
    assert same(a.obs, b.obs)
    assert same(a.var, b.var)
    assert (a.X is None) == (b.X is None)
    for slot in ("layers", "obsm", "varm", "obsp", "varp"):
        ours, theirs = dict(getattr(a, slot)), dict(getattr(b, slot))
        assert ours.keys() == theirs.keys(), slot
        for key in ours:
            assert matrices_same(ours[key], theirs[key]), (slot, key)
    assert a.X is None or matrices_same(a.X, b.X)
    assert same(dict(a.uns), dict(b.uns))
    assert (a.raw is None) == (b.raw is None)
    assert a.raw is None or (matrices_same(a.raw.X, b.raw.X) and same(a.raw.var, b.raw.var))


def matrices_same(a, b) -> bool:
    from isthmus.data.likeness import same

    if type(a) is not type(b) or getattr(a, "shape", 0) != getattr(b, "shape", 0):
        return False
    return same(a.toarray(), b.toarray()) if sparse.issparse(a) else same(a, b)

"""What R sends and what it gets back, seen from the Python side (tests/testthat sees it from R's)."""

import warnings

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus import bridge
from isthmus.bridge import answers
from isthmus.bridge.plain import as_columns, as_plain
from isthmus.bridge.wire import read_frame, read_matrix, read_names


def r_counts(n_genes=6, n_cells=30, seed=1):
    """The slots of a genes x cells dgCMatrix as reticulate hands them over."""
    adata = isthmus.simulate_counts(n_cells, n_genes, seed=seed)
    matrix = adata.X.tocsr()
    return adata, {
        "kind": "column",
        "p": matrix.indptr,
        "i": matrix.indices,
        "x": matrix.data,
        "dim": np.array([n_genes, n_cells], dtype=np.int32),
        "genes": {"values": list(adata.var_names), "missing": None},
        "cells": {"values": list(adata.obs_names), "missing": None},
    }


def r_intercept(n_cells=30):
    """The intercept of R's model.matrix: a formula's design with an empty frame, which R sends as an empty list."""
    return {
        "matrix": np.asfortranarray(np.ones((n_cells, 1))),
        "names": {"values": "(Intercept)", "missing": None},
        "formula": "~1",
        "terms": {"(Intercept)": np.array([0], dtype=np.int32)},
        "frame": {"columns": [], "n": n_cells, "rows": None},
        "removed": [],
    }


def test_a_fit_through_the_bridge_is_the_fit():
    adata, counts = r_counts()
    answer = bridge.fit_glm(counts, r_intercept(), r_intercept(), size_factors=None, max_iter=50.0, n_threads=1.0)
    fit = isthmus.fit_glm(adata, "~ 1", size_factors=None, max_iter=50)
    assert answer["warnings"] == []
    assert (answer["value"]["fit"].log_likelihood == fit.log_likelihood).all()
    assert answer["value"]["state"]["mean_names"] == ["(Intercept)"]
    assert answer["value"]["facts"]["n_free"] == 2


def test_messages_are_handed_over_and_not_shown(caplog):
    _, counts = r_counts()
    answer = bridge.fit_glm(counts, r_intercept(), r_intercept())
    assert any("`size_factors`" in text for text in answer["messages"])
    assert caplog.records == []


def test_an_input_error_is_a_value_in_words_of_r():
    _, counts = r_counts()
    counts["dim"] = np.array([6, 30], dtype=np.int32)
    answer = bridge.fit_glm(counts, r_intercept(6), r_intercept(6))
    assert answer["error"]["class"] == "isthmus_input_error"
    assert "pass `t(data)`" in answer["error"]["message"]


def test_a_bug_passes_through():
    with pytest.raises(KeyError, match="kind"):
        bridge.fit_glm({"dim": [1, 1]}, r_intercept(), r_intercept())


def test_a_convergence_warning_is_a_value_and_other_warnings_stay_warnings():
    _, counts = r_counts()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = bridge.fit_glm(counts, r_intercept(), r_intercept(), size_factors=None, max_iter=1)
    assert "max_iter" in answer["warnings"][0]


@answers.answers
def _warns():
    warnings.warn("of a library", UserWarning, stacklevel=1)


def test_a_library_warning_is_not_swallowed():
    with pytest.warns(UserWarning, match="of a library"):
        assert _warns()["warnings"] == []


def test_state_rebuilds_the_fit_from_what_r_sends_back():
    _, counts = r_counts()
    value = bridge.fit_glm(counts, r_intercept(), r_intercept(), size_factors=None)["value"]
    sent = {
        name: np.asfortranarray(item) if isinstance(item, np.ndarray) and item.ndim > 1 else item
        for name, item in value["state"].items()
    }
    sent = {name: item.astype(float) if name == "n_iter" else item for name, item in sent.items()}
    again = bridge.restore(sent)["value"]
    pd.testing.assert_frame_equal(again.table("coefficients"), value["fit"].table("coefficients"), check_exact=True)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (2**31, float(2**31)),
        (7, 7),
        (True, True),
        (np.int64(2**40), float(2**40)),
        (np.float64(0.5), 0.5),
        (np.array(["a", "b"], dtype=object), ["a", "b"]),
        ({1: np.array("x")}, {"1": "x"}),
    ],
)
def test_nothing_crosses_that_r_would_change(value, plain):
    found = as_plain(value)
    assert found == plain
    assert type(found) is type(plain)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32])
def test_arrays_cross_as_double(dtype):
    assert as_plain(np.ones(2, dtype=dtype)).dtype == np.float64


def test_columns_keep_missing_text_and_levels():
    frame = pd.DataFrame(
        {
            "text": ["b", None, "b"],
            "level": pd.Categorical(["u", None, "v"], categories=["v", "u"], ordered=True),
            "flag": [True, False, True],
            "count": np.array([1, 2, 3], dtype=np.int64),
        }
    )
    columns = as_columns(frame)
    assert columns["text"]["levels"] == ["b"]
    assert columns["text"]["codes"].tolist() == [0, -1, 0]
    assert columns["level"] | {"codes": columns["level"]["codes"].tolist()} == {
        "kind": "ordered",
        "codes": [1, -1, 0],
        "levels": ["v", "u"],
    }
    assert columns["flag"].dtype == bool
    assert columns["count"].dtype == np.float64


def test_columns_of_r_keep_missing_values():
    wire = {
        "columns": {
            "text": {"kind": "text", "codes": np.array([0, -1]), "levels": "a"},
            "flag": {"kind": "logical", "codes": np.array([1, -1]), "levels": []},
            "full": {"kind": "logical", "codes": np.array([1, 0]), "levels": []},
            "number": {"kind": "number", "values": np.array([1.0, np.nan])},
            "factor": {"kind": "factor", "codes": np.array([1, -1]), "levels": ["x", "y"], "ordered": False},
        },
        "n": 2,
        "rows": {"values": ["r1", "r2"], "missing": None},
    }
    frame = read_frame(wire)
    assert frame.isna().sum().to_dict() == {"text": 1, "flag": 1, "full": 0, "number": 1, "factor": 1}
    assert frame["full"].dtype == bool
    assert frame.loc["r1", "flag"] is True
    assert list(frame["factor"].cat.categories) == ["x", "y"]


def test_missing_names_are_missing():
    names = read_names({"values": ["a", "NA"], "missing": np.array([False, True])})
    assert names.tolist() == ["a", None]


def test_matrices_are_views_of_what_r_sent():
    dense = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    found = read_matrix({"kind": "dense", "x": dense, "dim": [2, 3]})
    assert found.shape == (3, 2)
    assert np.shares_memory(found, dense)
    _, counts = r_counts()
    assert np.shares_memory(read_matrix(counts).data, counts["x"])


@pytest.mark.parametrize("where", ["cpp", "python"])
def test_spin_ends_by_itself(where):
    assert bridge.spin(0.01, where=where)["value"] is None


def test_info_names_the_kernel():
    value = bridge.info()["value"]
    assert value["version"] == isthmus.__version__
    assert value["kernel"] in {"avx512", "avx2", "baseline", "reference"}

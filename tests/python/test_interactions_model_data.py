"""Cells in space in every form, and the sentence for each that does not fit."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from interaction_cases import tissue
from scipy import sparse

from isthmus import messages
from isthmus.data.counts import read_counts
from isthmus.data.covariates import column_names, encode
from isthmus.data.spatial import read_tissue
from isthmus.errors import InputError


@pytest.fixture
def adata():
    return tissue(60, 5, seed=1)


def test_every_form_gives_the_same_cells(adata):
    x, obs, places = adata.X, adata.obs, adata.obsm["spatial"]
    frame = adata.to_df()
    forms = [
        read_tissue(adata, labels="kind"),
        read_tissue(AnnData(sparse.csc_matrix(x), obs=obs, obsm={"xy": places}), labels="kind", coordinates="xy"),
        read_tissue(adata, labels=obs["kind"], coordinates=places),
        read_tissue(frame, labels=obs["kind"].tolist(), coordinates=pd.DataFrame(places, index=frame.index)),
        read_tissue(np.asfortranarray(x), labels=np.array(obs["kind"]), coordinates=places.tolist()),
        read_tissue(AnnData(obs=obs, layers={"z": x}), labels="kind", layer="z", coordinates=places),
    ]
    for form in forms:
        np.testing.assert_array_equal(form.expression.toarray(), x)
        np.testing.assert_array_equal(form.type_codes, forms[0].type_codes)
        np.testing.assert_array_equal(form.coordinates, places)
        assert (form.types, form.samples) == (("a", "b", "c"), ("all",))
        assert form.expression.dtype == np.float32


def test_columns_can_hold_the_places(adata):
    adata.obs[["x", "y"]] = adata.obsm["spatial"]
    found = read_tissue(adata, labels="kind", coordinates=["x", "y"])
    np.testing.assert_array_equal(found.coordinates, adata.obsm["spatial"])


def test_frames_and_series_go_by_the_names_of_the_cells(adata):
    turned = adata.obs_names[::-1]
    places = pd.DataFrame(adata.obsm["spatial"], index=adata.obs_names).loc[turned]
    found = read_tissue(
        adata, labels=adata.obs["kind"].loc[turned], coordinates=places, covariates=adata.obs[["depth"]][::-1]
    )
    plain = read_tissue(adata, labels="kind", covariates="depth")
    np.testing.assert_array_equal(found.type_codes, plain.type_codes)
    np.testing.assert_array_equal(found.coordinates, plain.coordinates)
    np.testing.assert_array_equal(found.covariates, plain.covariates)


def test_the_callers_object_stays_and_the_fits_copy_is_its_own(adata):
    adata.X = sparse.csr_matrix(adata.X)
    before = adata.copy()
    found = read_tissue(adata, labels="kind", sample="section")
    found.expression.data[:] = 0
    np.testing.assert_array_equal(adata.X.toarray(), before.X.toarray())
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert list(adata.obsm) == list(before.obsm)


def test_unused_levels_are_no_types(adata):
    kept = adata[adata.obs["kind"] != "b"]
    labels = pd.Categorical(kept.obs["kind"].tolist(), categories=["c", "b", "a"])
    assert read_tissue(kept, labels=labels).types == ("c", "a")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"labels": "knid"}, r"`labels` must be a column.*got 'knid'. Did you mean `kind`\?"),
        ({"labels": ["a", "b"]}, r"`labels` must be a column.*one value per cell \(n_cells = 60\); got 2"),
        ({"labels": [None] + ["a"] * 59}, r"`labels` must not be missing; got 1 cell \('cell-0'\) without"),
        ({"labels": np.ones((60, 2))}, r"`labels` must be a column of the cells' data or have one value per cell"),
        ({"coordinates": "spatail"}, r"`coordinates` must be a key of `obsm`.*Did you mean `spatial`\?"),
        (
            {"coordinates": np.ones((59, 2))},
            r"`coordinates` must be cells x 2 or 3 \(n_cells = 60\); got shape \(59, 2\)",
        ),
        ({"coordinates": np.ones((60, 4))}, r"`coordinates` must be cells x 2 or 3.*got shape \(60, 4\)"),
        ({"coordinates": np.full((60, 2), np.nan)}, r"`coordinates` must be finite; got 60 cells \('cell-0'"),
        ({"coordinates": [["a", "b"]] * 60}, "`coordinates` must be numbers"),
        ({"coordinates": ["depth", "y"]}, r"`coordinates` must be a column of the cells' data.*got 'y'"),
        ({"sample": "donor"}, r"`sample` must be a column.*got 'donor'"),
        ({"covariates": "age"}, r"`covariates` must be a column.*got 'age'"),
        ({"covariates": pd.DataFrame({"age": [1, 2]})}, r"`covariates` must have one row per cell.*got 2 rows"),
        ({"covariates": [1, 2]}, "`covariates` must name columns of the cells' data or be a DataFrame"),
        ({"covariates": pd.DataFrame({"age": [np.nan] * 60})}, r"`covariates` must not be missing.*without 'age'"),
        ({"covariates": pd.DataFrame({"age": [np.inf] * 60})}, r"`covariates` must be finite; 'age' is not"),
        ({"cell_radius": -1}, r"`cell_radius` must be 0 or more; got 60 cells"),
        ({"cell_radius": "kind"}, r"`cell_radius` must hold numbers; got values of type category"),
        ({"layer": "logs"}, r"`layer` must be a layer of `data`; got 'logs'"),
    ],
)
def test_what_does_not_fit_has_its_sentence(adata, change, match):
    with pytest.raises(InputError, match=match):
        read_tissue(adata, **({"labels": "kind"} | change))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_values_must_be_finite_in_float32(adata, value):
    x = adata.X.astype(float)
    x[3, 2] = value
    with pytest.raises(InputError, match=r"Values of `data` must be finite; got 1 value.*cell 'cell-3', gene 'g2'"):
        read_tissue(AnnData(x, obs=adata.obs, var=adata.var, obsm=adata.obsm), labels="kind")


def test_names_of_cells_must_be_unique(adata):
    adata.obs_names = ["x", *adata.obs_names[:-1]]
    names = adata.obs_names.to_list()
    names[5] = "x"
    adata.obs_names = names
    with pytest.raises(InputError, match=r"Cell names of `data` must be unique.*1 duplicated name \('x'\)"):
        read_tissue(adata, labels="kind")


def test_raw_counts_are_told(adata):
    counts = AnnData(np.round(np.abs(adata.X) * 40), obs=adata.obs, obsm=adata.obsm)
    with messages.collected() as texts:
        read_tissue(counts, labels="kind")
    assert len(texts) == 1
    assert "look like raw counts" in texts[0]
    with messages.collected() as texts:
        read_tissue(adata, labels="kind")
    assert texts == []


# ---- covariates -----------------------------------------------------------------------------------------------------


def cells(**columns):
    frame = pd.DataFrame(columns)
    return read_counts(np.ones((len(frame), 1)), cell_data=frame)


def test_numbers_are_standardised_and_categories_become_indicators():
    counts = cells(depth=[1.0, 3.0, 5.0], batch=["y", "x", "z"], old=[True, False, True])
    matrix, encodings = encode(["depth", "batch", "old"], counts)
    assert column_names(encodings) == ["depth", "batch=y", "batch=z", "old=True"]
    np.testing.assert_allclose(matrix[:, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)], rtol=1e-6)
    assert matrix[:, 1:].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 1]]


def test_other_cells_are_encoded_as_the_first():
    _, encodings = encode(["depth", "batch"], cells(depth=[0.0, 2.0], batch=["x", "y"]))
    matrix, _ = encode(["depth", "batch"], cells(depth=[5.0], batch=["y"]), encodings)
    assert matrix.tolist() == [[4.0, 1.0]]


def test_a_constant_number_is_zero():
    assert encode("depth", cells(depth=[2.0, 2.0]))[0].tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (None, r"must be those of the fit \('batch'\); got none"),
        (["batch", "depth"], r"must be those of the fit \('batch'\); got 'batch', 'depth'"),
        (pd.DataFrame({"batch": ["x", "w"]}), r"'batch' has 1 level that it had not \('w'; 1 cell"),
    ],
)
def test_covariates_of_other_cells_must_be_the_same(given, match):
    counts = cells(batch=["x", "y"], depth=[0.0, 1.0])
    _, encodings = encode("batch", counts)
    with pytest.raises(InputError, match=match):
        encode(given, counts, encodings)


def test_text_where_the_fit_had_numbers_is_an_error():
    _, encodings = encode("depth", cells(depth=[0.0, 1.0]))
    with pytest.raises(InputError, match=r"must be those of the fit, where 'depth' holds numbers"):
        encode("depth", cells(depth=["a", "b"]), encodings)

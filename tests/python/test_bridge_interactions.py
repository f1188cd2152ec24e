"""What R sends of a tissue and what it gets back, seen from Python; R's side: tests/testthat/test-interactions.R."""

import os
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import isthmus
from isthmus import bridge
from isthmus.bridge.interaction import option_of_r, per_cell_of_r
from isthmus.bridge.torch_in_r import import_torch
from isthmus.interaction import contributions
from isthmus.testing import simulate_interactions

OPTIONS = {"n_neighbors": 5.0, "folds": 2.0, "max_epochs": 2.0, "head_size": 4.0, "n_heads": 2.0}


def names(values):
    return {"values": list(values), "missing": None}


def r_tissue(adata):
    """A dgCMatrix of R, genes x cells, and the columns of its cells."""
    rows = sparse.csr_matrix(adata.X).astype(float)
    data = {"kind": "column", "p": rows.indptr, "i": rows.indices, "x": rows.data, "dim": list(rows.shape[::-1])}
    kind = adata.obs["cell_type"].cat
    column = {"kind": "factor", "codes": kind.codes.to_numpy(), "levels": list(kind.categories)}
    cells = {"columns": {"cell_type": column}, "n": adata.n_obs, "rows": names(adata.obs_names)}
    return data | {"genes": names(adata.var_names), "cells": names(adata.obs_names)}, cells


def r_places(adata):
    return {"kind": "labelled", "values": adata.obsm["spatial"], "rows": names(adata.obs_names), "columns": None}


@pytest.fixture(scope="module")
def tissue():
    return simulate_interactions(200, 10, seed=4)


@pytest.fixture(scope="module")
def value(tissue):
    answer = bridge.fit_interactions(
        *r_tissue(tissue), labels="cell_type", coordinates=r_places(tissue), options=OPTIONS, progress=False
    )
    return answer["value"]


def test_a_fit_through_the_bridge_is_the_fit(tissue, value):
    fit = isthmus.fit_interactions(
        tissue, labels="cell_type", n_neighbors=5, folds=2, max_epochs=2, head_size=4, n_heads=2
    )
    np.testing.assert_array_equal(value["fit"].predict(), fit.predict())
    facts = value["facts"]
    assert (facts["kind"], facts["n_cells"], facts["folds"], facts["set"]) == ("InteractionFit", 200, 2, "held-out")
    assert facts["types"]["n_cells"].tolist() == tissue.obs["cell_type"].value_counts(sort=False).tolist()


def test_a_state_that_r_has_kept_gives_the_fit_back(value):
    """float32 becomes double in R, and 1-d arrays of one value become scalars."""
    state = {
        name: item.astype(float) if isinstance(item, np.ndarray) and item.dtype.kind == "f" else item
        for name, item in value["state"].items()
    }
    restored = bridge.restore(state, "InteractionFit")["value"]
    np.testing.assert_array_equal(restored.predict(), value["fit"].predict())


def test_tables_cross_as_columns(value):
    answer = bridge.interaction_table(value["fit"], "attention", top=1.0)
    assert answer["value"]["neighbor"]["kind"] == "text"
    assert len(answer["value"]["weight"]) == 2 * 200
    effects = isthmus.neighbor_effects(value["fit"], null="none").assign(padj=0.01)
    columns = {name: {"kind": "number", "values": effects[name].to_numpy()} for name in ("effect", "padj")}
    for name in ("receiver", "sender", "gene"):
        codes, levels = pd.factorize(effects[name])
        columns[name] = {"kind": "text", "codes": codes, "levels": list(levels)}
    wire = {"columns": columns, "n": len(effects), "rows": None}
    counted = bridge.interaction_matrix_of(wire, fdr=0.05)["value"]
    assert counted["n_genes"].tolist() == [10] * 9


def test_options_and_labels_of_r():
    assert option_of_r({"a": 2.0, "b": [1.0, 0.5]}) == {"a": 2, "b": [1, 0.5]}
    column = {"kind": "text", "codes": np.array([1, 0]), "levels": ["x", "y"]}
    labels = per_cell_of_r({"kind": "per_cell", "column": column, "rows": names(["s1", "s2"])})
    assert labels.to_dict() == {"s1": "y", "s2": "x"}
    assert option_of_r({"kind": "per_cell", "column": column, "rows": None}).tolist() == ["y", "x"]


def test_messages_speak_of_r(tissue):
    data, _ = r_tissue(tissue)
    twice = data | {"cells": names(["one", "one", *data["cells"]["values"][2:]])}
    answer = bridge.fit_interactions(twice, labels="cell_type", coordinates=r_places(tissue), options=OPTIONS)
    assert "`make.unique(colnames(data))`" in answer["error"]["message"]
    missing = bridge.need_modules(["numpy", "no_such_module"])["error"]
    assert missing["class"] == "isthmus_missing_dependency"
    assert missing["message"] == "The engine's Python has no module no_such_module. Install it there."


def test_torch_is_imported_with_the_flags_restored(monkeypatch):
    seen = []
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "setdlopenflags", seen.append)
    monkeypatch.setattr("builtins.__import__", _no_torch)
    before = sys.getdlopenflags()
    import_torch()
    assert seen == [os.RTLD_NOW | os.RTLD_DEEPBIND, before]


_import = __import__


def _no_torch(name, *args, **kwargs):
    if name == "torch":
        raise ImportError(name)
    return _import(name, *args, **kwargs)


def test_contributions_are_differences_of_predictions(tissue, value):
    fit = value["fit"]
    table = contributions(fit, sender="all", gene="gene3")
    between = fit.predict()["gene3"] - fit.predict(neighbors=False)["gene3"]
    np.testing.assert_allclose(table["contribution"], between, atol=1e-5)
    np.testing.assert_array_equal(table[["x", "y"]], tissue.obsm["spatial"])
    assert table["z"].isna().all()
    every = contributions(fit)
    assert every["sender"].unique().tolist() == ["all", "A", "B", "C"]
    assert (every["contribution"] >= 0).all()
    genes = [contributions(fit, sender="B", gene=gene)["contribution"].to_numpy() for gene in fit.genes]
    root_mean_square = np.sqrt(np.mean(np.square(genes), axis=0))
    np.testing.assert_allclose(every[every["sender"] == "B"]["contribution"], root_mean_square, atol=1e-6)
    own = every[(every["sender"] == "A") & (every["receiver"] == "A")]
    assert (own["contribution"] == 0).all()  # cells of one type are no neighbours


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"gene": "gene33"}, r"`gene` must be a gene of the fit; got 'gene33'. Did you mean `gene3`"),
        ({"sender": "D"}, r"`sender` must be 'all' or cell types of the fit; got 'D'. There are: `A`"),
    ],
)
def test_contributions_of_what_is_not_there(value, asked, text):
    with pytest.raises(isthmus.InputError, match=text):
        contributions(value["fit"], **asked)

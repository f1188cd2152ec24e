"""What R sends of droplets and what it gets back, seen from the Python side (test-ambient.R sees the other)."""

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus import bridge
from isthmus.ambient import marker_exclusivity
from isthmus.testing import simulate_ambient


def r_sample(adata, **columns):
    """What R sends of cells: a dgCMatrix, genes x cells, beside the columns it was asked for."""
    genes = adata.X.T.tocsc()
    names = {"genes": adata.var_names, "cells": adata.obs_names}
    counts = {"kind": "column", "dim": list(genes.shape), "p": genes.indptr, "i": genes.indices, "x": genes.data}
    counts |= {name: {"values": list(values), "missing": None} for name, values in names.items()}
    data = {"n": adata.n_obs, "rows": None, "columns": {name: r_column(adata.obs[of]) for name, of in columns.items()}}
    return {"counts": counts, "cell_data": data, "layer": None}


def r_column(values):
    """A factor of R."""
    codes, levels = pd.factorize(values, sort=True)
    return {"kind": "factor", "codes": codes, "levels": list(levels)}


def r_sets(sets):
    return {"names": list(sets), "values": [list(genes) for genes in sets.values()]}


@pytest.fixture(scope="module")
def experiment():
    return simulate_ambient(300, 200, 1_000, seed=1)


@pytest.fixture(scope="module")
def sent(experiment):
    """The answer to R, with clusters as labelled."""
    cells, droplets = experiment
    return bridge.remove_ambient(r_sample(cells, kind="type"), droplets=r_sample(droplets), labels="kind", seed=0.0)


@pytest.fixture(scope="module")
def fit(experiment):
    cells, droplets = experiment
    return isthmus.remove_ambient(cells, droplets=droplets, labels="type", seed=0)


@pytest.fixture(scope="module")
def sets(experiment):
    marker = experiment[0].var["marker"]
    return {name: list(marker.index[marker == name]) for name in ("type1", "type2")}


def test_a_fit_through_the_bridge_is_the_fit(sent, fit):
    assert sent["warnings"] == []
    for name in ("cells", "genes", "profile", "levels"):
        pd.testing.assert_frame_equal(sent["value"]["fit"].table(name), fit.table(name))
    assert (sent["value"]["fit"].denoised != fit.denoised).nnz == 0


def test_a_state_that_r_has_kept_gives_the_fit_back(sent, fit):
    restored = bridge.restore(sent["value"]["state"], "AmbientFit")["value"]
    pd.testing.assert_frame_equal(restored.table("cells"), fit.table("cells"))
    assert (restored.denoised_mean != fit.denoised_mean).nnz == 0


def test_the_profile_brings_its_empties(experiment):
    cells, droplets = experiment
    value = bridge.ambient_profile(r_sample(cells), r_sample(droplets))["value"]
    profile = isthmus.ambient_profile(cells, droplets)
    assert value["columns"]["prob"] == pytest.approx(profile["prob"].to_numpy(), abs=0)
    assert value["empties"]["n_empty"][0] == 1_000


def test_the_checks_are_those_of_python(experiment, sent, fit, sets):
    cells, _ = experiment
    score = bridge.marker_exclusivity(sent["value"]["fit"], r_sample(cells), r_sets(sets))["value"]
    expected = marker_exclusivity(fit, cells, sets)
    assert score["denoised"] == pytest.approx(expected["denoised"].to_numpy(), abs=0)
    spread = bridge.sensitivity(sent["value"]["fit"], r_sample(cells), 2.0, seed=1.0)["value"]
    assert (spread["rho_sd"] > 0).any()


def test_droplets_are_ranked_by_all_their_counts(experiment):
    _, droplets = experiment
    umi = bridge.droplet_umi(r_sample(droplets))["value"]
    assert umi == pytest.approx(np.asarray(droplets.X.sum(axis=1)).ravel(), abs=0)


def test_an_input_error_is_a_value_and_names_the_argument(experiment):
    cells, droplets = experiment
    answer = bridge.remove_ambient(r_sample(cells), droplets=r_sample(droplets), n_clusters=0.0)
    assert answer["error"]["class"] == "isthmus_input_error"
    assert "`n_clusters` must be 'auto' or a whole number" in answer["error"]["message"]
    negative = cells.copy()
    negative.X.data[0] = -1
    answer = bridge.remove_ambient(r_sample(cells), droplets=r_sample(negative))
    assert "`droplets`" in answer["error"]["message"]

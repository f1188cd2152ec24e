"""Plots of ambient RNA show the rows they should."""

import ambient_cases as cases
import matplotlib as mpl
import numpy as np
import pytest

import isthmus
from isthmus import plotting

mpl.use("Agg")


def test_knee_marks_the_range_of_the_empty_droplets():
    cells, droplets = cases.problem()
    profile = isthmus.ambient_profile(cells, droplets)
    umi = np.asarray(droplets.X.sum(axis=1)).ravel()
    axes = plotting.ambient_knee(umi, profile)
    assert len(axes.lines[0].get_xdata()) == (umi > 0).sum()
    assert axes.get_legend_handles_labels()[1][1] == f"empty ({profile['n_empty'][0]:,})"


def test_each_cluster_has_its_box():
    fit = cases.fitted()
    axes = plotting.ambient_rho(fit)
    assert [label.get_text() for label in axes.get_xticklabels()] == list(fit.cluster_names)


def test_native_against_ambient_names_the_cluster():
    fit = cases.fitted()
    axes = plotting.ambient_native(fit, "type2")
    assert axes.get_title() == "type2"
    assert len(axes.collections[0].get_offsets()) == ((fit.native[1] > 0) | (fit.ambient[0] > 0)).sum()
    with pytest.raises(isthmus.InputError, match=r"must be one of the fit's clusters; got 'x'"):
        plotting.ambient_native(fit, "x")


def test_most_removed_genes_come_first():
    fit = cases.fitted()
    axes = plotting.ambient_genes(fit, n=4)
    table = fit.table("genes").sort_values("removed", ascending=False)
    assert [label.get_text() for label in axes.get_yticklabels()][::-1] == list(table["gene"][:4])


def test_loss_ends_at_zero():
    assert plotting.ambient_loss(cases.fitted()).lines[0].get_ydata()[-1] == 0

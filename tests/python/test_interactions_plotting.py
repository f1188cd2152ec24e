"""Plots of interactions show the numbers of their tables."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from isthmus import plotting
from isthmus.errors import InputError

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


def test_bars_stand_side_by_side_and_stars_mark_what_is_significant():
    table = pd.DataFrame(
        {
            "receiver": ["A", "A", "A", "B", "B", "B"],
            "head": ["all", "none", "1"] * 2,
            "r2": [0.3, 0.0, 0.2, 0.1, -0.01, np.nan],
            "padj": [0.001, np.nan, 0.2, 0.04, np.nan, np.nan],
        }
    )
    axes = plotting.explained_variance_bars(table, heads=["all", "1"])
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], [0.3, 0.1, 0.2, np.nan])
    assert [text.get_text() for text in axes.texts] == ["*", "*"]
    assert [text.xy[1] for text in axes.texts] == [0.3, 0.1]
    lefts = [bar.get_x() for bar in axes.patches]
    assert lefts[2] - lefts[0] == pytest.approx(axes.patches[0].get_width())


def test_heat_map_of_genes_leads_with_the_best():
    table = pd.DataFrame(
        {
            "receiver": "A",
            "head": ["all"] * 3 + ["none"] * 3 + ["1"] * 3,
            "gene": ["g1", "g2", "g3"] * 3,
            "r2": [0.1, np.nan, 0.4, 0, 0, 0, 0.05, np.nan, 0.3],
        }
    )
    axes = plotting.gene_head_heatmap(table, n_genes=2)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["g3", "g1"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["all", "1"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.4, 0.3], [0.1, 0.05]])
    with pytest.raises(InputError, match=r"`receiver` must be in the table; got 'a'. There are: `A`"):
        plotting.gene_head_heatmap(table, "a")


MATRIX = pd.DataFrame({"receiver": ["A", "A", "B", "C"], "sender": ["B", "C", "A", "C"], "n_genes": [12, 0, 3, 2]})


def test_tiles():
    axes = plotting.sender_receiver_tiles(MATRIX)
    expected = [[np.nan, 3, np.nan], [12, np.nan, np.nan], [0, np.nan, 2]]
    np.testing.assert_allclose(np.ma.filled(axes.images[0].get_array(), np.nan), expected)
    assert sorted(text.get_text() for text in axes.texts) == ["0", "12", "2", "3"]


def test_graph_has_an_arrow_for_each_pair_with_genes():
    axes = plotting.interaction_graph(MATRIX)
    widths = [patch.get_linewidth() for patch in axes.patches]
    np.testing.assert_allclose(widths, [4.8, 1.8, 0.8 + 8 / 12])
    assert [text.get_text() for text in axes.texts] == ["A", "B", "C"]
    assert len(plotting.interaction_graph(MATRIX, min_genes=3).patches) == 2
    assert len(plotting.interaction_graph(MATRIX.assign(n_genes=0)).patches) == 0


def test_attention_against_distance():
    table = pd.DataFrame(
        {
            "receiver": ["A"] * 4 + ["B"] * 2,
            "sender": ["B", "B", "C", "C", "A", "A"],
            "head": "1",
            "distance": [1.0, 2.0] * 3,
            "weight": [0.5, 0.2, 0.1, 0.1, 0.3, 0.2],
        }
    )
    axes = plotting.attention_distance(table, "A")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["B", "C"]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.5, 0.2])
    with pytest.raises(InputError, match="`head` must be in the table; got '2'"):
        plotting.attention_distance(table, head="2")


def test_length_scales_leave_out_what_has_none():
    table = pd.DataFrame(
        {
            "receiver": ["A", "A", "B"],
            "sender": ["B", "C", "A"],
            "head": ["1", "1", "2"],
            "median": [9.0, np.nan, 4.0],
            "lower": [7.0, np.nan, 3.0],
            "upper": [12.0, np.nan, 8.0],
        }
    )
    axes = plotting.length_scale_intervals(table)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A -> B (2)", "B -> A (1)"]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [4.0, 9.0])
    np.testing.assert_allclose([segment[:, 0] for segment in axes.collections[0].get_segments()], [[3, 8], [7, 12]])


@pytest.mark.parametrize(("gene", "title"), [("g", "g, sender B"), (None, "all genes, sender B")])
def test_contributions_in_space(gene, title):
    table = pd.DataFrame(
        {
            "sample": ["s1", "s1", "s1", "s2"],
            "sender": "B",
            "gene": pd.Series([gene] * 4, dtype=object),
            "x": [0.0, 1.0, 2.0, 3.0],
            "y": 0.0,
            "contribution": [0.5, np.nan, 0.1, 9.0],
        }
    )
    axes = plotting.contribution_map(table)
    dots = axes.collections[1]
    assert axes.get_title() == title
    np.testing.assert_allclose(dots.get_array(), [0.1, 0.5])
    np.testing.assert_allclose(dots.get_offsets()[:, 0], [2.0, 0.0])
    assert dots.get_clim() == ((-0.5, 0.5) if gene else (0, 0.5))

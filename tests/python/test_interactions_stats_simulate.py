"""The simulator of tissues: its truth holds in its data; and what `recovery` counts."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from isthmus.errors import InputError
from isthmus.testing import recovery, simulate_interactions
from isthmus.testing import tissue as module


def distance_to(tissue, receiver, sender):
    places, kinds = tissue.obsm["spatial"], tissue.obs["cell_type"].to_numpy()
    return kinds == receiver, cKDTree(places[kinds == sender]).query(places[kinds == receiver])[0]


def test_contact_multiplies_the_planted_genes():
    tissue = simulate_interactions(20_000, 40, seed=0)
    receivers, distance = distance_to(tissue, "A", "B")
    response = tissue.obsm["response"][:, 0]
    assert (response[receivers] == (distance < 8)).all()
    assert (response[~receivers] == 0).all()
    counts = tissue.layers["counts"].toarray()[receivers]
    ratio = np.log(counts[distance < 8].mean(0) / counts[distance >= 8].mean(0))
    planted = tissue.var["planted"].to_numpy()
    assert planted.sum() == 15
    assert ratio[planted] == pytest.approx(np.full(15, 1.5), abs=0.15)
    assert np.median(ratio[~planted]) == pytest.approx(0, abs=0.05)
    truth = tissue.uns["simulate_interactions"]
    assert set(truth["gene"]) == set(tissue.var_names[planted])
    assert truth[["receiver", "sender", "kind"]].drop_duplicates().to_numpy().tolist() == [["A", "B", "contact"]]


def test_gradient_falls_with_distance():
    rows = pd.DataFrame({"sender": ["C"], "receiver": ["B"], "kind": ["gradient"], "radius": [20.0], "n_genes": [3]})
    tissue = simulate_interactions(800, 20, interactions=rows, seed=1)
    receivers, distance = distance_to(tissue, "B", "C")
    assert tissue.obsm["response"][receivers, 0] == pytest.approx(np.exp(-distance / 20))


def test_a_type_can_act_on_itself():
    own = [{"sender": "A", "receiver": "A", "radius": 5.0}]
    tissue = simulate_interactions(800, 20, interactions=own, seed=1)
    places = tissue.obsm["spatial"][tissue.obs["cell_type"] == "A"]
    nearest = cKDTree(places).query(places, k=2)[0][:, 1]
    assert (tissue.obsm["response"][tissue.obs["cell_type"] == "A", 0] == (nearest < 5)).all()


def test_null_tissue_has_no_truth():
    tissue = simulate_interactions(200, 10, interactions=(), seed=1)
    assert len(tissue.uns["simulate_interactions"]) == 0
    assert not tissue.var["planted"].any()
    assert tissue.obsm["response"].shape == (200, 0)


def test_random_fields_have_their_range():
    """Variance 1, correlation exp(-d^2 / 2 l^2) with 0.05 at the range; independent between types."""
    rng = np.random.default_rng(0)
    side = np.linspace(0, 1_000, 101)
    places = np.column_stack([np.tile(side, 2), np.zeros(202)])
    kinds = np.repeat([0, 1], 101)
    fields = module._fields(rng, places, kinds, np.zeros(202, int), 2_000, 100.0)
    assert fields.var() == pytest.approx(1, abs=0.03)
    first, second = fields[:101], fields[101:]

    def at(steps):
        return (first[steps:] * first[: 101 - steps]).mean()

    assert at(10) == pytest.approx(0.05, abs=0.02)
    assert at(5) == pytest.approx(0.05**0.25, abs=0.02)
    assert (first * second).mean() == pytest.approx(0, abs=0.02)


def test_samples_overlap_and_keep_to_themselves():
    tissue = simulate_interactions(3_000, 30, n_samples=3, sample_sd=0.5, seed=2)
    assert tissue.obs["sample"].value_counts().tolist() == [1_000] * 3
    for sample in tissue.obs["sample"].cat.categories:
        one = tissue[tissue.obs["sample"] == sample]
        assert np.ptp(one.obsm["spatial"], axis=0) == pytest.approx([np.sqrt(120_000)] * 2, rel=0.02)
        receivers, distance = distance_to(one, "A", "B")
        assert (one.obsm["response"][receivers, 0] == (distance < 8)).all()
    means = tissue.to_df().groupby(tissue.obs["sample"], observed=True).mean()
    assert means.std().mean() > 0.1


def test_patches_make_neighbours_alike():
    shares = {}
    for layout in ("random", "patches"):
        tissue = simulate_interactions(2_000, 5, layout=layout, interactions=(), seed=3)
        kinds = tissue.obs["cell_type"].to_numpy()
        nearest = cKDTree(tissue.obsm["spatial"]).query(tissue.obsm["spatial"], k=2)[1][:, 1]
        shares[layout] = (kinds == kinds[nearest]).mean() - (pd.Series(kinds).value_counts(normalize=True) ** 2).sum()
    assert abs(shares["random"]) < 0.05
    assert shares["patches"] > 0.15


def test_the_same_seed_gives_the_same_tissue():
    one, two, other = (simulate_interactions(100, 20, seed=seed, field_range=50) for seed in (5, 5, 6))
    assert (one.X == two.X).all()
    assert (one.X != other.X).any()
    state = np.random.get_state()[1].copy()
    simulate_interactions(50, 20, seed=None)
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_cells": 0}, "`n_cells` must be a whole number, 1 or more; got 0"),
        ({"types": ["A"]}, "`types` must be two or more different names"),
        ({"types": ["A", "A"]}, "`types` must be two or more different names"),
        ({"proportions": [0.5, 0.4, 0.2]}, "`proportions` must be one positive share per type"),
        ({"layout": "grid"}, "`layout` must be 'random' or 'patches'; got 'grid'"),
        ({"field_range": -1}, "`sample_sd` and `field_sd` must be 0 or more, `field_range` positive or None; got"),
        ({"interactions": [{"sender": "B"}]}, "`interactions` must each name a sender and a receiver"),
        ({"interactions": [{"sender": "B", "receiver": "Z"}]}, "`interactions` must be between the types .* got 'Z'"),
        ({"interactions": [{"sender": "B", "reciever": "A"}]}, "unknown field 'reciever'. Did you mean `receiver`"),
        (
            {"interactions": [{"sender": "B", "receiver": "A", "kind": "far"}]},
            "`interactions` must be of kind 'contact'",
        ),
        ({"interactions": [{"sender": "B", "receiver": "A", "n_genes": 99}]}, "`interactions` must be of kind .* 99"),
        ({"seed": -3}, "`seed` must be a whole number"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        simulate_interactions(**{"n_cells": 60, "n_genes": 20} | options)


class _Found:
    """A fit whose tests found two of three planted genes and one other."""

    def table(self, name):
        assert name == "neighbor_effects"
        rows = [("A", "B", None, 1.0, 0.001, 0.002), ("B", "A", None, 0.1, 0.5, 0.5)]
        genes = [("g1", 0.9, 0.01), ("g2", 0.5, 0.01), ("g3", 0.2, 0.3), ("g4", -0.6, 0.01), ("g5", 0.0, np.nan)]
        rows += [("A", "B", gene, effect, padj / 2, padj) for gene, effect, padj in genes]
        rows += [("B", "A", gene, 0.0, 0.9, 0.9) for gene, _, _ in genes]
        return pd.DataFrame(rows, columns=["receiver", "sender", "gene", "effect", "pval", "padj"])


def test_recovery_counts():
    truth = pd.DataFrame({"receiver": "A", "sender": "B", "gene": ["g1", "g2", "g3"]})
    table = recovery(_Found(), truth).set_index(["receiver", "sender"])
    row = table.loc[("A", "B")]
    assert (row["planted"], row["n_planted"], row["n_found"], row["n_false"]) == (True, 3, 2, 1)
    assert row["fdp"] == pytest.approx(1 / 3)
    # |effects| of planted 0.9, 0.5, 0.2 against 0.6, 0.0: 4 of the 6 comparisons
    assert row["auc"] == pytest.approx(4 / 6)
    other = table.loc[("B", "A")]
    assert (other["planted"], other["n_found"], other["fdp"]) == (False, 0, 0.0)
    assert np.isnan(other["auc"])
    with pytest.raises(InputError, match="`truth` must be what simulate_interactions"):
        recovery(_Found(), {"a": 1})

"""What a fit says about interactions: every table against plain recomputation from the fit's own predictions."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from interaction_cases import QUICK, tissue
from scipy import stats

from isthmus import schema
from isthmus.errors import InputError
from isthmus.interaction import (
    ablations,
    attention,
    attention_by_distance,
    communication_hubs,
    compare_interactions,
    counterfactual_attention,
    dependence,
    explained_variance,
    fit_interactions,
    forward,
    interaction_matrix,
    length_scales,
    lengths,
    neighbor_effects,
    significance,
)
from isthmus.interaction.heads import head_orders, head_table
from isthmus.messages import collected

compare = import_module("isthmus.interaction.compare")


# enough steps to find a strong interaction
LEARN = QUICK | {"max_epochs": 40, "batch_size": 64, "lr": 5e-3, "early_stopping": False}


@pytest.fixture(scope="module")
def data():
    adata = tissue(700, 6, samples=2, effect=4.0)
    adata.X[:, 5] = 1.0  # a constant gene
    return adata


@pytest.fixture(scope="module")
def fit(data):
    return fit_interactions(data, sample="section", block_size=35.0, covariates="depth", **LEARN)


@pytest.fixture(scope="module")
def variance(fit):
    return explained_variance(fit)


@pytest.fixture(scope="module")
def effects(fit):
    return neighbor_effects(fit)


def observed(fit):
    return fit.expression.toarray().astype(float)


def type_mean(fit):
    return fit.means[fit.folds.fold, fit.type_codes]


def without_sender(fit, sender):
    """Predictions without the attention to one type, by the definition."""
    out = np.full((fit.n_cells, fit.n_genes), np.nan)
    models = forward.fold_models(fit)
    for parts in forward.held_out_parts(fit):
        heads = parts.heads.copy()
        heads[:, :, sender] = 0
        model = models[parts.fold]
        out[parts.cells] = model.means[parts.types] + model.residual(parts.query + heads.sum(axis=(1, 2)))
    return out


# ---- explained variance -------------------------------------------------------------------------------------------


def test_r2_is_that_of_the_predictions(fit, variance):
    y, mean = observed(fit), type_mean(fit)
    for head, predicted in (("all", fit.predict()), ("none", fit.predict(neighbors=False))):
        for code, receiver in enumerate(fit.types):
            rows, genes = fit.type_codes == code, slice(0, 5)
            lost = ((y - predicted.to_numpy())[rows, genes] ** 2).sum() / ((y - mean)[rows, genes] ** 2).sum()
            row = variance[(variance["receiver"] == receiver) & (variance["head"] == head)]
            assert row["r2"].iloc[0] == pytest.approx(1 - lost, abs=1e-5)
            assert row["n_cells"].iloc[0] == rows.sum()


def test_gene_rows_are_those_of_the_predictions(fit):
    table = explained_variance(fit, by="gene", null="none").query("head == 'all' and receiver == 'a'")
    rows = fit.type_codes == 0
    error = ((observed(fit) - fit.predict().to_numpy())[rows] ** 2).sum(0)
    around = ((observed(fit) - type_mean(fit))[rows] ** 2).sum(0)
    assert table["r2"].to_numpy()[:5] == pytest.approx(1 - error[:5] / around[:5], abs=1e-5)
    assert np.isnan(table["r2"].iloc[5])  # constant
    assert table["gene"].tolist() == list(fit.genes)


def test_one_head_alone_is_what_the_others_leave(fit, variance):
    models, orders = forward.fold_models(fit), head_orders(fit)
    predicted = np.zeros((fit.n_cells, fit.n_genes))
    for parts in forward.held_out_parts(fit):
        own = orders[parts.fold][1]  # the head that goes by the label "2"
        model = models[parts.fold]
        predicted[parts.cells] = model.means[parts.types] + model.residual(
            parts.query + parts.heads[:, own].sum(axis=1)
        )
    rows = fit.type_codes == 1
    lost = ((observed(fit) - predicted)[rows, :5] ** 2).sum() / ((observed(fit) - type_mean(fit))[rows, :5] ** 2).sum()
    assert variance.query("receiver == 'b' and head == '2'")["r2"].iloc[0] == pytest.approx(1 - lost, abs=1e-5)


def test_the_planted_receiver_is_found(variance):
    best = variance.query("head == 'all'").set_index("receiver")
    assert best["padj"]["a"] < 0.05
    assert best["statistic"]["a"] == best["statistic"].max()


def test_sums_of_every_variant_are_those_of_its_predictions(fit):
    """Errors of all ablations, block by block; senders that are never met are not computed, and change nothing."""
    models, orders = forward.fold_models(fit), head_orders(fit)
    predicted = np.full((1 + fit.n_heads + fit.n_types, fit.n_cells, fit.n_genes), np.nan)
    for parts in forward.held_out_parts(fit):
        model, heads = models[parts.fold], parts.heads[:, orders[parts.fold]]
        total = heads.sum(axis=(1, 2))
        kept = [total, *heads.sum(axis=2).swapaxes(0, 1), *(total - heads[:, :, s].sum(1) for s in range(fit.n_types))]
        for variant, inner in enumerate(kept):
            predicted[variant, parts.cells] = model.means[parts.types] + model.residual(parts.query + inner)
    for moments in ablations.block_moments(fit):
        for variant in range(len(moments.variants)):
            lost = (observed(fit) - predicted[variant]) ** 2
            for row, block in enumerate(moments.blocks):
                rows = (fit.folds.block == block) & (fit.type_codes == moments.receiver)
                assert moments.squared_error(variant)[row] == pytest.approx(lost[rows].sum(axis=0), rel=1e-4, abs=1e-4)
        own = moments.variants.without(moments.receiver)  # neighbours are of other types
        assert (moments.squared_error(own) == moments.squared_error(moments.variants.everything)).all()


def test_statistic_is_the_centred_covariance(fit):
    """T by the definition, from predictions alone, and so under every null."""
    delta = (fit.predict() - fit.predict(neighbors=False)).to_numpy().astype(float)
    error = observed(fit) - fit.predict(neighbors=False).to_numpy()
    stratum = ablations.stratum_codes(fit)
    contrasts = significance.everything_and_heads(ablations.Variants(fit.n_heads, fit.n_types))[:1]
    for moments in ablations.block_moments(fit):
        rows = np.flatnonzero(fit.type_codes == moments.receiver)
        d, e = (pd.DataFrame(v[rows]) for v in (delta, error))
        group = pd.Series(stratum[rows])
        total = (
            2 * ((d - d.groupby(group).transform("mean")) * (e - e.groupby(group).transform("mean"))).to_numpy().sum()
        )
        assert significance.contrast_cross(fit, moments, contrasts).sum() == pytest.approx(total, rel=1e-3)
        factors = significance.receiver_factors(fit, contrasts)[moments.receiver]
        assert (factors.left[0] * factors.right).sum() == pytest.approx(total, rel=1e-3)


def test_none_and_unstable_heads_have_no_p_value(fit, variance):
    none = variance.query("head == 'none'")
    assert none[["statistic", "pval", "pval_approx", "padj"]].isna().all(axis=None)
    assert none["r2"].notna().all()
    stability = head_table(fit).groupby("head")["stability"].mean()
    for head, value in stability.items():
        assert variance[variance["head"] == head]["pval"].notna().all() == (value >= 0.5)
    assert (head_table(fit).groupby("fold")["fold_head"].apply(sorted).map(tuple) == (1, 2)).all()


@pytest.mark.parametrize("null", ["block", "within_type", "shift"])
@pytest.mark.parametrize("by", ["receiver", "gene"])
def test_nulls_are_seeded_and_find_the_plant(fit, null, by):
    one, two = (explained_variance(fit, by=by, null=null, n_permutations=99, seed=4) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    planted = one.query("head == 'all' and receiver == 'a'").iloc[0]  # of genes: g0, the planted one
    assert planted["pval"] <= 0.03
    assert list(one) == list(schema.EXPLAINED_VARIANCE if by == "receiver" else schema.EXPLAINED_VARIANCE_GENES)
    if by == "gene":
        constant = one.query("gene == 'g5'")
        assert constant[["r2", "statistic", "pval", "padj"]].isna().all(axis=None)


def test_two_different_seeds_draw_differently(fit):
    one, two = (explained_variance(fit, null="shift", n_permutations=50, seed=s)["pval_approx"] for s in (1, 2))
    assert not np.allclose(one, two, equal_nan=True)


def test_choices_are_checked(fit):
    with pytest.raises(InputError, match="`by` must be one of 'receiver', 'gene'; got 'cell'"):
        explained_variance(fit, by="cell")
    with pytest.raises(InputError, match="`null` must be one of 'block', 'within_type', 'shift', 'none'; got 'perm'"):
        neighbor_effects(fit, null="perm")
    with pytest.raises(InputError, match="`seed` must be a whole number"):
        explained_variance(fit, seed=-1)


# ---- units --------------------------------------------------------------------------------------------------------


def test_few_blocks_have_no_p_value(data):
    fit = fit_interactions(data, sample="section", **QUICK | {"block_size": 100.0})
    with collected() as said:
        table = explained_variance(fit)
    assert table["pval"].isna().all()
    assert table["r2"].notna().any()
    assert any('`null="block"` needs 20 or more spatial blocks' in text for text in said)


def test_samples_as_units_need_six(fit):
    with collected() as said:
        table = explained_variance(fit, unit="sample")
    assert table["pval"].isna().all()
    assert any("needs 6 or more units with cells of the receiver type; got 2" in text for text in said)


def test_units_are_samples_or_hold_them():
    eight = tissue(900, 4, samples=8, effect=4.0)
    fit = fit_interactions(eight, sample="section", **QUICK)
    by_sample = explained_variance(fit, unit="sample").query("head == 'all'")
    assert by_sample["pval"].notna().all()
    same = {name: f"d{name}" for name in fit.samples}
    pd.testing.assert_frame_equal(explained_variance(fit, unit=same).query("head == 'all'"), by_sample)
    per_cell = pd.Series(eight.obs["section"].to_numpy(), index=eight.obs_names).sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(explained_variance(fit, unit=per_cell).query("head == 'all'"), by_sample)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("donor", "`unit` must be 'sample', a mapping from sample to label, or one label per cell; got 'donor'"),
        ({"0": "d"}, "`unit` must name a label for every sample .* it lacks '1'"),
        (["d"] * 3, r"`unit` must be 'sample', .* \(n_cells = 700\); got 3"),
        ([None] * 700, "`unit` must not be missing; got 700 cells without"),
    ],
)
def test_units_are_checked(fit, unit, message):
    with pytest.raises(InputError, match=message):
        explained_variance(fit, unit=unit)


def test_a_unit_cannot_split_a_sample(fit):
    with pytest.raises(InputError, match="`unit` must be the same for all cells of a sample; sample '0' has"):
        explained_variance(fit, unit=[f"d{i % 4}" for i in range(700)])


def test_one_fold_is_marked_as_trained(data):
    fit = fit_interactions(data, sample="section", **QUICK | {"folds": 1, "block_size": 35.0})
    table = explained_variance(fit)
    assert (table["set"] == "train").all()
    assert table.query("head == 'all'")["pval"].notna().all()
    assert table.query("head == '1'")["pval"].isna().all()  # nothing to compare a head with


# ---- dependence between folds -------------------------------------------------------------------------------------


def test_models_that_agree_double_the_variance(fit):
    contrasts = significance.everything_and_heads(ablations.Variants(fit.n_heads, fit.n_types))[:1]
    alike = {name: np.repeat(value[:1], fit.n_folds, axis=0) for name, value in fit.weights.items()}
    assert dependence.fold_agreement(replace(fit, weights=alike), contrasts) == pytest.approx(np.ones((3, 1)))
    assert dependence.variance_factors(replace(fit, weights=alike), contrasts) == pytest.approx(np.full((3, 1), 2.0))
    own = dependence.variance_factors(fit, contrasts)
    assert ((own > 1) & (own < 2)).any()
    assert ((own >= 1) & (own <= 2)).all()


def test_two_folds_and_one(data):
    contrasts = significance.everything_and_heads(ablations.Variants(2, 3))
    for folds, expected in ((2, 2.0), (1, 1.0)):
        fit = fit_interactions(data, sample="section", **QUICK | {"folds": folds, "max_epochs": 1})
        assert dependence.variance_factors(fit, contrasts) == pytest.approx(np.full((3, 3), expected))


# ---- effects ------------------------------------------------------------------------------------------------------


def test_effects_are_differences_of_predictions(fit, effects):
    full, y = fit.predict().to_numpy().astype(float), observed(fit)
    for sender in (1, 2):
        left_out = without_sender(fit, sender)
        rows = fit.type_codes == 0
        own = effects[(effects["receiver"] == "a") & (effects["sender"] == fit.types[sender])]
        genes, pair = own[own["gene"].notna()], own[own["gene"].isna()].iloc[0]
        senders = np.where(fit.neighbors.present, fit.type_codes[fit.neighbors.index], -1)
        n = (rows & (senders == sender).any(axis=1)).sum()
        assert pair["n_receivers"] == n
        mean = (full - left_out)[rows].sum(0) / n
        assert genes["effect"].to_numpy() == pytest.approx(mean, abs=1e-5)
        change = ((y - left_out)[rows] ** 2 - (y - full)[rows] ** 2).sum(0) / n
        assert genes["delta_mse"].to_numpy() == pytest.approx(change, abs=1e-4)
        assert pair["delta_mse"] == pytest.approx(change.sum(), abs=1e-4)
        assert pair["effect"] == pytest.approx(np.sqrt((mean**2).mean()), abs=1e-5)


def test_the_planted_gene_leads(effects):
    genes = effects[effects["gene"].notna()]
    assert genes.loc[genes["effect"].idxmax(), ["receiver", "sender", "gene"]].tolist() == ["a", "b", "g0"]
    pairs = effects[effects["gene"].isna()].set_index(["receiver", "sender"])
    assert pairs["pval"].idxmin() == ("a", "b")
    assert pairs["padj"]["a", "b"] < 0.05


def test_types_that_never_meet_have_missing_rows(effects):
    own = effects[effects["receiver"] == effects["sender"]]
    assert len(own) == 3 * 7  # the rows stay
    assert own[["effect", "delta_mse", "statistic", "pval", "padj"]].isna().all(axis=None)
    assert (own["n_receivers"] == 0).all()


def test_families_are_adjusted_apart(effects):
    for part in (effects["gene"].isna(), effects["gene"].notna()):
        known = effects[part & effects["pval"].notna()]
        order = known.sort_values("pval")
        expected = np.minimum.accumulate((order["pval"] * len(order) / np.arange(1, len(order) + 1))[::-1])[::-1]
        assert order["padj"].to_numpy() == pytest.approx(np.minimum(expected, 1).to_numpy())


def test_interaction_matrix_counts_significant_genes(fit, effects):
    matrix = interaction_matrix(effects, fdr=0.1)
    assert len(matrix) == 9
    genes = effects[effects["gene"].notna() & (effects["padj"] < 0.1)]
    for row in matrix.itertuples():
        own = genes[(genes["receiver"] == row.receiver) & (genes["sender"] == row.sender)]
        assert (row.n_genes, row.n_up, row.n_down) == (len(own), (own["effect"] > 0).sum(), (own["effect"] < 0).sum())
    assert matrix.set_index(["receiver", "sender"])["n_genes"].idxmax() == ("a", "b")
    pd.testing.assert_frame_equal(interaction_matrix(fit, fdr=0.1), matrix)
    with pytest.raises(InputError, match="`fdr` must lie between 0 and 1; got 5"):
        interaction_matrix(fit, fdr=5)


# ---- attention ----------------------------------------------------------------------------------------------------


def test_attention_is_that_of_the_forward_pass(fit):
    table = attention(fit)
    assert len(table) == fit.neighbors.present.sum() * fit.n_heads
    sums = table.groupby(["cell", "head"])["weight"].sum()
    for chunk in forward.held_out_attention(fit):
        order = head_orders(fit)[chunk.fold]
        for row in (0, len(chunk.cells) - 1):
            for head in range(fit.n_heads):
                nobody = chunk.empty[row, order[head]]
                assert sums[fit.cells[chunk.cells[row]], str(head + 1)] == pytest.approx(1 - nobody, abs=1e-5)
    cells = {name: i for i, name in enumerate(fit.cells)}
    some = table.sample(50, random_state=0)
    apart = fit.coordinates[some["cell"].map(cells)] - fit.coordinates[some["neighbor"].map(cells)]
    assert some["distance"].to_numpy() == pytest.approx(np.linalg.norm(apart, axis=1), rel=1e-5)


def test_top_keeps_the_strongest(fit):
    every, two = attention(fit), attention(fit, top=2)
    assert (two.groupby(["cell", "head"]).size() == 2).all()
    best = every.groupby(["cell", "head"])["weight"].max()
    assert two.groupby(["cell", "head"])["weight"].first().to_numpy() == pytest.approx(best.to_numpy())
    assert two["cell"].drop_duplicates().tolist() == list(fit.cells)


def test_flavors_scale_attention(fit):
    plain = attention(fit)
    for flavor in ("value", "information", "gene"):
        other = attention(fit, flavor=flavor)
        assert other[["cell", "neighbor", "head"]].equals(plain[["cell", "neighbor", "head"]])
    seen = plain[plain["weight"] > 1e-6]
    share = attention(fit, flavor="information")["weight"][seen.index] / seen["weight"]
    assert share.between(-1e-5, 1 + 1e-5).all()
    assert share.groupby([seen["cell"], seen["head"]]).std().max() < 1e-4  # one factor a cell and head
    signed = [attention(fit, flavor="gene", gene=gene)["weight"].to_numpy() for gene in fit.genes]
    size = attention(fit, flavor="gene")["weight"].to_numpy()
    assert np.sqrt(np.mean(np.square(signed), axis=0)) == pytest.approx(size, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flavor": "vanilla"}, "`flavor` must be one of 'plain', 'value', 'information', 'gene'; got 'vanilla'"),
        ({"top": 0}, "`top` must be a whole number, 1 or more, or None; got 0"),
        ({"gene": "g0"}, '`gene` goes with flavor="gene"'),
        ({"flavor": "gene", "gene": "g00"}, "`gene` must be a gene of the fit; got 'g00'. Did you mean `g0`"),
    ],
)
def test_attention_arguments_are_checked(fit, options, message):
    with pytest.raises(InputError, match=message):
        attention(fit, **options)


def test_attention_by_distance_is_the_mean_of_the_pairs(fit):
    edges = [0, 5, 10, 40]
    table = attention_by_distance(fit, breaks=edges)
    pairs = attention(fit)
    kind = dict(zip(fit.cells, np.array(fit.types)[fit.type_codes], strict=True))
    bins = pd.cut(pairs["distance"], edges, labels=[0, 1, 2], include_lowest=True)
    by = [pairs["cell"].map(kind), pairs["neighbor"].map(kind), pairs["head"], bins]
    mean = pairs.groupby(by, observed=True)["weight"].mean()
    for row in table[table["n_pairs"] > 0].itertuples():
        place = edges.index(row.lower)
        heads = ["1", "2"] if row.head == "all" else [row.head]
        expected = np.mean([mean[row.receiver, row.sender, head, place] for head in heads])
        assert row.weight == pytest.approx(expected, abs=1e-6)
    assert set(zip(table["receiver"], table["sender"], strict=True)) == {(r, s) for r in "abc" for s in "abc" if r != s}
    for wrong, message in (([3, 2], "`breaks` must be two or more rising"), ([1], "`breaks` must be two or more")):
        with pytest.raises(InputError, match=message):
            attention_by_distance(fit, breaks=wrong)
    with pytest.raises(InputError, match="`n_bins` must be a whole number, 1 or more; got 0"):
        attention_by_distance(fit, n_bins=0)


def test_length_scales_are_where_attention_meets_the_threshold(fit):
    """a(d*) = t for the median pair; a higher threshold is met by fewer pairs."""
    near, far = (length_scales(fit, threshold=t, n_boot=50) for t in (0.2, 0.02))
    assert len(near) == 18
    assert (far["n"] >= near["n"]).all()
    assert far["n"].sum() > near["n"].sum() > 0
    shown = far[far["median"].notna()]
    assert len(shown) > 0
    assert (shown["lower"] <= shown["median"]).all() and (shown["median"] <= shown["upper"]).all()  # noqa: PT018
    assert far[far["receiver"] == far["sender"]]["median"].isna().all()
    row = shown.iloc[0]
    curve = counterfactual_attention(fit, [0.0, row["median"]])
    own = [(curve[name] == row[name]) for name in ("receiver", "sender", "head")]
    curve = curve[own[0] & own[1] & own[2]]
    assert curve["weight"].iloc[0] > curve["weight"].iloc[1]


def test_a_higher_threshold_is_reached_nearer_by_the_same_pairs(fit, monkeypatch):
    """Medians over all pairs need not be in order: a lower threshold also counts pairs that never meet a higher one."""
    strong = [  # attention of 0.2 or more at distance 0, in every head
        replace(pairs, **{name: getattr(pairs, name)[chosen] for name in ("excess", "decay", "block")})
        for pairs in lengths.all_pairs(fit)
        if (chosen := (pairs.excess >= np.log(0.2 / 0.8)).all(axis=1)).any()
    ]
    monkeypatch.setattr(lengths, "all_pairs", lambda _: strong)
    near, far = (length_scales(fit, threshold=t, n_boot=0) for t in (0.2, 0.02))
    known = near["median"].notna()
    assert known.sum() > 0
    assert (far["n"] == near["n"]).all()
    assert (far["median"][known] > near["median"][known]).all()


def test_length_scale_of_pairs_that_are_alike(fit, monkeypatch):
    from isthmus.interaction.counterfactual import Pairs, lone_attention

    pairs = Pairs(0, 1, np.full((40, 1), 3.0), np.full((40, 1), 0.5), np.arange(40) % 5)
    monkeypatch.setattr(lengths, "all_pairs", lambda _: [pairs])
    row = length_scales(replace(fit, settings=fit.settings | {"n_heads": 1}), threshold=0.1).iloc[1]
    expected = (3.0 + np.log(9)) / 0.5
    assert [row["median"], row["lower"], row["upper"], row["n"]] == pytest.approx([expected] * 3 + [40])
    assert lone_attention(3.0, 0.5, expected) == pytest.approx(0.1)


def test_weighted_medians(fit):
    rng = np.random.default_rng(0)
    values = rng.normal(size=21)
    counts = rng.integers(0, 4, (30, 21))
    expected = [np.median(np.repeat(values, row)) for row in counts]
    assert lengths._medians(values, counts) == pytest.approx(expected)
    for options, message in (
        ({"threshold": 1.0}, "`threshold` must lie between 0 and 1; got 1.0"),
        ({"n_boot": -1}, "`n_boot` must be a whole number, 0 or more; got -1"),
    ):
        with pytest.raises(InputError, match=message):
            length_scales(fit, **options)
    with pytest.raises(InputError, match="`distances` must be one or more finite distances, 0 or more; got"):
        counterfactual_attention(fit, [-1.0])


def test_hubs_group_cells_by_whom_they_attend_to(fit, eight):
    table = communication_hubs(fit, n_hubs=3, min_attention=0.05)
    assert table["cell"].tolist() == list(fit.cells)
    assert table["hub"].isna().equals(table["attention"] < 0.05)
    sums = attention(fit).groupby("cell")["weight"].sum() / fit.n_heads
    assert table["attention"].to_numpy() == pytest.approx(sums[list(fit.cells)].to_numpy(), abs=1e-5)
    sizes = table["hub"].value_counts()
    assert sizes.index.tolist() == [f"hub{i + 1}" for i in range(len(sizes))]
    pd.testing.assert_frame_equal(communication_hubs(fit, n_hubs=3, min_attention=0.05), table)
    with collected() as said:
        # of a fit that hardly trained: after long training attention may round to 1
        assert communication_hubs(eight, min_attention=1.0)["hub"].isna().all()
    assert "`min_attention`: no cell gives 1" in said[0]
    for options, message in (
        ({"n_hubs": 0}, "`n_hubs` must be a whole number, 1 or more; got 0"),
        ({"min_attention": 2}, "`min_attention` must lie between 0 and 1; got 2"),
    ):
        with pytest.raises(InputError, match=message):
            communication_hubs(fit, **options)


# ---- conditions ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def eight():
    return fit_interactions(tissue(800, 4, samples=8, seed=3), sample="section", **QUICK)


def test_none_is_a_constant_per_type_and_fold_and_so_not_above_zero(eight):
    """Its distance b from the mean is all that its r2 tells: it loses sum (b^2 - 2 b (y - mean))."""
    offset = eight.predict(neighbors=False).to_numpy().astype(float) - type_mean(eight)
    residual = observed(eight) - type_mean(eight)
    table = explained_variance(eight, null="none").query("head == 'none'").set_index("receiver")
    for code, receiver in enumerate(eight.types):
        rows = eight.type_codes == code
        for fold in range(eight.n_folds):
            assert np.ptp(offset[rows & (eight.folds.fold == fold)], axis=0) == pytest.approx(0, abs=1e-5)
        lost = (offset**2 - 2 * offset * residual)[rows].sum() / (residual[rows] ** 2).sum()
        assert table["r2"][receiver] == pytest.approx(-lost, abs=1e-5)
        assert table["r2"][receiver] < 0.01  # the mean of the training cells is beaten by chance only


PARITY = {name: "odd" if int(name) % 2 else "even" for name in "01234567"}


def test_a_difference_between_conditions_is_found(eight, monkeypatch):
    """Strength about 3 in even samples, about 1 in odd ones, for b's effect on a."""
    strength = np.full((8, 3, 3), np.nan)
    strength[:, 0, 1] = [3.1, 1.2, 2.9, 0.8, 3.3, 1.1, 3.0, 0.9]
    strength[:, 1, 0] = 2.0
    monkeypatch.setattr(compare, "_strength", lambda *_: strength)
    table = compare_interactions(eight, PARITY).set_index(["receiver", "sender"])
    row = table.loc[("a", "b")]
    assert (row["group"], row["reference"], row["n_units"], row["n_reference"]) == ("odd", "even", 4, 4)
    assert row["pval"] == pytest.approx(2 / 70)  # the least: all of one group above all of the other, both ways round
    own, other = strength[1::2, 0, 1], strength[::2, 0, 1]
    assert row["statistic"] == pytest.approx(stats.ttest_ind(own, other, equal_var=False).statistic)
    assert [row["mean"], row["reference_mean"], row["difference"]] == pytest.approx([1.0, 3.075, -2.075])
    assert np.isnan(table["pval"]["b", "a"])  # the same everywhere
    assert table["padj"].count() == 1


def test_random_relabellings_agree_with_all(monkeypatch):
    rng = np.random.default_rng(0)
    own, other = rng.normal(0.5, 1, 5), rng.normal(0, 1, 5)
    statistic, every = compare._relabel(own, other, 10, rng)
    monkeypatch.setattr(compare, "_EXACT", 0)
    again, drawn = compare._relabel(own, other, 20_000, rng)
    assert statistic == again
    assert drawn == pytest.approx(every, abs=4 * np.sqrt(0.25 / 20_000))


def test_strength_is_the_statistic_of_the_units_receivers(eight):
    """Per receiver of a unit; over units it adds up to the statistic of the pair."""
    names = ["even", "odd"]
    strength = compare._strength(eight, np.array([PARITY[name] for name in eight.samples]), names)
    for moments in ablations.block_moments(eight):
        sums = significance.contrast_cross(eight, moments, significance.each_sender(moments.variants)).sum(axis=(1, 2))
        mine = eight.sample_codes[eight.type_codes == moments.receiver]
        n = [np.isin(mine, np.arange(start, 8, 2)).sum() for start in (0, 1)]
        for sender in range(3):
            if sender == moments.receiver:
                assert np.isnan(strength[:, moments.receiver, sender]).all()
            else:
                assert n @ strength[:, moments.receiver, sender] == pytest.approx(sums[sender])


@pytest.mark.parametrize(
    ("group", "unit", "message"),
    [
        (dict.fromkeys("01234567", "x"), "sample", "`group` must hold two groups or more; got only 'x'"),
        ({s: int(s) % 2 for s in "01234567"}, dict.fromkeys("01234567", "d"), "`unit` must lie in one group each"),
        ({"0": "x"}, "sample", "`group` must name a label for every sample"),
    ],
)
def test_conditions_are_checked(eight, group, unit, message):
    with pytest.raises(InputError, match=message):
        compare_interactions(eight, group, unit=unit)


def test_few_units_have_no_p_value(eight):
    group = {name: "x" if name in "01" else "y" for name in eight.samples}
    with collected() as said:
        table = compare_interactions(eight, group)
    assert table["pval"].isna().all()
    assert said == ["`unit`: comparisons with fewer than 3 units in a group have no p-value."]

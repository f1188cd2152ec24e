"""AMICI's names over our model: the tables follow from ours, and nothing is written into the AnnData."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from isthmus.compat import amici
from isthmus.errors import InputError
from isthmus.interaction import attention, explained_variance, length_scales, neighbor_effects
from isthmus.testing import simulate_interactions

mpl.use("Agg")

SMALL = {
    "n_label_embed": 8,
    "n_query_embed_hidden": 16,
    "n_query_dim": 8,
    "n_nn_embed": 16,
    "n_nn_embed_hidden": 32,
    "n_pos_coef_mlp_hidden": 8,
    "n_head_size": 4,
    "n_heads": 2,
    "distance_kernel_unit_scale": 5.0,
}


@pytest.fixture(autouse=True)
def closed():
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def tissue():
    return simulate_interactions(700, 20, seed=3)


@pytest.fixture(scope="module")
def model(tissue):
    amici.AMICI.setup_anndata(tissue, labels_key="cell_type", coord_obsm_key="spatial", n_neighbors=8)
    made = amici.AMICI(tissue, **SMALL)
    made.train(max_epochs=12, batch_size=128, plan_kwargs={"lr": 3e-3}, folds=3, enable_progress_bar=False)
    return made


def test_set_up_and_training_leave_the_anndata_alone(tissue, model):
    fresh = simulate_interactions(700, 20, seed=3)
    assert list(tissue.obsm) == list(fresh.obsm)
    assert list(tissue.uns) == list(fresh.uns)
    pd.testing.assert_frame_equal(tissue.obs, fresh.obs)
    settings = model.fit.settings
    assert (settings["n_neighbors"], settings["folds"], settings["lr"], settings["unit"]) == (8, 3, 3e-3, 5.0)
    assert (settings["type_size"], settings["embedding_hidden"], settings["empty_score"]) == (8, 32, 3.0)
    assert settings["validation_share"] == pytest.approx(0.1)


def test_explained_variance(model):
    module = amici.AMICIExplainedVarianceModule.compute(model, alpha=0.05, n_permutations=50)
    assert list(module.df) == [
        "head",
        "ct_name",
        "gene",
        "expl_var_head_gene",
        "expl_var_head",
        "p_value_head",
        "p_value_adj_head",
    ]
    assert len(module.df) == 2 * 3 * 20
    ours = explained_variance(model.fit, n_permutations=50).set_index(["receiver", "head"])
    genes = explained_variance(model.fit, by="gene", null="none").set_index(["receiver", "head", "gene"])
    for row in module.df.iloc[[0, 25, 119]].itertuples():
        one = ours.loc[(row.ct_name, str(row.head + 1))]
        np.testing.assert_equal((row.expl_var_head, row.p_value_head), (one["r2"], one["pval"]))
        assert row.expl_var_head_gene == genes.loc[(row.ct_name, str(row.head + 1), row.gene), "r2"]
    best = module.compute_max_explained_variance_head("A")
    r2 = ours.loc["A"].loc[["1", "2"], "r2"]
    assert best == int(np.argmax(r2))
    with pytest.raises(InputError, match=r"`cell_type` must be among 'A', 'B', 'C'; got 'D'"):
        module.compute_max_explained_variance_head("D")


def test_explained_variance_without_tests_and_on_an_object(model, tmp_path):
    module = amici.AMICIExplainedVarianceModule()
    with pytest.raises(InputError, match=r"holds nothing yet. Call compute"):
        module.df  # noqa: B018
    assert module.compute(model, run_permutation_test=False) is module
    assert "p_value_head" not in module.df
    module.save(tmp_path / "deep" / "table.csv")
    again = amici.AMICIExplainedVarianceModule.load(tmp_path / "deep" / "table.csv")
    pd.testing.assert_frame_equal(again.df, module.df)
    axes = module.plot_explained_variance_barplot(["red", "blue"], save_png=True, save_dir=tmp_path / "figures")
    assert (tmp_path / "figures" / "explained_variance_barplot.png").stat().st_size > 0
    heights = module.by_head().pivot(index="head", columns="ct_name", values="expl_var_head").to_numpy().ravel()
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], heights)
    heat = module.plot_featurewise_explained_variance_heatmap("A", n_top_genes=5)
    assert heat.images[0].get_array().shape == (5, 2)
    with pytest.raises(InputError, match=r"`wandb_log` has no counterpart in isthmus; got True"):
        module.plot_explained_variance_barplot(wandb_log=True)


def test_ablations_are_the_effects(model):
    module = amici.AMICIAblationModule.compute(model)
    ours = neighbor_effects(model.fit)
    genes = ours[(ours["receiver"] == "A") & (ours["sender"] == "B") & ours["gene"].notna()]
    rows = module.df[module.df["cell_type"] == "A"]
    np.testing.assert_allclose(rows["B_diff"], genes["effect"])
    np.testing.assert_allclose(rows["B_ablation"], genes["delta_mse"])
    np.testing.assert_allclose(rows["B_nl10_pval_adj"], -np.log10(genes["padj"]))
    assert rows["gene"].tolist() == list(model.fit.genes)
    assert rows["A_diff"].isna().all()  # cells of the receiver's own type are no neighbours
    observed = model.adata[model.adata.obs["cell_type"] == "A"].to_df().var(ddof=1)
    np.testing.assert_allclose(rows["gene_variance"], observed, rtol=1e-4)
    matrix = module._get_interaction_weight_matrix(alpha=0.2)
    expected = ((genes["padj"] < 0.2) & (genes["effect"] > 0)).sum()
    assert matrix.loc["B", "A"] == expected
    assert module.plot_interaction_weight_heatmap().get_xlabel() == "receiver"
    assert module.plot_featurewise_contributions_heatmap("A", 4).images[0].get_array().shape == (4, 3)
    assert (
        len(module.plot_interaction_directed_graph().patches)
        == (module.get_interaction_weight_matrix() > 0).sum().sum()
    )
    bars = module.plot_neighbor_ablation_scores("A").patches
    assert bars[1].get_height() == pytest.approx(rows["B_ablation"].sum())
    dots = module.plot_featurewise_contributions_dotplot("A", 6).collections[1]
    assert len(dots.get_offsets()) == 6


def test_one_head_alone_by_the_plain_forward_pass(model):
    """What the arrays give with the other head's parts set to zero and the sender's left out."""
    from isthmus.interaction import forward
    from isthmus.interaction.heads import head_orders

    fit = model.fit
    module = amici.AMICIAblationModule.compute(model, "A", 1, ablated_neighbor_ct_sub=["C"])
    assert [name for name in module.df if name.startswith("C_")] == ["C_ablation", "C_diff"]
    total = change = n = 0.0
    for parts in forward.held_out_parts(fit):
        one, own = forward.fold_models(fit)[parts.fold], head_orders(fit)[parts.fold][1]
        for row in np.flatnonzero(parts.types == 0):
            around = fit.neighbors.index[parts.cells[row]]
            n += bool((fit.type_codes[around[around >= 0]] == 2).any())
            heads = parts.heads[row, own]
            with_it = one.residual(parts.query[row] + heads.sum(axis=0))
            without = one.residual(parts.query[row] + heads[:2].sum(axis=0))
            observed = fit.expression[parts.cells[row]].toarray()[0] - one.means[0]
            total = total + with_it - without
            change = change + (observed - without) ** 2 - (observed - with_it) ** 2
    np.testing.assert_allclose(module.df["C_diff"], total / n, atol=1e-6)
    np.testing.assert_allclose(module.df["C_ablation"], change / n, atol=1e-5)
    with pytest.raises(InputError, match=r"This needs tests"):
        module.get_interaction_weight_matrix()
    with pytest.raises(InputError, match=r"`head_idx` must be a whole number from 0 to 1; got 2"):
        amici.AMICIAblationModule.compute(model, head_idx=2)
    with pytest.raises(InputError, match=r"`ablated_neighbor_indices` has no counterpart"):
        amici.AMICIAblationModule.compute(model, ablated_neighbor_indices=[1])


def test_attention_goes_by_name(model, tmp_path):
    module = model.get_attention_patterns(indices=[5, 2])
    assert module.df["cell_idx"].tolist() == ["cell6", "cell6", "cell3", "cell3"]
    assert module.df["head"].tolist() == [0, 1, 0, 1]
    ours = attention(model.fit)
    mine = ours[(ours["cell"] == "cell3") & (ours["head"] == "2")]
    weights = module.df.iloc[3][[f"neighbor_{i}" for i in range(8)]].to_numpy(dtype=float)
    np.testing.assert_allclose(weights, mine["weight"])
    assert module.nn_idx.loc["cell3"].tolist() == mine["neighbor"].tolist()
    assert module.nn_dist.loc["cell3"].is_monotonic_increasing
    assert module.df["label"].iloc[0] == model.adata.obs["cell_type"].iloc[5]
    module.save(tmp_path / "attention.csv")
    assert {path.name for path in tmp_path.iterdir()} == {
        "attention.csv",
        "attention_nn_idx.csv",
        "attention_nn_dist.csv",
    }
    assert module.plot_attention_summary("A", 0).get_title() == "receiver A, head 1"
    assert set(module.compute_communication_hubs(2)["hub"].dropna()) <= {"hub1", "hub2"}
    with pytest.raises(InputError, match=r"`flavor` must be one of vanilla, value-weighted.*; got 'value'"):
        model.get_attention_patterns(flavor="value")


def test_counterfactual_attention_and_length_scales(model):
    module = model.get_counterfactual_attention_patterns("A", head_idxs=[0])
    rows = module.df
    assert set(rows["head_idx"]) == {0}
    assert "A" not in set(rows["neighbor_label"])
    table = module.calculate_counterfactual_attention_at_distances(0, [0.0, 10.0])
    start = rows["base_attention_score"] - rows["dummy_attention_score"]
    np.testing.assert_allclose(table["attention"][: len(rows)], 1 / (1 + np.exp(-start)))
    ours = length_scales(model.fit, threshold=0.02, n_boot=0).set_index(["receiver", "sender", "head"])
    scales = module.length_scales(0.02)
    reached = scales["length_scale"].notna().groupby(scales["neighbor_label"]).sum()
    assert reached["B"] == ours.loc[("A", "B", "1"), "n"]
    at = module.calculate_counterfactual_attention_at_distances(0, [float(scales["length_scale"].iloc[0])])
    if scales["length_scale"].notna().iloc[0]:
        assert at["attention"].iloc[0] == pytest.approx(0.02)
    axes = module.plot_counterfactual_attention_summary(0, [0, 5, 10])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(rows["neighbor_label"].unique())
    assert module.plot_length_scale_distribution(attention_threshold=0.02).get_title() == "receiver A"


def test_predictions_and_files(model, tissue, tmp_path):
    predicted = model.get_predictions(indices=[3, 1])
    np.testing.assert_array_equal(predicted, model.fit.predict().to_numpy()[[3, 1]])
    beyond = model.get_predictions(get_residuals=True)
    fold, kind = model.fit.folds.fold[3], model.fit.type_codes[3]
    np.testing.assert_allclose(beyond[3] + model.fit.means[fold, kind], predicted[0], rtol=1e-5)
    model.save(tmp_path / "model")
    again = amici.AMICI.load(tmp_path / "model", tissue)
    np.testing.assert_array_equal(again.get_predictions(), model.get_predictions())


def test_what_is_not_set_up_not_trained_or_not_there(tissue):
    with pytest.raises(InputError, match=r"this object was not \(a copy counts as another one"):
        amici.AMICI(tissue.copy())
    with pytest.raises(InputError, match=r"`labels_key` must be a key of `adata.obs`; got 'celltype'"):
        amici.AMICI.setup_anndata(tissue, labels_key="celltype", coord_obsm_key="spatial")
    with pytest.raises(InputError, match=r"`coord_obsm_key` must be a key of `adata.obsm`; got None"):
        amici.AMICI.setup_anndata(tissue, labels_key="cell_type")
    amici.AMICI.setup_anndata(tissue, labels_key="cell_type", coord_obsm_key="spatial", n_neighbors=8)
    model = amici.AMICI(tissue, **SMALL)
    assert not model.is_trained
    with pytest.raises(InputError, match=r"The model is not trained"):
        model.get_predictions()
    with pytest.raises(InputError, match=r"`plan_kwargs` may hold `lr` only; got `weight_decay`"):
        model.train(plan_kwargs={"weight_decay": 1})
    with pytest.raises(InputError, match=r"`use_wandb` has no counterpart"):
        model.train(use_wandb=True)
    with pytest.raises(InputError, match=r"`callbacks` may hold AttentionPenaltyMonitor only; got str"):
        model.train(callbacks=["x"])


def test_other_cells_are_refused(model, tissue):
    with pytest.raises(InputError, match=r"must hold the cells that the model was trained on.*got 50 cells"):
        model.get_expl_variance_scores(tissue[:50])


def test_the_penalty_follows_its_schedule(tissue):
    amici.AMICI.setup_anndata(tissue, labels_key="cell_type", coord_obsm_key="spatial", n_neighbors=4)
    model = amici.AMICI(tissue, **SMALL)
    monitor = amici.AttentionPenaltyMonitor(1, 2, 1e-5, 1e-2, "log")
    model.train(max_epochs=2, folds=2, callbacks=[monitor], enable_progress_bar=False)
    settings = model.fit.settings
    assert tuple(settings["attention_penalty"]) == (1e-5, 1e-2)
    assert (*settings["attention_penalty_epochs"], settings["attention_penalty_schedule"]) == (1, 2, "log")

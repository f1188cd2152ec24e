"""isthmus.compat.scvi.SCAR: a number or a law for each documented method, and each likelihood.

The network has scvi-tools' default sizes and, for the zero-inflated likelihood, its default epochs; for the others half
of them. With fewer it is not trained: it starts at an ambient share of 0.5, and after 100 epochs (300 steps here) that
is still 0.26 to 0.41 where 0.12 is true. Then differences of the types' ambient counts are called as well.
"""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from scar_cases import N_CELLS, N_GENES, N_PLANTED, planted, rmse
from scipy import sparse

from isthmus import InputError
from isthmus.compat.scvi import SCAR

EPOCHS = {"b": 200, "nb": 200, "zinb": 400, "poisson": 200}
MARKER = (planted().var["marker"] != "").to_numpy()
TYPE_A = (planted().obs["type"] == "A").to_numpy()
UMI = np.asarray(planted().X.sum(axis=1)).ravel()


def set_up(**options):
    cells = planted().copy()
    SCAR.setup_anndata(cells, **options)
    return cells


def untrained(profile="ambient", **options):
    return SCAR(set_up(), profile, n_hidden=8, n_latent=2, **options)


@pytest.fixture(scope="module", params=EPOCHS)
def model(request):
    scvi.settings.seed = 1
    made = SCAR(set_up(), "ambient", gene_likelihood=request.param)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():  # Lightning's: an interface of torch that it still uses, and advice
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "The number of training batches .* is smaller than the logging", UserWarning)
        warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers", UserWarning)
        made.train(max_epochs=EPOCHS[request.param], accelerator="cpu", enable_progress_bar=False)
    torch.set_num_threads(threads)
    return made


# ---- correction ------------------------------------------------------------------------------------------------------


def test_denoised_counts_are_parts_of_the_observed(model):
    found = model.get_denoised_counts()
    assert sparse.isspmatrix_csr(found)
    assert found.dtype == np.int32
    assert (found - planted().X).max() <= 0
    assert rmse(found) < 0.9 * rmse(planted().X)
    assert (model.get_denoised_counts() != found).nnz == 0
    averaged = model.get_denoised_counts(n_samples=4, seed=1)
    assert (averaged - planted().X).max() <= 0
    assert rmse(averaged) < 0.9 * rmse(planted().X)


def test_stock_denoised_counts_are_scvis(model):
    scvi.settings.seed = 3
    found = model.get_denoised_counts(stock=True)
    scvi.settings.seed = 3
    np.testing.assert_array_equal(found, scvi.external.SCAR.get_denoised_counts(model))
    assert rmse(found) > rmse(planted().X)  # worse than doing nothing


def test_ambient_share_is_that_of_the_cells(model):
    share = model.get_ambient_share()
    assert share.index.equals(planted().obs_names)
    assert share.between(0, 1).all()
    assert np.corrcoef(share, planted().obs["rho"])[0, 1] > 0.3
    pd.testing.assert_series_equal(model.get_ambient_share(indices=[5, 2]), share.iloc[[5, 2]], rtol=1e-4)


def test_ambient_profile_is_matched_by_name():
    from isthmus.testing import simulate_ambient

    cells, droplets = simulate_ambient(60, 40, 300, seed=1)
    SCAR.setup_anndata(cells)
    SCAR.get_ambient_profile(cells, droplets, prob=0.2)
    first = cells.varm["ambient_profile"].copy()
    assert first.sum() == pytest.approx(1)
    assert np.corrcoef(first.ravel(), cells.varm["ambient"].ravel())[0, 1] > 0.95
    SCAR.get_ambient_profile(cells, droplets[:, ::-1].copy(), prob=0.2)
    np.testing.assert_allclose(cells.varm["ambient_profile"], first, atol=1e-6)
    used = SCAR(cells, n_hidden=8, n_latent=2).module.ambient_profile
    np.testing.assert_allclose(used.numpy().ravel(), first.ravel(), rtol=1e-6)


@pytest.mark.parametrize(
    "form",
    [
        lambda p: p.to_numpy() * 200,
        lambda p: p[::-1],
        lambda p: p[::-1].to_frame(),
        lambda p: torch.tensor(p.to_numpy()),
        lambda p: sparse.csr_matrix(p.to_numpy()),
    ],
    ids=["unscaled array", "series", "frame", "tensor", "sparse"],
)
def test_a_profile_in_any_form_is_the_same_profile(form):
    wanted = planted().var["ambient"]
    np.testing.assert_allclose(untrained(form(wanted)).module.ambient_profile.numpy().ravel(), wanted, rtol=1e-5)


def test_without_a_profile_the_average_cell():
    total = np.asarray(planted().X.sum(axis=0)).ravel()
    np.testing.assert_allclose(untrained(None).module.ambient_profile.numpy().ravel(), total / total.sum(), rtol=1e-5)


# ---- expression ------------------------------------------------------------------------------------------------------


def test_normalized_expression_sums_to_the_library_size(model):
    frame = model.get_normalized_expression(library_size=1e4)
    assert frame.index.equals(planted().obs_names)
    assert frame.columns.equals(planted().var_names)
    np.testing.assert_allclose(frame.sum(axis=1), 1e4, rtol=1e-5)
    assert frame["g2"][TYPE_A].mean() > 10 * frame["g2"][~TYPE_A].mean()  # a marker of A
    latent = model.get_normalized_expression(library_size="latent", n_samples=2)
    np.testing.assert_allclose(latent.sum(axis=1), UMI, rtol=1e-5)
    few = model.get_normalized_expression(gene_list=["g7", "g2"], n_samples=3, return_mean=False)
    assert few.shape == (3, N_CELLS, 2)
    assert model.get_normalized_expression(return_numpy=True, indices=[3, 1]).shape == (2, N_GENES)
    for weights in (None, "uniform", "importance"):
        overall = model.get_normalized_expression(n_samples_overall=5, weights=weights, transform_batch=0)
        assert overall.shape == (5, N_GENES)
        np.testing.assert_allclose(overall.sum(axis=1), 1, rtol=1e-5)


def test_likelihood_parameters_add_up(model):
    found, kind = model.get_likelihood_parameters(), model._options.likelihood
    more = {"nb": ["dispersions"], "zinb": ["dispersions", "dropout"]}.get(kind, [])
    assert list(found) == ["mean", "ambient", *more]
    np.testing.assert_allclose((found["mean"] + found["ambient"]).sum(axis=1), UMI, rtol=1e-4)
    if kind == "zinb":
        assert found["dropout"].stack().between(0, 1).all()
    draws = model.get_likelihood_parameters(n_samples=2)
    assert draws["mean"].shape == (2, N_CELLS, N_GENES)
    averaged = model.get_likelihood_parameters(n_samples=2, give_mean=True)
    np.testing.assert_allclose((averaged["mean"] + averaged["ambient"]).sum(axis=1), UMI, rtol=1e-4)


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_markers_of_a_type_go_together(model, kind):
    found = model.get_feature_correlation_matrix(n_samples=2, correlation_type=kind)
    assert found.index.equals(found.columns)
    assert found.index.equals(planted().var_names)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(found), 1)
    # Pearson's of the negative binomials is lowered by their gamma noise (the law is in test_scar_functions.py).
    least = 0.1 if kind == "pearson" and "nb" in model._options.likelihood else 0.5
    assert found.loc["g0", "g1"] > least
    assert found.loc["g0", "g10"] < -least


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
@pytest.mark.parametrize("letter", EPOCHS)
def test_a_gene_that_never_varies_has_no_correlation(letter, kind):
    made = untrained(gene_likelihood=letter)
    with torch.no_grad():
        made.module.decoder.px_scale_decoder[0].bias[4] = -100  # below the threshold of the activation in every cell
    made.is_trained = True
    found = made.get_feature_correlation_matrix(n_samples=2, correlation_type=kind).isna().to_numpy()
    lost = np.arange(N_GENES) == 4
    np.testing.assert_array_equal(found, lost[:, None] | lost)


def test_predictive_counts_have_the_models_mean(model):
    drawn = model.posterior_predictive_sample(n_samples=8)
    assert all(sparse.isspmatrix_csr(matrix) and matrix.shape == (N_CELLS, N_GENES) for matrix in drawn)
    assert all((matrix.data % 1 == 0).all() and (matrix.data >= 0).all() for matrix in drawn)
    found = model.get_likelihood_parameters(n_samples=8, give_mean=True)
    expected = (found["mean"] * (1 - found.get("dropout", 0))).to_numpy().sum()
    assert np.mean([matrix.sum() for matrix in drawn]) == pytest.approx(expected, rel=0.05)
    assert model.posterior_predictive_sample(gene_list=["g7"], indices=[4]).shape == (1, 1)


# ---- groups ----------------------------------------------------------------------------------------------------------

PAIR = {"groupby": "type", "group1": "A", "group2": "B"}
COMPARISONS = {
    "pair": PAIR,
    "rest": {"groupby": "type", "group1": "A"},
    "indices": {"idx1": np.flatnonzero(TYPE_A), "idx2": np.flatnonzero(~TYPE_A)},
    "mask": {"idx1": TYPE_A},
    "query": {"idx1": "type == 'A'", "idx2": "type == 'B'"},
    "filtered": PAIR | {"filter_outlier_cells": True},
    "corrected": PAIR | {"batch_correction": True},
    "weighted": PAIR
    | {
        "weights": "importance",
        "importance_weighting_kwargs": {"max_cells": 30, "n_mc_samples": 10},
        "n_samples_overall": 500,
    },
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_planted_markers_are_found_and_little_else(model, name):
    """Observed share of false discoveries at most 0.10 at a target of 0.05."""
    table = model.differential_expression(mode="change", **COMPARISONS[name]).loc[planted().var_names]
    called = table["is_de_fdr_0.05"].to_numpy(bool)
    assert (called & ~MARKER).sum() <= 0.1 * called.sum()
    assert (called & MARKER).sum() >= 0.9 * N_PLANTED
    sign = np.sign(table["lfc_median"].to_numpy()[MARKER])
    np.testing.assert_array_equal(sign, np.repeat([1, -1], N_PLANTED // 2))
    np.testing.assert_allclose(table["proba_de"] + table["proba_not_de"], 1)


def test_every_group_with_all_others(model):
    table = model.differential_expression(groupby="type", mode="change", all_stats=False)
    assert table["comparison"].value_counts().to_dict() == {"A vs Rest": N_GENES, "B vs Rest": N_GENES}
    for _, part in table.groupby("comparison"):
        called = part.loc[planted().var_names, "is_de_fdr_0.05"].to_numpy(bool)
        assert (called & ~MARKER).sum() <= 0.1 * called.sum()
        assert (called & MARKER).sum() >= 0.9 * N_PLANTED
    np.testing.assert_allclose(table.groupby("comparison")[["scale1", "scale2"]].sum(), 1, rtol=1e-4)


def test_vanilla_probabilities(model):
    table = model.differential_expression(**PAIR).loc[planted().var_names]
    np.testing.assert_allclose(table["proba_m1"] + table["proba_m2"], 1)
    assert (table["proba_m1"].iloc[:10] > 0.9).all()
    assert (table["proba_m1"].iloc[10:20] < 0.1).all()
    means = np.asarray(planted().X[TYPE_A].mean(axis=0)).ravel()
    np.testing.assert_allclose(table["raw_mean1"], means, rtol=1e-5)


def test_cells_lie_in_their_own_sample(model):
    for options in ({}, {"dof": 3.0}, {"num_cells_posterior": 60}):
        density = model.differential_abundance(sample_key="type", **options)
        lead = (density["A"] - density["B"]).to_numpy()
        assert ((lead > 0) == TYPE_A).mean() > 0.95
    pd.testing.assert_frame_equal(model.adata.obsm["da_log_probs"], density)


# ---- latent space ----------------------------------------------------------------------------------------------------


def test_latent_space(model):
    z = model.get_latent_representation()
    mean, variance = model.get_latent_representation(return_dist=True)
    np.testing.assert_array_equal(z, mean)
    drawn = np.stack([model.get_latent_representation(give_mean=False, indices=np.arange(50)) for _ in range(40)])
    score = (drawn - mean[:50]) / np.sqrt(variance[:50])
    assert score.std() == pytest.approx(1, abs=0.03)  # 30,000 normal draws: seven standard errors
    parts = model.get_aggregated_posterior()
    assert parts["cell"].tolist() == planted().obs_names.tolist()
    assert parts["weight"].sum() == pytest.approx(1)
    assert parts.attrs["dof"] == 3
    np.testing.assert_allclose(parts["mean_z1"], z[:, 0], atol=1e-5)
    np.testing.assert_allclose(parts["sd_z2"] ** 2, variance[:, 1], rtol=1e-5)


def test_library_size_is_what_was_observed(model):
    np.testing.assert_array_equal(model.get_latent_library_size().ravel(), UMI)
    stock = model.get_latent_library_size(give_mean=False, indices=[7, 3])
    np.testing.assert_array_equal(stock.ravel(), UMI[[7, 3]])


# ---- evidence --------------------------------------------------------------------------------------------------------


def test_marginal_likelihood_is_above_the_bound(model):
    """Within 3 Monte Carlo standard errors, cell by cell over 20 draws of the bound, and on average."""
    bounds = np.stack([model.get_elbo(return_mean=False) for _ in range(20)])
    marginal = model.get_marginal_ll(n_mc_samples=50, return_mean=False)
    assert marginal.index.equals(planted().obs_names)
    error = bounds.std(axis=0, ddof=1) / np.sqrt(20)
    assert (marginal >= bounds.mean(axis=0) - 3 * error).mean() > 0.99
    assert marginal.mean() >= bounds.mean() - 3 * bounds.mean(axis=1).std(ddof=1) / np.sqrt(20)
    assert isinstance(model.get_marginal_ll(n_mc_samples=2), float)


def test_bound_and_reconstruction_differ_by_the_divergence(model):
    mean, variance = model.get_latent_representation(return_dist=True)
    divergence = 0.5 * (mean**2 + variance - np.log(variance) - 1).sum(axis=1)
    scvi.settings.seed = 2
    bound = model.get_elbo(return_mean=False)
    scvi.settings.seed = 2
    loss = model.get_reconstruction_error(return_mean=False)["reconstruction_loss"]
    gap = -loss - bound - divergence  # its mean over draws of z is 0
    assert abs(gap.mean()) < 3 * gap.std(ddof=1) / np.sqrt(N_CELLS)
    assert isinstance(model.get_elbo(), float)
    assert isinstance(model.get_reconstruction_error()["reconstruction_loss"], float)


def test_reconstruction_is_scvis(model):
    ours = np.mean([model.get_reconstruction_error()["reconstruction_loss"] for _ in range(5)])
    theirs = [float(scvi.external.SCAR.get_reconstruction_error(model)["reconstruction_loss"]) for _ in range(5)]
    assert ours == pytest.approx(np.mean(theirs), rel=0.005)


def test_importance_weights_are_a_distribution(model):
    options = {"indices": np.arange(20), "n_mc_samples": 20}
    plain = model.get_importance_weights(**options)
    assert plain.shape == (20,)
    assert plain.sum() == pytest.approx(1)
    assert (plain >= 0).all()
    zs = torch.tensor(model.get_latent_representation(indices=np.arange(8)))
    assert model.get_importance_weights(zs=zs, truncation=True, **options).shape == (8,)


# ---- files and registry ----------------------------------------------------------------------------------------------


def same(first, second):
    np.testing.assert_array_equal(first.get_latent_representation(), second.get_latent_representation())
    pd.testing.assert_series_equal(first.get_ambient_share(), second.get_ambient_share(), check_exact=True)
    assert (first.get_denoised_counts() != second.get_denoised_counts()).nnz == 0


def test_save_and_load_give_the_same_bits(model, tmp_path, capsys):
    model.save(tmp_path / "m")
    same(SCAR.load(tmp_path / "m", adata=model.adata, accelerator="cpu"), model)
    registry = SCAR.load_registry(tmp_path / "m")
    assert registry["model_name"] == "SCAR"
    assert registry["setup_args"] == model.registry["setup_args"]
    capsys.readouterr()
    SCAR.view_setup_args(tmp_path / "m")
    assert "SCAR.setup_anndata" in capsys.readouterr().out


def test_a_legacy_save_is_converted(model, tmp_path):
    model.save(tmp_path / "new")
    kept = torch.load(tmp_path / "new" / "model.pt", weights_only=False)
    old = tmp_path / "old"
    old.mkdir()
    torch.save(kept["model_state_dict"], old / "model_params.pt")
    np.savetxt(old / "var_names.csv", kept["var_names"], fmt="%s")
    (old / "attr.pkl").write_bytes(pickle.dumps(kept["attr_dict"]))
    SCAR.convert_legacy_save(old, tmp_path / "converted")
    same(SCAR.load(tmp_path / "converted", adata=model.adata, accelerator="cpu"), model)
    with pytest.raises(InputError, match=r"`dir_path` must hold files of scvi-tools before 0\.15.*lacks model_params"):
        SCAR.convert_legacy_save(tmp_path / "new", tmp_path / "again")


def test_registry_is_shown(model, capsys):
    for show in (model.view_anndata_setup, model.view_registry):
        show()
        text = capsys.readouterr().out
        assert all(words in text for words in ("SCAR.setup_anndata", "n_vars", "120", "batch State Registry"))
        show(hide_state_registries=True)
        assert "batch State Registry" not in capsys.readouterr().out
    model.view_setup_method_args()
    assert "'layer': None" in capsys.readouterr().out
    assert "SCVI-AR" in model.summary_string


def test_registry_is_read(model):
    assert model.get_setup_arg("batch_key") is None
    assert model.get_state_registry("batch")["categorical_mapping"].tolist() == [0]
    assert model.get_var_names().tolist() == planted().var_names.tolist()
    for read in (model.data_registry("X"), model.get_from_registry(model.adata, "X")):
        assert (read != planted().X).nnz == 0
    assert model.get_anndata_manager(model.adata) is model.adata_manager
    assert model.is_trained
    assert len(model.history["train_loss"]) in (200, 400)
    indices = np.r_[model.train_indices, model.validation_indices, model.test_indices]
    assert sorted(indices) == list(range(N_CELLS))
    model.to_device("cpu")
    assert model.device == torch.device("cpu")


def test_registry_is_changed_and_let_go():
    made = untrained()
    made.update_setup_method_args({"layer": "counts"})
    assert made.get_setup_arg("layer") == "counts"
    made.deregister_manager()
    assert made.get_anndata_manager(made.adata) is not None  # a model keeps its own
    other = planted()[:9].copy()
    SCAR.register_manager(made.transfer_fields(other))
    made.deregister_manager(other)
    assert made.get_anndata_manager(other) is None


def test_fields_are_transferred_to_new_cells(model):
    other = model.adata[:50].copy()
    model.transfer_fields(other)
    first = model.get_latent_representation()[:50]
    np.testing.assert_allclose(model.get_latent_representation(other), first, atol=1e-5)
    assert model.get_ambient_share(other).index.tolist() == planted().obs_names[:50].tolist()


# ---- what does not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.get_normalized_expression(gene_list=["x9"]), "`gene_list` must name genes of the data; got"),
        (lambda m: m.get_normalized_expression(dataloader=[1]), "`dataloader` carries no names of cells and genes"),
        (
            lambda m: m.get_feature_correlation_matrix(correlation_type="tau"),
            "`correlation_type` must be 'spearman'",
        ),
        (lambda m: m.differential_abundance(sample_key="donor"), "`sample_key` must be a column of obs; got 'donor'"),
        (lambda m: untrained(np.ones(7)), r"`profile` as a vector must have one .*\(120\); got 7\."),
        (lambda m: untrained({"g0": 1}), "`ambient_profile` must be a key of varm, an array, .*got dict"),
    ],
)
def test_each_mistake_has_its_sentence(call, words):
    made = untrained()
    made.is_trained = True
    with pytest.raises(InputError, match=words):
        call(made)


def test_a_size_factor_is_no_number_of_counts():
    cells = planted().copy()
    cells.obs["size"] = 1.0
    SCAR.setup_anndata(cells, size_factor_key="size")
    with pytest.raises(InputError, match=r"`size_factor_key` must hold at least the largest .*got less in 400 cells"):
        SCAR(cells, "ambient", n_hidden=8, n_latent=2)

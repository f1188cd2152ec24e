"""What can be asked of a fit of the network: a number or a law for each function and likelihood."""

import inspect
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scar_cases import LIKELIHOODS, N_CELLS, N_GENES, N_PLANTED, fitted, planted
from scipy import sparse, stats

import isthmus
from isthmus import InputError, ambient
from isthmus.ambient.scar import comparison
from isthmus.ambient.scar.asking import posterior_of
from isthmus.ambient.scar.expression import native, over_draws
from isthmus.ambient.scar.likelihoods import log_likelihood
from isthmus.ambient.scar.model import decode, encode

SURFACE = json.loads((Path(__file__).parents[1] / "contract" / "surface.json").read_text())["r_only_functions"]
MARKER = (planted().var["marker"] != "").to_numpy()
FUNCTIONS = [name for name in ambient.scar.__all__]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_r_has_the_same_arguments(name):
    ours = [
        ["assay", "counts"] if p.name == "layer" else [p.name] if p.default is p.empty else [p.name, p.default]
        for p in inspect.signature(getattr(ambient, name)).parameters.values()
    ]
    assert ours == SURFACE[name]


# ---- the numbers underneath ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(
    "options", [{}, {"latent_distribution": "ln", "scale_activation": "softmax"}, {"scale_activation": "softplus"}]
)
def test_numpy_decodes_as_torch_does(likelihood, options):
    import torch

    from isthmus.ambient.scar.network import Network, minus_log_likelihood

    fit = isthmus.remove_ambient(
        planted(), profile="ambient", method="scar", likelihood=likelihood, max_epochs=2, early_stopping=False,
        n_hidden=8, n_latent=3, **options,
    )  # fmt: skip
    model, x = fit.network, planted().X[:40].toarray()
    network = Network(model.options, model.n_genes, np.full(model.n_genes, 1 / model.n_genes)).eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in model.weights.items()}, strict=False)
    with torch.no_grad():
        mean, variance = network.encode(torch.from_numpy(x))
        p, rho, dropout = network.decode(mean)
        mixed = (1 - rho) * p + rho * torch.from_numpy(fit.ambient.astype(np.float32))
        loss = minus_log_likelihood(network, torch.from_numpy(x), mixed, dropout).numpy()
    ours = encode(model, x)
    np.testing.assert_allclose(ours[0], mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(ours[1], variance.numpy(), rtol=1e-4)
    np.testing.assert_allclose(ours[0], model.mean[:40], atol=1e-5)
    decoded = decode(model, ours[0])
    np.testing.assert_allclose(decoded.p, p.numpy(), rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(decoded.rho, rho.numpy()[:, 0], rtol=1e-4)
    # The losses differ from the log-likelihood by what depends on the counts alone.
    full = log_likelihood(likelihood, x, mixed.numpy(), x.sum(1), model.inverse_dispersion, decoded.dropout)
    other = log_likelihood(likelihood, x, np.full_like(x, 1 / 120), x.sum(1), model.inverse_dispersion, decoded.dropout)
    with torch.no_grad():
        flat = minus_log_likelihood(network, torch.from_numpy(x), torch.full(x.shape, 1 / 120), dropout).numpy()
    np.testing.assert_allclose(full - other, flat - loss, rtol=1e-3, atol=0.05)


def test_log_likelihoods_are_those_of_scipy():
    rng = np.random.default_rng(0)
    q, r, logits = rng.dirichlet(np.ones(6), 5), rng.gamma(2, 1, 6), rng.normal(0, 1, (5, 6))
    n = rng.integers(20, 60, 5).astype(float)
    x = rng.poisson(n[:, None] * q).astype(float)
    mu, kept = n[:, None] * q, 1 / (1 + np.exp(logits))
    nb = stats.nbinom.pmf(x, r, r / (r + mu))
    wanted = {
        "binomial": stats.binom.logpmf(x, n[:, None], q),
        "poisson": stats.poisson.logpmf(x, mu),
        "nb": np.log(nb),
        "zinb": np.log(kept * nb + (1 - kept) * (x == 0)),
    }
    for kind, value in wanted.items():
        np.testing.assert_allclose(log_likelihood(kind, x, q, n, r, logits), value.sum(axis=1), rtol=1e-5)


# ---- expression ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_normalized_expression_sums_to_the_library_size(likelihood):
    fit, umi = fitted(likelihood), np.asarray(planted().X.sum(axis=1)).ravel()
    frame = ambient.normalized_expression(fit, library_size=1e4)
    assert frame.index.tolist() == planted().obs_names.tolist()
    np.testing.assert_allclose(frame.sum(axis=1), 1e4, rtol=1e-6)
    np.testing.assert_allclose(ambient.normalized_expression(fit, n_samples=3).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(ambient.normalized_expression(fit, library_size="latent").sum(axis=1), umi, rtol=1e-6)
    some = ambient.normalized_expression(fit, genes=["g7", "g2"], library_size=1e4)
    pd.testing.assert_frame_equal(some, frame[["g7", "g2"]])
    own = (planted().obs["type"] == "A").to_numpy()
    assert frame["g2"][own].mean() > 10 * frame["g2"][~own].mean()  # a marker of A


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_likelihood_parameters_add_up(likelihood):
    fit, umi = fitted(likelihood), np.asarray(planted().X.sum(axis=1)).ravel()
    found = ambient.likelihood_parameters(fit)
    more = {"nb": ["dispersions"], "zinb": ["dispersions", "dropout"]}.get(likelihood, [])
    assert list(found) == ["mean", "ambient", *more]
    assert all(frame.shape == planted().shape for frame in found.values())
    np.testing.assert_allclose((found["mean"] + found["ambient"]).sum(axis=1), umi, rtol=1e-4)
    np.testing.assert_allclose(found["ambient"].sum(axis=1) / umi, fit.rho, rtol=1e-4)
    if likelihood == "zinb":
        assert ((found["dropout"] > 0) & (found["dropout"] < 1)).all(axis=None)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_posterior_predictive_counts_have_the_models_mean(likelihood):
    fit = fitted(likelihood)
    drawn = ambient.posterior_predictive_sample(fit, n_samples=8)
    assert len(drawn) == 8
    assert all(sparse.issparse(matrix) and matrix.shape == fit.denoised.shape for matrix in drawn)
    found = ambient.likelihood_parameters(fit, n_samples=8)
    expected = (found["mean"] * (1 - found.get("dropout", 0))).to_numpy().sum(axis=0)
    got = np.mean([matrix.sum(axis=0).A1 for matrix in drawn], axis=0)
    assert np.corrcoef(np.log1p(got), np.log1p(expected))[0, 1] > 0.99
    assert got.sum() == pytest.approx(expected.sum(), rel=0.03)
    one = ambient.posterior_predictive_sample(fit)
    assert (one != ambient.posterior_predictive_sample(fit)).nnz == 0


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_markers_of_a_type_go_together(likelihood, kind):
    genes = ["g0", "g1", "g2", "g10", "g11"]
    matrix = ambient.feature_correlation_matrix(fitted(likelihood), genes=genes, correlation_type=kind)
    assert matrix.index.tolist() == matrix.columns.tolist() == genes
    np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_allclose(matrix, matrix.T)
    # Pearson's of the negative binomials is as small as its gamma noise makes it: the next test says how small.
    least = 0.15 if kind == "pearson" and "nb" in likelihood else 0.6
    assert matrix.loc["g0", "g1"] > least
    assert matrix.loc["g0", "g10"] < -least


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_gamma_noise_lowers_correlations_by_its_variance(likelihood):
    """Cov(p_g, p_h) / sqrt(V_g V_h) with V = Var(p) + E(p^2) / r, whatever the size factor."""
    posterior = posterior_of(fitted(likelihood))
    p = np.concatenate([over_draws(posterior, native(), 1, seed) for seed in range(10)]).astype(float)
    covariance = np.cov(p, rowvar=False)
    variance = np.diag(covariance) + np.mean(p**2, axis=0) / posterior.model.inverse_dispersion
    wanted = covariance / np.sqrt(np.outer(variance, variance))
    matrix = ambient.feature_correlation_matrix(fitted(likelihood), correlation_type="pearson").to_numpy()
    upper = np.triu_indices(N_GENES, 1)
    assert np.abs(wanted[upper]).max() > 0.3
    # 4,000 draws: a standard error of 0.016, more for the skewed gammas of small r
    assert np.abs(matrix[upper] - wanted[upper]).mean() < 0.025
    assert np.corrcoef(matrix[upper], wanted[upper])[0, 1] > 0.95


# ---- groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_planted_markers_are_found_and_little_else(likelihood):
    """Observed share of false discoveries at most 0.10 at a target of 0.05."""
    fit = fitted(likelihood)
    runs = {
        "pair": {"group1": "A", "group2": "B"},
        "rest": {"group1": "A"},
        "labels": {"groupby": planted().obs["type"], "group1": "A"},
        "filtered": {"group1": "A", "group2": "B", "filter_outlier_cells": True},
        "weighted": {"group1": "A", "group2": "B", "cells": planted(), "n_samples": 500},
    }
    for name, options in runs.items():
        table = ambient.differential_expression(fit, **options)
        called = table["is_de"].to_numpy()
        assert (called & ~MARKER).sum() <= 0.1 * called.sum(), name
        assert (called & MARKER).sum() >= 0.9 * N_PLANTED, name
        sign = np.sign(table["lfc_median"].to_numpy()[MARKER])
        np.testing.assert_array_equal(sign, np.repeat([1, -1], N_PLANTED // 2))
    both = ambient.differential_expression(fit)
    assert both[["group1", "group2"]].drop_duplicates().to_numpy().tolist() == [["A", "rest"], ["B", "rest"]]
    np.testing.assert_allclose(both["proba_de"] + both["proba_not_de"], 1)
    np.testing.assert_allclose(both.groupby("group1")[["scale1", "scale2"]].sum(), 1, rtol=1e-4)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_vanilla_probabilities(likelihood):
    table = ambient.differential_expression(fitted(likelihood), group1="A", mode="vanilla").set_index("gene")
    np.testing.assert_allclose(table["proba_m1"] + table["proba_m2"], 1)
    assert (table["proba_m1"].iloc[:10] > 0.9).all()
    assert (table["proba_m1"].iloc[10:20] < 0.1).all()
    assert table["bayes_factor"].iloc[:10].min() > 2


def test_called_keeps_its_promise():
    assert comparison.called(np.array([1.0, 0.99, 0.9, 0.5]), 0.05).tolist() == [True, True, True, False]
    assert comparison.called(np.array([0.5, 0.5]), 0.05).tolist() == [False, False]
    many = np.r_[np.ones(100), 0.7]
    assert comparison.called(many, 0.05).sum() == 100  # room in the mean, but 0.3 is above 4 x 0.05


def test_tempered_weights_leave_a_fifth_of_the_draws():
    weights = np.r_[1.0, np.full(99, 1e-30)]
    kept = comparison.tempered(weights)
    assert 1 / (kept**2).sum() == pytest.approx(20, rel=0.01)
    np.testing.assert_allclose(comparison.tempered(np.full(10, 0.1)), 0.1)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("dof", [None, 3.0])
def test_cells_lie_in_their_own_sample(likelihood, dof):
    labels = planted().obs["type"]
    table = ambient.differential_abundance(fitted(likelihood), labels, dof=dof)
    assert table.columns.tolist() == ["A", "B"]
    assert (table["A"] > table["B"])[labels == "A"].mean() > 0.95
    assert (table["B"] > table["A"])[labels == "B"].mean() > 0.95


def test_the_density_is_that_of_the_mixture():
    posterior = posterior_of(fitted()).of(np.arange(30))
    at = posterior.mean[:5]
    each = stats.norm.pdf(at[:, None, :], posterior.mean, np.sqrt(posterior.variance)).prod(axis=2)
    np.testing.assert_allclose(
        comparison.aggregated_log_density(posterior, at, None), np.log(each.mean(axis=1)), rtol=1e-3
    )
    each = stats.t.logpdf(at[:, None, :], 3, posterior.mean, np.sqrt(posterior.variance)).sum(axis=2)
    wanted = np.log(np.exp(each).mean(axis=1))
    np.testing.assert_allclose(comparison.aggregated_log_density(posterior, at, 3.0), wanted, rtol=1e-3)


def test_aggregated_posterior_has_a_component_per_cell():
    fit, own = fitted(), (planted().obs["type"] == "A").to_numpy()
    table = ambient.aggregated_posterior(fit, group=own)
    assert table["cell"].tolist() == planted().obs_names[own].tolist()
    assert table["weight"].sum() == pytest.approx(1)
    np.testing.assert_allclose(table["mean_z1"], ambient.latent(fit)["z1"][own])
    np.testing.assert_allclose(table["sd_z2"] ** 2, ambient.latent(fit, variance=True)["z2"][own], rtol=1e-6)


def test_latent_of_a_logistic_normal_lies_on_the_simplex():
    fit = fitted(latent_distribution="ln", max_epochs=2)
    z = ambient.latent(fit)
    np.testing.assert_allclose(z.sum(axis=1), 1, rtol=1e-5)
    pd.testing.assert_frame_equal(z, ambient.latent(fit))
    assert (z.to_numpy() != ambient.latent(fit, seed=1).to_numpy()).any()


def test_library_size_is_what_was_observed():
    size = ambient.latent_library_size(fitted())
    assert size.index.tolist() == planted().obs_names.tolist()
    np.testing.assert_array_equal(size, planted().X.sum(axis=1).A1)


# ---- evidence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_marginal_likelihood_is_above_the_bound(likelihood):
    """Within 3 Monte Carlo standard errors, cell by cell over 20 repeats."""
    fit, few = fitted(likelihood), planted()
    bounds = np.stack([ambient.elbo(fit, few, seed=s) for s in range(20)])
    marginal = ambient.marginal_ll(fit, few, n_samples=50)
    error = bounds.std(axis=0, ddof=1) / np.sqrt(20)
    assert (marginal >= bounds.mean(axis=0) - 3 * error).mean() > 0.99
    assert marginal.mean() >= bounds.mean() - 3 * bounds.mean(axis=1).std(ddof=1) / np.sqrt(20)
    loss = ambient.reconstruction_error(fit, few, n_samples=20)
    assert (-loss).mean() > bounds.mean()
    again = ambient.reconstruction_error(fit, few, seed=3)
    kl = -again - ambient.elbo(fit, few, seed=3)
    assert (kl > 0).all()  # with the same draws they differ by the divergence


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_importance_weights_are_a_distribution(likelihood):
    own = np.arange(N_CELLS) < 40
    options = {"group": own, "n_mc_samples": 20}
    plain = ambient.importance_weights(fitted(likelihood), planted(), **options)
    capped = ambient.importance_weights(fitted(likelihood), planted(), truncation=True, **options)
    assert plain.index.tolist() == planted().obs_names[:40].tolist()
    assert plain.sum() == pytest.approx(1)
    assert (plain >= 0).all()
    assert capped.max() <= plain.max() + 1e-12
    few = ambient.importance_weights(fitted(likelihood), planted(), max_cells=10, **options)
    assert (few.to_numpy() != plain.to_numpy()).any()


# ---- what does not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_only_fits_of_the_network(name):
    em = isthmus.remove_ambient(planted(), profile="ambient", rho=0.1)
    more = {"cells": planted()} if "cells" in inspect.signature(getattr(ambient, name)).parameters else {}
    more |= {"sample": "batch"} if name == "differential_abundance" else {}
    with pytest.raises(
        InputError, match=r'`fit` must be a fit of remove_ambient\(method="scar"\): only that has a latent'
    ):
        getattr(ambient, name)(em, **more)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f: ambient.latent(f, n_samples=0), "`n_samples` must be a whole number of at least 1; got 0"),
        (lambda f: ambient.normalized_expression(f, genes=["x9"]), "`genes` must name genes of the fit; got 1 unknown"),
        (lambda f: ambient.normalized_expression(f, genes=[]), "`genes` must name genes of the fit; got none"),
        (lambda f: ambient.normalized_expression(f, library_size=-1), "`library_size` must be a number above 0"),
        (lambda f: ambient.normalized_expression(f, n_samples=1.5), "`n_samples` must be a whole number"),
        (lambda f: ambient.feature_correlation_matrix(f, correlation_type="tau"), "`correlation_type` must be 'spearm"),
        (
            lambda f: ambient.feature_correlation_matrix(f, rna_size_factor=0),
            "`rna_size_factor` must be a number above",
        ),
        (lambda f: ambient.differential_expression(f, "type"), "`groupby` must be 'cluster', 'batch' or one label per"),
        (lambda f: ambient.differential_expression(f, ["A"]), r"`groupby` must hold one label per cell .*got 1\."),
        (lambda f: ambient.differential_expression(f, [None] * 400), "none missing; got 400 missing labels"),
        (lambda f: ambient.differential_expression(f, "batch"), "`groupby` must tell at least two groups apart"),
        (lambda f: ambient.differential_expression(f, group1="C"), "`group1` must be one of the groups .*got 'C'"),
        (lambda f: ambient.differential_expression(f, group1="A", group2="A"), "`group1` and `group2` must differ"),
        (lambda f: ambient.differential_expression(f, group2="A"), "`group2` needs `group1`"),
        (lambda f: ambient.differential_expression(f, mode="t"), "`mode` must be 'change' or 'vanilla'; got 't'"),
        (lambda f: ambient.differential_expression(f, delta=-1), "`delta` must be at least 0; got -1"),
        (lambda f: ambient.differential_expression(f, fdr_target=1), "`fdr_target` must be between 0 and 1; got 1"),
        (lambda f: ambient.differential_abundance(f, "donor"), "`sample` must be 'cluster', 'batch' or one label"),
        (lambda f: ambient.differential_abundance(f, "cluster", dof=0), "`dof` must be a number above 0, or None"),
        (lambda f: ambient.aggregated_posterior(f, group=[1, 2]), "`group` must be True or False for each cell"),
        (lambda f: ambient.elbo(f, planted()[:5].copy()), "`cells` must be the counts of the fit .*got 5 x 120"),
        (lambda f: ambient.elbo(f, planted().X * 2), "`cells` must be the counts of the fit"),
        (lambda f: ambient.importance_weights(f, planted(), max_cells=0), "`max_cells` must be a whole number"),
    ],
)
def test_each_mistake_has_its_sentence(call, words):
    with pytest.raises(InputError, match=words):
        call(fitted())

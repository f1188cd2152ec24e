"""isthmus.compat.scvi.SCAR: a number or a law for most methods and each likelihood.

Not yet here: differential_expression, get_feature_correlation_matrix, convert_legacy_save.
"""

import numpy as np
import pandas as pd
import pytest
from scar_cases import N_CELLS, N_GENES, planted
from scipy import sparse

scvi = pytest.importorskip("scvi", reason="the extra isthmus[deep] is not installed")
# Lightning's and scvi-tools' own warnings about their dependencies are not ours to end.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=["b", "nb", "zinb", "poisson"])
def model(request):
    from isthmus.compat.scvi import SCAR

    scvi.settings.seed = 1
    cells = planted().copy()
    SCAR.setup_anndata(cells)
    made = SCAR(cells, "ambient", n_hidden=16, n_latent=3, gene_likelihood=request.param)
    made.train(max_epochs=100, accelerator="cpu", enable_progress_bar=False)
    return made


def umi():
    return np.asarray(planted().X.sum(axis=1)).ravel()


def test_denoised_counts_never_exceed_the_observed(model):
    found = model.get_denoised_counts()
    assert sparse.isspmatrix_csr(found)
    assert found.dtype == np.int32
    assert (found - planted().X).max() <= 0
    assert 0.5 * umi().sum() < found.sum() < umi().sum()
    stock = model.get_denoised_counts(stock=True)
    assert isinstance(stock, np.ndarray)
    assert stock.shape == (N_CELLS, N_GENES)


def test_normalized_expression_sums_to_the_library_size(model):
    frame = model.get_normalized_expression(library_size=1e4)
    assert frame.index.equals(planted().obs_names)
    np.testing.assert_allclose(frame.sum(axis=1), 1e4, rtol=1e-5)
    latent = model.get_normalized_expression(library_size="latent", n_samples=2)
    np.testing.assert_allclose(latent.sum(axis=1), umi(), rtol=1e-5)
    few = model.get_normalized_expression(gene_list=["g7", "g2"], n_samples=3, return_mean=False)
    assert few.shape == (3, N_CELLS, 2)
    weighted = model.get_normalized_expression(n_samples_overall=5, weights="importance")
    np.testing.assert_allclose(weighted.sum(axis=1), 1, rtol=1e-5)


def test_likelihood_parameters_add_up(model):
    found = model.get_likelihood_parameters()
    np.testing.assert_allclose((found["mean"] + found["ambient"]).sum(axis=1), umi(), rtol=1e-4)


def test_ambient_share_is_a_share(model):
    share = model.get_ambient_share()
    assert share.index.equals(planted().obs_names)
    assert share.between(0, 1).all()


def test_predictive_samples_are_counts(model):
    one, two = model.posterior_predictive_sample(n_samples=2)
    assert one.shape == two.shape == (N_CELLS, N_GENES)
    assert (one.data >= 0).all()
    assert (one.data % 1 == 0).all()
    assert (one != two).nnz > 0


def test_marginal_likelihood_is_above_the_elbo(model):
    elbo = np.mean([model.get_elbo() for _ in range(3)])
    marginal = model.get_marginal_ll(n_mc_samples=50, return_mean=False)
    assert marginal.index.equals(planted().obs_names)
    draws = [model.get_elbo(return_mean=True) for _ in range(3)]
    assert marginal.mean() >= elbo - 3 * max(np.std(draws), 1e-3)
    loss = model.get_reconstruction_error()["reconstruction_loss"]
    assert -loss >= elbo - 1


def test_importance_weights_sum_to_one(model):
    weights = model.get_importance_weights(indices=np.arange(20), n_mc_samples=20)
    assert weights.sum() == pytest.approx(1, abs=1e-5)


def test_latent_space(model):
    z = model.get_latent_representation()
    parts = model.get_aggregated_posterior()
    assert len(parts) == N_CELLS
    assert parts["weight"].sum() == pytest.approx(1)
    np.testing.assert_allclose(parts["mean_z1"], z[:, 0], atol=1e-5)
    np.testing.assert_allclose(model.get_latent_library_size().ravel(), umi())
    density = model.differential_abundance(sample_key="type")
    own = (planted().obs["type"] == "A").to_numpy()
    lead = density["A"] - density["B"]
    assert lead[own].mean() > lead[~own].mean()


def test_save_and_load_give_the_same_bits(model, tmp_path):
    from isthmus.compat.scvi import SCAR

    model.save(tmp_path / "m", overwrite=True)
    again = SCAR.load(tmp_path / "m", adata=model.adata, accelerator="cpu")
    np.testing.assert_array_equal(again.get_latent_representation(), model.get_latent_representation())
    pd.testing.assert_series_equal(again.get_ambient_share(), model.get_ambient_share())
    assert (again.get_denoised_counts() != model.get_denoised_counts()).nnz == 0
    assert SCAR.load_registry(tmp_path / "m")["model_name"] == "SCAR"


def test_registry_methods(model):
    model.view_anndata_setup()
    model.to_device("cpu")
    other = model.adata[:50].copy()
    model.transfer_fields(other)
    np.testing.assert_allclose(
        model.get_latent_representation(other), model.get_latent_representation()[:50], atol=1e-5
    )


def test_ambient_profile_is_matched_by_name():
    from isthmus.compat.scvi import SCAR
    from isthmus.testing import simulate_ambient

    cells, droplets = simulate_ambient(60, 40, 300, seed=1)
    SCAR.setup_anndata(cells)
    SCAR.get_ambient_profile(cells, droplets, prob=0.2)
    first = cells.varm["ambient_profile"].copy()
    scvi.settings.seed = 3
    SCAR.get_ambient_profile(cells, droplets[:, ::-1].copy(), prob=0.2)
    assert first.sum() == pytest.approx(1)
    np.testing.assert_allclose(cells.varm["ambient_profile"], first, atol=1e-6)

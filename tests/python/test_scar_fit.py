"""remove_ambient(method="scar"): what it corrects, that it repeats itself, and what it refuses."""

import random
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scar_cases import LIKELIHOODS, fitted, planted, rmse
from scipy import sparse

import isthmus
from isthmus import InputError, MissingDependencyError

QUICK = {"max_epochs": 3, "early_stopping": False, "n_hidden": 8, "n_latent": 2}


def quick(**options):
    return isthmus.remove_ambient(planted(), **({"profile": "ambient", "method": "scar"} | QUICK | options))


def same(first, second):
    one, two = first.state(), second.state()
    assert list(one) == list(two)
    for name, value in one.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, two[name], err_msg=name)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_it_corrects(likelihood):
    fit, cells = fitted(likelihood), planted()
    truth = cells.obs["rho"].to_numpy()
    assert rmse(fit.denoised_mean) < 0.6 * rmse(cells.X)
    assert rmse(fit.denoised) < 0.7 * rmse(cells.X)
    assert np.corrcoef(fit.rho, truth)[0, 1] > 0.4
    assert abs(fit.rho.mean() - truth.mean()) < 0.04


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_counts_are_conserved(likelihood):
    fit, observed = fitted(likelihood), planted().X
    assert fit.denoised.dtype == np.int32
    assert (fit.denoised - observed).max() <= 0
    assert fit.denoised.data.min() > 0
    cells, genes = fit.table("cells"), fit.table("genes")
    np.testing.assert_allclose(
        cells["ambient_umi"] + fit.denoised_mean.sum(axis=1).A1, cells["observed_umi"], rtol=1e-5
    )
    assert cells["ambient_umi"].sum() == pytest.approx(genes["removed"].sum(), rel=1e-5)
    z = (fit.denoised.sum() - fit.denoised_mean.sum()) / np.sqrt(genes["removed"].sum())
    assert abs(z) < 4


def test_history_has_a_row_per_epoch():
    history = fitted().table("history")
    assert history.columns.tolist() == ["epoch", "loss", "reconstruction", "kl"]
    assert history["epoch"].tolist() == list(range(1, 101))
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    weight = history["epoch"] / 400
    np.testing.assert_allclose(history["loss"], history["reconstruction"] + weight * history["kl"], rtol=1e-9)


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_threads():
    import torch

    before = torch.get_num_threads()
    first = quick()
    try:
        torch.set_num_threads(1 if before > 1 else 2)
        same(first, quick())
    finally:
        torch.set_num_threads(before)
    assert (first.rho != quick(seed=1).rho).any()


def test_global_random_states_and_threads_stay():
    import torch

    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate(), torch.get_num_threads()
    quick()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]
    assert torch.get_num_threads() == before[3]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_saved_and_loaded_equal_to_the_bit(likelihood, tmp_path):
    fit = quick(likelihood=likelihood, batch=np.repeat(["x", "y"], 200))
    isthmus.save_fit(fit, tmp_path / "fit")
    again = isthmus.load_fit(tmp_path / "fit")
    same(fit, again)
    pd.testing.assert_frame_equal(fit.table("history"), again.table("history"))
    assert again.network.options == fit.network.options


def test_a_state_that_r_has_held():
    """R keeps doubles, and may drop the dimension of a matrix of one row or column."""
    fit = quick(n_hidden=1, n_latent=1)
    state = {
        name: np.squeeze(value.astype(float)) if name.startswith("network") else value
        for name, value in fit.state().items()
    }
    same(fit, type(fit).from_state(state))


def test_a_loaded_fit_needs_no_torch(tmp_path):
    isthmus.save_fit(quick(), tmp_path / "fit")
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.partition('.')[0] == 'torch': raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "import isthmus\n"
        "from isthmus.ambient import latent\n"
        f"print(latent(isthmus.load_fit({str(tmp_path / 'fit')!r})).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(400, 2)"


def test_import_brings_no_torch():
    code = "import isthmus, isthmus.ambient, sys; print([m for m in ('torch', 'scvi') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_batch_has_its_own_profile():
    batch = np.repeat(["x", "y"], 200)
    profiles = pd.DataFrame(
        {
            "gene": np.tile(planted().var_names, 2),
            "batch": np.repeat(["x", "y"], 120),
            "prob": np.concatenate([np.eye(1, 120, 50).ravel(), planted().var["ambient"]]),
        }
    )
    fit = quick(batch=batch, profile=profiles)
    removed = fit.table("genes").query("batch == 'x' and removed > 1e-2")
    assert removed["gene"].tolist() == ["g50"]
    assert len(fit.table("genes").query("batch == 'y' and removed > 1e-2")) > 100


def test_cells_without_counts_keep_their_rows():
    cells = planted().copy()
    cells.X = sparse.vstack([sparse.csr_matrix((2, 120), dtype=np.float32), cells.X[2:]]).tocsr()
    fit = isthmus.remove_ambient(cells, profile="ambient", method="scar", **QUICK)
    assert fit.flag[:3].tolist() == ["no_counts", "no_counts", "ok"]
    assert np.isnan(fit.rho[:2]).all()
    assert fit.denoised[:2].nnz == 0


def test_fpr_trades_removal():
    removed = [1 - quick(fpr=fpr).denoised_mean.sum() / planted().X.sum() for fpr in (0.01, 0.1)]
    assert removed[0] < removed[1]


@pytest.mark.parametrize(
    "options",
    [
        {"latent_distribution": "ln"},
        {"scale_activation": "softmax"},
        {"scale_activation": "softplus"},
        {"n_layers": 1},
        {"n_layers": 3, "dropout_rate": 0.2},
        {"batch_size": 32, "learning_rate": 5e-3},
    ],
)
def test_every_option_trains(options):
    fit = quick(max_epochs=20, n_hidden=32, n_latent=4, **options)
    history = fit.table("history")
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert {name: fit.settings["network"][name] for name in options} == options
    assert sum(name.startswith("decoder.linear") for name in fit.network.weights) == 2 * options.get("n_layers", 2)


def test_larger_sparsity_makes_more_of_p_zero():
    from isthmus.ambient import normalized_expression

    fits = [quick(max_epochs=20, n_hidden=150, n_latent=15, sparsity=sparsity) for sparsity in (0.1, 1.0)]
    few, many = ((normalized_expression(fit) == 0).to_numpy().mean() for fit in fits)
    assert few < many


def test_early_stopping_keeps_the_best_and_says_when_it_never_came():
    with pytest.warns(isthmus.ConvergenceWarning, match="still improving after 2 epochs. Raise `max_epochs`"):
        fit = quick(max_epochs=2, early_stopping=True)
    assert not fit.converged
    fit = quick(max_epochs=4_000, early_stopping=True, learning_rate=0.02)
    assert fit.converged
    assert fit.n_iter < 4_000


def test_without_scvi_or_torch_the_command_is_named(monkeypatch):
    import importlib.util as util

    real = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name == "torch" else real(name, *rest))
    with pytest.raises(MissingDependencyError, match=r"needs torch.*pip install 'isthmus\[deep\]'"):
        quick()
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name == "scvi" else real(name, *rest))
    with pytest.raises(MissingDependencyError, match=r"needs scvi-tools.*pip install 'isthmus\[deep\]'"):
        quick(trainer="scvi")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_hiden": 10}, "`n_hiden` is no argument .* Did you mean `n_hidden`"),
        ({"n_hidden": 0}, "`n_hidden` must be a whole number of at least 1; got 0"),
        ({"n_latent": 2.5}, "`n_latent` must be a whole number of at least 1; got 2.5"),
        ({"n_layers": True}, "`n_layers` must be a whole number of at least 1; got True"),
        ({"batch_size": 1}, "`batch_size` must be a whole number of at least 2; got 1"),
        ({"dropout_rate": 1.0}, "`dropout_rate` must be at least 0 and below 1; got 1.0"),
        ({"sparsity": 1.5}, "`sparsity` must be between 0 and 1; got 1.5"),
        ({"learning_rate": 0}, "`learning_rate` must be above 0 and at most 1; got 0"),
        ({"likelihood": "gauss"}, "`likelihood` must be 'binomial', 'nb', 'zinb' or 'poisson'; got 'gauss'"),
        ({"latent_distribution": "t"}, "`latent_distribution` must be one of 'normal', 'ln'; got 't'"),
        ({"scale_activation": "relu"}, "`scale_activation` must be one of .*; got 'relu'"),
        ({"trainer": "mine"}, "`trainer` must be one of 'isthmus', 'scvi'; got 'mine'"),
        ({"accelerator": "abacus"}, "`accelerator` must be one of .*; got 'abacus'"),
        ({"early_stopping": "yes"}, "`early_stopping` must be True or False; got 'yes'"),
        ({"max_epochs": 0}, "`max_epochs` must be a whole number of at least 1"),
        ({"rho": 0.1}, '`rho` goes with method="em"'),
        ({"markers": {"A": ["g0"]}}, '`markers` goes with method="em"'),
        ({"n_clusters": 3}, '`n_clusters` goes with method="em"'),
        ({"trainer": "scvi", "batch": np.repeat(["x", "y"], 200)}, '`trainer` = "scvi" knows one ambient profile'),
    ],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        quick(**options)


def test_a_device_that_is_not_there_is_refused():
    import torch

    absent = next(
        name for name in ("mps", "gpu") if not {"mps": torch.backends.mps, "gpu": torch.cuda}[name].is_available()
    )
    with pytest.raises(InputError, match=f"must be a device of this machine; '{absent}' is not there"):
        quick(accelerator=absent)


def test_too_few_cells_are_refused():
    with pytest.raises(InputError, match="at least 10 cells with counts for a network to learn from; got 5"):
        isthmus.remove_ambient(planted()[:5].copy(), profile="ambient", method="scar")


def test_network_options_do_not_go_with_em():
    with pytest.raises(InputError, match='`n_hidden` is no argument of remove_ambient with method="em"'):
        isthmus.remove_ambient(planted(), profile="ambient", n_hidden=10)

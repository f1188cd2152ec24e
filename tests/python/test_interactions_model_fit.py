"""fit_interactions: what is held out stays out, seeds, options, tables, transfer, save and load."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch
from interaction_cases import QUICK, tissue

import isthmus
from isthmus import messages
from isthmus.errors import InputError, MissingDependencyError
from isthmus.interaction import InteractionFit, fit_interactions, train
from isthmus.interaction.folds import beyond_reach
from isthmus.interaction.forward import fold_models, held_out_parts
from isthmus.interaction.neighbors import typical_reach
from isthmus.interaction.transfer import transfer


@pytest.fixture(scope="module")
def adata():
    return tissue(400, seed=5)


@pytest.fixture(scope="module")
def fit(adata):
    return fit_interactions(adata, **QUICK)


def same(a, b):
    return all(np.array_equal(a.weights[name], b.weights[name]) for name in a.weights)


# ---- held out is held out ------------------------------------------------------------------------------------------


def test_noise_in_a_held_out_fold_leaves_its_parameters_identical_to_the_bit(adata, fit):
    for fold in range(3):
        noisy = adata.copy()
        held_out = fit.folds.fold == fold
        noisy.X[held_out] = np.random.default_rng(fold).normal(5, 3, (held_out.sum(), adata.n_vars))
        again = fit_interactions(noisy, **QUICK)
        for name, value in fit.weights.items():
            np.testing.assert_array_equal(again.weights[name][fold], value[fold], err_msg=name)
        np.testing.assert_array_equal(again.means[fold], fit.means[fold])
        others = [f for f in range(3) if f != fold]
        assert not any(np.array_equal(again.weights["output"][f], fit.weights["output"][f]) for f in others)


def test_means_are_those_of_the_cells_outside_the_fold(adata, fit):
    for fold in range(3):
        outside = fit.folds.fold != fold
        for code, kind in enumerate(fit.types):
            cells = outside & (adata.obs["kind"] == kind).to_numpy()
            np.testing.assert_allclose(fit.means[fold, code], adata.X[cells].mean(axis=0, dtype=float), rtol=1e-6)


def test_the_guard_bands_share_is_reported(fit):
    for fold in range(3):
        outside = fit.folds.fold != fold
        untouched = fit.folds.training(fold, fit.neighbors)
        training = beyond_reach(
            fit.coordinates, fit.sample_codes, ~outside, untouched, reach=typical_reach(fit.neighbors)
        )
        assert training.sum() < untouched.sum()
        assert fit.guard_share[fold] == pytest.approx(1 - training.sum() / outside.sum())
    assert (fit.guard_share > 0).all()
    assert f"{100 * fit.guard_share.mean():.0f} % of the other cells in guard bands" in fit.summary()


def test_no_training_cell_has_a_held_out_neighbor_or_lies_near_a_held_out_cell(monkeypatch):
    trained, train_fold = [], train.train_fold

    def spy(problem, cells, *args):
        trained.append(cells)
        return train_fold(problem, cells, *args)

    monkeypatch.setattr(train, "train_fold", spy)
    fit = fit_interactions(tissue(900, seed=6), **(QUICK | {"max_epochs": 1}))
    assert len(trained) == 3
    for fold, cells in enumerate(trained):
        held_out = fit.folds.fold == fold
        neighbors = fit.neighbors.index[cells]
        assert not held_out[neighbors[neighbors >= 0]].any()
        gaps = np.linalg.norm(fit.coordinates[cells][:, None] - fit.coordinates[held_out][None], axis=2)
        assert gaps.min() > 2 * typical_reach(fit.neighbors)
        assert fit.guard_share[fold] == pytest.approx(1 - cells.sum() / (~held_out).sum())


def test_one_fold_trains_on_all_cells_and_says_so(adata):
    fit = fit_interactions(adata, **(QUICK | {"folds": 1}))
    assert (fit.set, fit.n_folds, fit.guard_share.tolist()) == ("train", 1, [0.0])
    assert fit.predict().notna().to_numpy().all()
    assert fit.settings["set"] == "train"


def test_a_planted_interaction_is_found_in_held_out_cells():
    adata = tissue(1500, 8, seed=11, effect=2.0)
    fit = fit_interactions(adata, labels="kind", n_neighbors=8, n_heads=2, lr=5e-3, seed=1)
    x, near = adata.X, adata.obs["near"].to_numpy()
    kind = (adata.obs["kind"] == "a").to_numpy()
    residual = np.empty(fit.n_cells)
    for parts in held_out_parts(fit):
        model = fold_models(fit)[parts.fold]
        residual[parts.cells] = (x[parts.cells, 0] - model.means[parts.types, 0]) ** 2
    error = (x[:, 0] - fit.predict()["g0"].to_numpy()) ** 2
    r2 = 1 - error[kind].sum() / residual[kind].sum()
    means = np.where(near, x[kind & near, 0].mean(), x[kind & ~near, 0].mean())
    best = 1 - ((x[:, 0] - means)[kind] ** 2).sum() / residual[kind].sum()
    assert 0.6 * best < r2 < best + 0.02
    assert best > 0.5


# ---- seeds and global state ----------------------------------------------------------------------------------------


def test_same_seed_same_bits_whatever_the_threads_another_seed_others(adata, fit):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if before > 1 else 2)
        assert same(fit_interactions(adata, **QUICK), fit)
        assert torch.get_num_threads() != before
    finally:
        torch.set_num_threads(before)
    assert not same(fit_interactions(adata, **QUICK, seed=1), fit)


def test_global_random_states_stay(adata):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    fit_interactions(adata, **QUICK)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert torch.get_num_threads() == before[2]


def test_sparse_and_dense_expression_give_the_same_bits(adata, fit, monkeypatch):
    monkeypatch.setattr("isthmus.interaction.expression._DENSE_BYTES", 0)
    assert same(fit_interactions(adata, **QUICK), fit)


def test_the_callers_object_stays_as_it_was(adata):
    before = adata.copy()
    fit_interactions(adata, **QUICK)
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert (list(adata.uns), list(adata.obsm), list(adata.layers)) == ([], ["spatial"], [])
    np.testing.assert_array_equal(adata.X, before.X)


def test_a_subset_made_after_the_fit_changes_nothing(adata):
    mine = adata.copy()
    fit = fit_interactions(mine, **QUICK)
    before = fit.predict()
    mine.X[:] = 0
    mine.obsm["spatial"] = mine.obsm["spatial"][::-1].copy()
    del mine
    pd.testing.assert_frame_equal(fit.predict(), before)
    assert list(before.index) == list(adata.obs_names)


# ---- options -------------------------------------------------------------------------------------------------------


def test_sections_share_no_neighbor(adata):
    fit = fit_interactions(adata, **QUICK, sample=np.repeat(["s1", "s2"], 200))
    index = fit.neighbors.index
    assert (fit.sample_codes[np.maximum(index, 0)] == fit.sample_codes[:, None])[index >= 0].all()
    assert fit.samples == ("s1", "s2")


def test_neighbors_of_the_same_type_on_request(adata, fit):
    kinds = fit.type_codes[fit.neighbors.index]
    assert not (kinds == fit.type_codes[:, None]).any()
    both = fit_interactions(adata, **QUICK, same_type_neighbors=True)
    assert (both.type_codes[both.neighbors.index] == both.type_codes[:, None]).mean() > 0.2


@pytest.mark.parametrize(
    "option",
    [
        {"attention_penalty": 0.5},
        {"attention_penalty": (0.1, 0.5), "attention_penalty_epochs": (1, 2)},
        {"value_l1": 0.1},
        {"gene_scale": "sd"},
        {"neighbor_dropout": 0.0},
        {"empty_score": 0.0},
        {"kernel_offset": 1.0},
        {"distance_unit": 20.0},
        {"cell_radius": 1.0},
        {"covariates": "depth"},
        {"group_size": 1},
        {"lr": 1e-2},
        {"batch_size": 64},
        {"early_stopping": False},
        {"radius": 9.0},
    ],
)
def test_every_option_changes_what_is_learned(adata, fit, option):
    other = fit_interactions(adata, **QUICK, **option)
    assert not same(other, fit)
    assert all(np.isfinite(value).all() for value in other.weights.values())


def test_training_that_diverges_is_an_error(adata):
    with pytest.raises(InputError, match=r"`lr` must be small enough.*got 1e\+30, and the loss of epoch 2 is"):
        fit_interactions(adata, **QUICK, lr=1e30)


def test_the_penalty_makes_attention_selective(adata):
    def entropy(penalty):
        from isthmus.interaction.forward import held_out_attention

        fit = fit_interactions(
            adata,
            **(QUICK | {"max_epochs": 40}),
            attention_penalty=penalty,
            early_stopping=False,
            lr=5e-3,
            empty_score=0,
        )
        a = np.concatenate([np.concatenate([x.weights, x.empty[..., None]], axis=2) for x in held_out_attention(fit)])
        return float(-(a * np.log(np.maximum(a, 1e-12))).sum(axis=2).mean())

    assert entropy(1.0) < 0.5 * entropy(0.0)


def test_early_stopping_keeps_the_best_epoch(adata):
    fit = fit_interactions(adata, **(QUICK | {"max_epochs": 200}), patience=5, lr=2e-2)
    table = fit.table("history")
    for fold, rows in table.groupby("fold"):
        best = int(rows.loc[rows["validation_loss"].idxmin(), "epoch"])
        assert fit.settings["best_epochs"][fold - 1] == best
        assert len(rows) in (best + 5, 200)
    shorter = fit_interactions(adata, **(QUICK | {"max_epochs": fit.settings["best_epochs"][0]}), patience=5, lr=2e-2)
    np.testing.assert_array_equal(shorter.weights["output"][0], fit.weights["output"][0])


def test_without_early_stopping_there_is_no_validation_loss(adata):
    table = fit_interactions(adata, **QUICK, early_stopping=False).table("history")
    assert table["validation_loss"].isna().all()
    assert table["epoch"].tolist() == [1, 2] * 3
    assert table["fold"].tolist() == [1, 1, 2, 2, 3, 3]


def test_a_constant_gene_is_predicted_by_its_mean(adata):
    flat = adata.copy()
    flat.X[:, 3] = 2.0
    fit = fit_interactions(flat, **QUICK, gene_scale="sd")
    assert (fit.gene_weights[:, 3] == 0).all()
    assert (fit.gene_weights[:, :3] > 0).all()
    assert np.abs(fit.predict()["g3"] - 2).max() < 0.05


def test_a_type_without_training_cells_gets_no_prediction(adata):
    labels = adata.obs["kind"].astype(str).to_numpy()
    labels[np.argmin(adata.obsm["spatial"].sum(axis=1))] = "rare"
    with messages.collected() as texts:
        fit = fit_interactions(adata, **(QUICK | {"labels": labels}))
    assert any("no training cell of 'rare' is left for fold" in text for text in texts)
    missing = fit.predict().isna()
    assert missing.loc[labels == "rare"].to_numpy().all()
    assert not missing.loc[labels != "rare"].to_numpy().any()


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"n_neighbors": 0}, r"`n_neighbors` must be a whole number, 1 or more; got 0"),
        ({"radius": -1}, r"`radius` must be a positive number; got -1"),
        ({"n_heads": 1.5}, r"`n_heads` must be a whole number, 1 or more; got 1.5"),
        ({"head_size": 0}, r"`head_size` must be a whole number"),
        ({"folds": 0}, r"`folds` must be a whole number, 1 or more; got 0"),
        ({"folds": 60, "block_size": 30.0}, r"`folds` must not exceed the number of spatial blocks; got 60 folds"),
        ({"block_size": "large"}, r"`block_size` must be a positive number; got 'large'"),
        ({"max_epochs": 0}, r"`max_epochs` must be a whole number, 1 or more; got 0"),
        ({"batch_size": 0}, r"`batch_size` must be a whole number"),
        ({"same_type_neighbors": "no"}, r"`same_type_neighbors` must be True or False; got 'no'"),
        ({"same_type_neighbors": None}, r"`same_type_neighbors` must be True or False; got None"),
        ({"early_stopping": "no"}, r"`early_stopping` must be True or False; got 'no'"),
        ({"lr": 0}, r"`lr` must be a positive number; got 0"),
        ({"accelerator": "tpu"}, r"`accelerator` must be 'auto', 'cpu' or 'gpu'; got 'tpu'"),
        ({"seed": -1}, r"`seed` must be a whole number, 0 or more; got -1"),
        ({"embeding_size": 3}, r"`embeding_size` is no argument of fit_interactions. Did you mean `embedding_size`\?"),
        ({"embedding_size": 0}, r"`embedding_size` must be a whole number, 1 or more"),
        ({"key_size": 0}, r"`key_size` must be a whole number, 1 or more"),
        ({"neighbor_dropout": 1}, r"`neighbor_dropout` must lie between 0 and 1, 1 excluded; got 1"),
        ({"validation_share": -0.1}, r"`validation_share` must lie between 0 and 1"),
        ({"empty_score": np.nan}, r"`empty_score` must be a finite number; got nan"),
        ({"distance_unit": 0}, r"`distance_unit` must be a positive number; got 0"),
        ({"attention_penalty": -1}, r"`attention_penalty` must be 0 or a positive number; got -1"),
        ({"attention_penalty": (1, 2, 3)}, r"`attention_penalty` must be a number or a pair \(start, end\); got 3"),
        (
            {"attention_penalty": (0, 1), "attention_penalty_schedule": "log"},
            r"`attention_penalty` must be positive with a 'log' schedule; got \(0, 1\)",
        ),
        (
            {"attention_penalty_epochs": (5, 1)},
            r"`attention_penalty_epochs` must be \(first, last\) with first <= last",
        ),
        ({"attention_penalty_epochs": 5}, r"`attention_penalty_epochs` must be a pair \(first, last\); got 5"),
        ({"attention_penalty_schedule": "cosine"}, r"`attention_penalty_schedule` must be 'linear' or 'log'"),
        ({"value_l1": -1}, r"`value_l1` must be 0 or a positive number"),
        ({"gene_scale": "mad"}, r"`gene_scale` must be 'unit' or 'sd'; got 'mad'"),
        ({"labels": np.full(400, "a")}, r"`labels` must hold two cell types or more; got only 'a'"),
        ({"radius": 1e-9}, r"`radius` leaves no cell with a neighbour"),
        ({"n_neighbors": 300}, r"`folds` leaves no cell to train on: outside of fold 1 of 3"),
    ],
)
def test_options_against_their_rules_have_a_sentence(adata, option, match):
    with pytest.raises(InputError, match=match):
        fit_interactions(adata, **(QUICK | option))


def test_a_gpu_that_is_not_there_is_an_error(adata):
    if torch.cuda.is_available():
        assert same(*(fit_interactions(adata, **QUICK, accelerator="gpu") for _ in range(2)))
        return
    with pytest.raises(InputError, match="`accelerator` 'gpu' needs a CUDA device"):
        fit_interactions(adata, **QUICK, accelerator="gpu")


def awkward():
    rng = np.random.default_rng(0)
    places, x = rng.uniform(0, 60, (120, 2)), rng.normal(size=(120, 4))
    yield "all zero", np.zeros((120, 4)), places, {}
    yield "one gene", x[:, :1], places, {}
    yield "three dimensions", x, np.column_stack([places, rng.uniform(0, 5, 120)]), {}
    yield "a line", x, np.column_stack([places[:, 0], np.zeros(120)]), {}
    yield "more neighbours than cells", x, places, {"n_neighbors": 500, "radius": 8.0}
    yield "huge coordinates", x, places * 1e6, {}
    yield "large values", x * 1e6, places, {}
    yield "a batch smaller than a group", x, places, {"batch_size": 8}
    yield "a batch larger than the data", x, places, {"batch_size": 10_000}
    yield "samples of one cell", x, places, {"sample": np.r_[np.arange(5), np.full(115, 9)]}


@pytest.mark.parametrize(("x", "places", "options"), [pytest.param(*rest, id=name) for name, *rest in awkward()])
def test_awkward_cells_get_finite_predictions(x, places, options):
    kinds = np.array(["a", "b"])[np.random.default_rng(1).integers(0, 2, 120)]
    fit = fit_interactions(x, **(QUICK | {"labels": kinds, "coordinates": places, "folds": 2} | options))
    predicted = fit.predict()
    assert predicted.shape == x.shape
    assert np.isfinite(predicted.to_numpy()).all()
    if not x.any():
        assert np.abs(predicted.to_numpy()).max() < 0.2


def test_an_interrupt_ends_a_long_fit_at_once_and_leaves_torch_as_it_was(adata):
    before = torch.get_num_threads()
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.process_time()
    try:
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            fit_interactions(adata, **(QUICK | {"max_epochs": 10**6}), early_stopping=False)
    finally:
        timer.cancel()
    assert time.process_time() - start < 5
    assert torch.get_num_threads() == before


# ---- torch is an extra ---------------------------------------------------------------------------------------------


def test_import_brings_no_torch():
    code = "import isthmus, isthmus.interaction, sys; print([m for m in ('torch', 'scvi') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_torch_the_command_is_named(adata, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"needs torch.*Run: pip install 'isthmus\[deep\]'"):
        fit_interactions(adata, **QUICK)


def test_a_loaded_fit_needs_no_torch(fit, tmp_path):
    isthmus.save_fit(fit, tmp_path / "fit")
    code = (
        "import isthmus, sys; "
        f"print(float(isthmus.load_fit({str(tmp_path / 'fit')!r}).predict().to_numpy().sum()), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    total, torch_was_loaded = done.stdout.split()
    assert float(total) == pytest.approx(float(fit.predict().to_numpy().sum()), rel=1e-6)
    assert torch_was_loaded == "False"


# ---- tables, save and load ----------------------------------------------------------------------------------------


def test_a_loaded_fit_is_equal_to_the_bit(adata, tmp_path):
    fit = fit_interactions(adata, **QUICK, covariates="depth", attention_penalty=(0.1, 0.2), sample="section")
    isthmus.save_fit(fit, tmp_path / "fit")
    again = isthmus.load_fit(tmp_path / "fit")
    assert isinstance(again, InteractionFit)
    before, after = fit.state(), again.state()
    assert list(before) == list(after)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
        assert getattr(after[name], "dtype", None) == getattr(value, "dtype", None), name
    pd.testing.assert_frame_equal(again.predict(), fit.predict())
    assert again.settings == fit.settings
    assert (tmp_path / "fit" / "arrays.npz").exists()


def test_a_state_that_r_has_kept_gives_the_same_fit(fit):
    """R drops single dimensions, makes float64 of float32, and columns first of rows first."""
    kept = {
        name: np.asfortranarray(value.astype(float) if value.dtype == np.float32 else value).squeeze()
        if isinstance(value, np.ndarray) and value.dtype != object
        else (list(value) if isinstance(value, np.ndarray) else value)
        for name, value in fit.state().items()
    }
    again = InteractionFit.from_state(kept)
    assert same(again, fit)
    pd.testing.assert_frame_equal(again.predict(), fit.predict())


def test_an_unknown_table_lists_the_names(fit):
    with pytest.raises(InputError, match=r"`name` must be one of the fit's tables \(history, explained_variance"):
        fit.table("histroy")


def test_repr_is_the_summary(fit):
    assert repr(fit) == fit.summary()
    assert "400 cells x 12 genes, 3 types, 1 sample" in fit.summary()


# ---- transfer ------------------------------------------------------------------------------------------------------


def test_the_fits_own_cells_get_the_fits_own_predictions(adata, fit):
    again = transfer(fit, adata, labels="kind")
    np.testing.assert_array_equal(again.neighbors.index, fit.neighbors.index)
    np.testing.assert_array_equal(again.folds.fold, fit.folds.fold)
    pd.testing.assert_frame_equal(again.predict(), fit.predict())
    assert again.settings["transferred_from"] == fit.settings["id"] != again.settings["id"]


def test_new_sections_by_name_of_gene_and_type(adata, fit):
    new = tissue(150, seed=6)[:, ::-1].copy()
    new = new[(new.obs["kind"] != "c").to_numpy()].copy()
    found = fit.transfer(new, labels="kind")
    assert (found.genes, found.types, found.set) == (fit.genes, fit.types, "held-out")
    np.testing.assert_array_equal(found.expression.toarray(), new[:, list(fit.genes)].X)
    assert [found.types[code] for code in found.type_codes] == new.obs["kind"].tolist()
    assert found.predict().notna().to_numpy().all()


def test_new_means_are_those_of_the_new_cells_other_blocks(fit):
    new = tissue(300, seed=7)
    new.X += 5
    kept, own = (transfer(fit, new, labels="kind", means=means) for means in ("fit", "new"))
    np.testing.assert_array_equal(kept.means, fit.means)
    outside = (own.folds.fold != 1) & (new.obs["kind"] == "b").to_numpy()
    np.testing.assert_allclose(own.means[1, 1], new.X[outside].mean(axis=0, dtype=float), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"means": "old"}, r"`means` must be 'fit' or 'new'; got 'old'"),
        ({"drop": "g3"}, r"`data` must hold the genes of the fit; 1 gene not found \('g3'\)"),
        ({"labels": ["x"] * 150}, r"`labels` must be cell types of the fit \('a', 'b', 'c'\); got 'x'"),
        ({"covariates": "depth"}, r"`covariates` must be those of the fit \(none\); got 'depth'"),
    ],
)
def test_what_cannot_be_transferred_has_its_sentence(fit, change, match):
    new = tissue(150, seed=8)
    if "drop" in change:
        new = new[:, new.var_names != change.pop("drop")].copy()
    with pytest.raises(InputError, match=match):
        transfer(fit, new, **({"labels": "kind"} | change))


def test_new_means_need_two_networks(adata):
    one = fit_interactions(adata, **(QUICK | {"folds": 1}))
    assert transfer(one, adata, labels="kind").set == "held-out"
    with pytest.raises(InputError, match="`means` 'new' needs two networks and two blocks or more"):
        transfer(one, adata, labels="kind", means="new")

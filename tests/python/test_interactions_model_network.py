"""The torch network against its NumPy twin, against a loop over pairs, and its gradients against differences."""

import numpy as np
import pytest
import torch
from interaction_cases import QUICK, tissue

from isthmus.interaction import fit_interactions
from isthmus.interaction.batches import Indexer, batches_of, spatial_groups
from isthmus.interaction.forward import fold_models, fold_parts, held_out_attention, held_out_parts
from isthmus.interaction.lookup import rows_of, weighted_sum
from isthmus.interaction.network import Batch, NeighborAttention, Sizes
from isthmus.interaction.options import NetworkOptions
from isthmus.interaction.train import penalty_at


@pytest.fixture(scope="module")
def fit():
    """With an isolated cell, covariates, sizes that all differ, and a radius that leaves some places empty."""
    adata = tissue(300, samples=2, seed=3)
    adata.obsm["spatial"][7] = [1e4, 1e4]
    return fit_interactions(
        adata,
        **(QUICK | {"n_neighbors": 8, "max_epochs": 6, "n_heads": 3, "head_size": 5, "lr": 1e-2}),
        sample="section",
        radius=12.0,
        covariates=["depth", "section"],
        key_size=6,
        value_size=7,
        block_size=40.0,
    )


def network(fit, fold):
    s = fit.settings
    names = ("query_size", "query_hidden", "type_size", "embedding_size", "embedding_hidden", "kernel_hidden")
    sizes = Sizes(fit.n_genes, fit.n_types, 2, 3, 5, 6, 7, *(s[name] for name in names))
    net = NeighborAttention(
        sizes, empty_score=s["empty_score"], kernel_offset=s["kernel_offset"], generator=torch.Generator()
    )
    net.load_state_dict({name: torch.from_numpy(value[fold]) for name, value in fit.weights.items()})
    return net.eval()


def batch_of(fit, cells):
    ids = Indexer(fit.neighbors, fit.type_codes, fit.n_types)(cells)
    distance = np.where(ids.present, fit.neighbors.distance[cells], 0) / np.float32(fit.settings["unit"])
    put = torch.from_numpy
    return Batch(
        types=put(fit.type_codes[cells].astype(np.int64)),
        covariates=put(fit.covariates[cells]),
        expression=put(fit.expression[ids.neighbors].toarray()),
        combination_type=put(ids.combination_type),
        combination_neighbor=put(ids.combination_neighbor),
        pair_combination=put(ids.pair_combination),
        pair_neighbor=put(ids.pair_neighbor),
        distance=put(distance),
        present=put(ids.present),
    )


def softplus(x):
    return np.logaddexp(0, x)


def by_loop(fit, fold, cell):
    """One receiver in float64, neighbour by neighbour, as the formulas say: parts (h, s, d), attention (h, k)."""
    w = {name: value[fold].astype(float) for name, value in fit.weights.items()}

    def res_net_mlp(name, x):
        hidden = np.maximum(x @ w[name + ".hidden_weight"] + w[name + ".hidden_bias"], 0)
        y = (x @ w[name + ".skip"] if name + ".skip" in w else x) + hidden @ w[name + ".out_weight"]
        y = y + w[name + ".out_bias"]
        y = (y - y.mean()) / np.sqrt(y.var() + 1e-5)
        return y * w[name + ".norm_weight"] + w[name + ".norm_bias"]

    kind = fit.type_codes[cell]
    query = res_net_mlp("type_mlp", w["type_embedding"][kind])
    n_heads, n_key, n_value = 3, 6, 7
    score, values = [], []
    neighbors = [j for j in fit.neighbors.index[cell] if j >= 0]
    for j, d in zip(neighbors, fit.neighbors.distance[cell], strict=False):
        e = res_net_mlp("cell_mlp", fit.expression[j].toarray().ravel().astype(float))
        inner = res_net_mlp("key_mlp", e)
        hidden = e @ w["kernel_cell"] + w["type_embedding"][kind] @ w["kernel_type"] + w["kernel_bias"]
        decay = softplus(np.maximum(hidden, 0) @ w["kernel_out"] + w["kernel_out_bias"] + fit.settings["kernel_offset"])
        q, k = ((x @ w[m]).reshape(n_heads, n_key) for x, m in ((query, "query_weight"), (inner, "key_weight")))
        score.append((q * k).sum(1) / np.sqrt(n_key) - decay * d / fit.settings["unit"])
        values.append((inner @ w["value_weight"]).reshape(n_heads, n_value))
    parts, attention = np.zeros((n_heads, fit.n_types, w["norm_weight"].size)), np.zeros((n_heads, len(neighbors)))
    for h in range(n_heads):
        e = np.exp([s[h] for s in score] + [fit.settings["empty_score"]])
        attention[h] = (e / e.sum())[:-1]
        for j, a, v in zip(neighbors, attention[h], values, strict=True):
            parts[h, fit.type_codes[j]] += a * v[h] @ w["head_out"][h]
    return parts, attention, query @ w["query_residual"] + fit.covariates[cell] @ w["covariate_weight"]


def test_parts_and_attention_are_those_of_the_formulas(fit):
    seen = 0
    pairs = zip(held_out_parts(fit, chunk=64), held_out_attention(fit, chunk=64), strict=True)
    for parts, attention in pairs:
        for row in range(0, len(parts.cells), 7):
            heads, weights, query = by_loop(fit, parts.fold, parts.cells[row])
            np.testing.assert_allclose(parts.heads[row], heads, atol=2e-5)
            np.testing.assert_allclose(parts.query[row], query, atol=2e-5)
            np.testing.assert_allclose(attention.weights[row, :, : weights.shape[1]], weights, atol=1e-6)
            seen += 1
    assert seen > 40


def test_torch_predicts_what_numpy_predicts(fit):
    for fold, model in enumerate(fold_models(fit)):
        for parts in fold_parts(fit, fold, np.arange(fit.n_cells), chunk=100):
            with torch.no_grad():
                found = network(fit, fold)(batch_of(fit, parts.cells))
            ours = model.residual(parts.query + parts.heads.sum(axis=(1, 2)))
            np.testing.assert_allclose(found.residual.numpy(), ours, atol=2e-5)


def test_every_cell_has_its_parts_once_whatever_the_chunks(fit):
    once = {int(c): p.heads[i] for p in held_out_parts(fit, chunk=10**6) for i, c in enumerate(p.cells)}
    assert sorted(once) == list(range(fit.n_cells))
    for parts in held_out_parts(fit, chunk=17):
        assert (fit.folds.fold[parts.cells] == parts.fold).all()
        np.testing.assert_allclose(parts.heads, [once[int(c)] for c in parts.cells], atol=1e-5)


def test_attention_adds_up_to_one_with_the_empty_slot(fit):
    for found in held_out_attention(fit):
        np.testing.assert_allclose(found.weights.sum(axis=2) + found.empty, 1, atol=1e-5)
        absent = np.broadcast_to((found.neighbors < 0)[:, None], found.weights.shape)
        assert absent.any()
        assert (found.weights[absent] == 0).all()


def test_score_and_decay_explain_the_attention(fit):
    for found in held_out_attention(fit):
        odds = found.score - found.decay * np.where(found.neighbors >= 0, found.distance, 0)[:, None]
        present = np.broadcast_to((found.neighbors >= 0)[:, None], odds.shape)
        expected = found.empty[..., None] * np.exp(odds - fit.settings["empty_score"])
        np.testing.assert_allclose(found.weights[present], expected[present], rtol=1e-4)
        assert (found.decay[present] > 0).all()


def test_a_cell_without_neighbors_gets_what_its_type_gets(fit):
    alone = [i for i in range(fit.n_cells) if (fit.neighbors.index[i] < 0).all()]
    assert 7 in alone
    for parts in held_out_parts(fit):
        if 7 in parts.cells:
            assert (parts.heads[list(parts.cells).index(7)] == 0).all()
    both = [fit.predict(neighbors=value).loc["cell-7"] for value in (True, False)]
    np.testing.assert_array_equal(*both)


# ---- gradients ------------------------------------------------------------------------------------------------------


def test_gradients_of_lookups_are_those_of_plain_indexing():
    g = torch.Generator().manual_seed(1)
    table, index = torch.randn(9, 4, generator=g, requires_grad=True), torch.randint(0, 9, (5, 3), generator=g)
    sent = torch.randn(5, 3, 4, generator=g)
    expected = torch.autograd.grad(table[index], table, sent)[0]
    torch.testing.assert_close(torch.autograd.grad(rows_of(table, index), table, sent)[0], expected)


def test_gradients_of_weighted_sums_are_those_of_einsum():
    g = torch.Generator().manual_seed(2)
    n, h, k, u, v = 6, 3, 4, 8, 5
    weights = torch.rand(n, h, k, generator=g, requires_grad=True)
    values = torch.randn(u, h, v, generator=g, requires_grad=True)
    index, sent = torch.randint(0, u, (n, k), generator=g), torch.randn(n, h, v, generator=g)
    plain = torch.einsum("nhk,nkhv->nhv", weights, values[index])
    ours = weighted_sum(weights, values, index)
    torch.testing.assert_close(ours, plain)
    for a, b in zip(*(torch.autograd.grad(out, (weights, values), sent) for out in (ours, plain)), strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_of_the_network_are_those_of_differences(fit):
    net, batch = network(fit, 0), batch_of(fit, np.arange(0, 300, 6))
    batch = Batch(**{n: v.double() if v.is_floating_point() else v for n, v in vars(batch).items()})
    net.double()
    target = torch.randn(50, fit.n_genes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss():
        return (net(batch).residual - target).square().mean()

    gradients = torch.autograd.grad(loss(), list(net.parameters()))
    step = 1e-5
    for (name, parameter), gradient in zip(net.named_parameters(), gradients, strict=True):
        direction = torch.sign(gradient) + (gradient == 0)
        with torch.no_grad():
            parameter += step * direction
            above = loss()
            parameter -= 2 * step * direction
            below = loss()
            parameter += step * direction
        assert float((above - below) / (2 * step)) == pytest.approx(float(gradient.abs().sum()), rel=1e-3), name


# ---- batches and penalties ------------------------------------------------------------------------------------------


def test_groups_hold_every_cell_once_side_by_side():
    rng = np.random.default_rng(0)
    places, samples, cells = rng.uniform(0, 100, (1000, 2)), rng.integers(0, 2, 1000), rng.permutation(1000)[:700]
    groups = spatial_groups(cells, places, samples, 50)
    assert sorted(np.concatenate(groups)) == sorted(cells)
    assert max(map(len, groups)) <= 50
    assert all(len(set(samples[group])) == 1 for group in groups)
    spread = np.mean([np.ptp(places[group], axis=0).max() for group in groups])
    assert spread < 50  # of random groups: nearly 100


def test_batches_hold_every_group_once_and_are_about_as_large_as_asked():
    groups = [np.arange(i * 10, i * 10 + 10) for i in range(53)]
    batches = list(batches_of(groups, 128, np.random.default_rng(0).permutation(53)))
    assert sorted(np.concatenate(batches)) == list(range(530))
    assert all(100 <= len(batch) <= 160 for batch in batches)


@pytest.mark.parametrize(("schedule", "middle"), [("linear", 5.05e-3), ("log", 1e-3)])
def test_the_attention_penalty_rises_between_its_epochs(schedule, middle):
    options = NetworkOptions(
        attention_penalty=(1e-4, 1e-2), attention_penalty_epochs=(10, 30), attention_penalty_schedule=schedule
    )
    assert [penalty_at(epoch, options) for epoch in (9, 10, 20, 30, 99)] == pytest.approx([0, 1e-4, middle, 1e-2, 1e-2])

"""The neighbour cross-attention model beside plain torch written from the published formulas: an epoch of training, all
ablations, the permutation test, and 100,000 cells in bounded memory.

Writes results/interactions.md.

    python benchmarks/interactions.py          # `make bench`; about five minutes
    python benchmarks/interactions.py --quick  # fewer repetitions, no 100,000 cells

Rules. Both sides run in one process, on one thread, in CPU seconds (process_time), in turn; the median of the
repetitions counts. The plain side embeds the neighbour of every cell-neighbour pair and runs the network once for each
ablation (inference_mode, batches of 512 receivers, no loop over cells); its permutation test computes the mean squared
error of every permutation. Both sides have the same weights and the same permutations, and must give the same numbers:
the table says how far apart they are. Data: `bench_data.tissue` of `../shared/checks`, 30 neighbours, 4 heads of 16,
5 folds.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from isthmus.interaction import explained_variance, fit_interactions
from isthmus.interaction.ablations import block_moments, variant_shifts
from isthmus.interaction.expression import Rows
from isthmus.interaction.forward import fold_models, held_out_parts
from isthmus.interaction.heads import head_orders
from isthmus.interaction.network import NeighborAttention
from isthmus.interaction.permute import permutation_statistics

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NETWORKS = {
    "our defaults (128 / 64)": {},
    "published sizes (1024 / 256)": {
        "embedding_hidden": 1024,
        "embedding_size": 256,
        "query_hidden": 512,
        "kernel_hidden": 512,
    },
}
BATCH = 512


def tissue(n: int, n_genes: int, seed: int = 0):
    sys.path.insert(0, str(SHARED / "checks"))
    import bench_data

    return bench_data.tissue(n=n, n_genes=n_genes, seed=seed)


def cpu(function) -> tuple[float, object]:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def in_turn(first, second, repetitions: int):
    """Median CPU seconds of each, and what they gave last."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repetitions):
        results = []
        for function, kept in zip((first, second), times, strict=True):
            seconds, result = cpu(function)
            kept.append(seconds)
            results.append(result)
    return statistics.median(times[0]), statistics.median(times[1]), results


# --- the plain side ---------------------------------------------------------------------------------------------------


def res_net_mlp(w, name, x):
    hidden = functional.relu(x @ w[f"{name}.hidden_weight"] + w[f"{name}.hidden_bias"])
    skip = w.get(f"{name}.skip")
    inner = (x if skip is None else x @ skip) + hidden @ w[f"{name}.out_weight"] + w[f"{name}.out_bias"]
    return functional.layer_norm(inner, inner.shape[-1:], w[f"{name}.norm_weight"], w[f"{name}.norm_bias"], 1e-5)


def plain_forward(w, settings, x, types, neighbors, distance, keep_heads=None, keep_pairs=None, dropped=None):
    """Residual of receivers; every pair goes through the network. `keep_*` ablate after the softmax."""
    h, n_types = settings["n_heads"], len(w["type_embedding"])
    present = neighbors >= 0
    if dropped is not None:
        present = present & ~dropped
    n, k = neighbors.shape
    query = res_net_mlp(w, "type_mlp", w["type_embedding"])
    q = (query @ w["query_weight"]).view(n_types, h, -1)[types]
    embedded = res_net_mlp(w, "cell_mlp", x[neighbors.clamp_min(0)])
    inner = res_net_mlp(w, "key_mlp", embedded)
    keys, values = ((inner @ w[name]).view(n, k, h, -1) for name in ("key_weight", "value_weight"))
    score = torch.einsum("nhd,nkhd->nhk", q, keys) / q.shape[-1] ** 0.5
    kind = (w["type_embedding"] @ w["kernel_type"])[types][:, None]
    hidden = functional.relu(embedded @ w["kernel_cell"] + kind + w["kernel_bias"])
    decay = functional.softplus(hidden @ w["kernel_out"] + w["kernel_out_bias"] + settings["kernel_offset"])
    score = score - (decay * distance[..., None]).transpose(1, 2)
    score = score.masked_fill(~present[:, None], -torch.inf)
    empty = score.new_full((n, h, 1), settings["empty_score"])
    attention = torch.softmax(torch.cat([score, empty], dim=2), dim=2)[..., :-1]
    if keep_heads is not None:
        attention = attention * keep_heads[None, :, None]
    if keep_pairs is not None:
        attention = attention * keep_pairs[:, None]
    mixed = torch.einsum("nhk,nkhv->nhv", attention, values)
    parts = torch.einsum("nhv,hvd->nd", mixed, w["head_out"])
    total = (query @ w["query_residual"])[types] + parts
    normed = functional.layer_norm(total, total.shape[-1:], w["norm_weight"], w["norm_bias"], 1e-5)
    return normed @ w["output"].T


class Plain:
    """A fit's arrays as tensors."""

    def __init__(self, fit) -> None:
        self.fit, self.settings = fit, fit.settings
        self.x = torch.from_numpy(fit.expression.toarray())
        self.types = torch.from_numpy(fit.type_codes.astype(np.int64))
        self.neighbors = torch.from_numpy(fit.neighbors.index.astype(np.int64))
        present = fit.neighbors.present
        self.distance = torch.from_numpy(
            (np.where(present, fit.neighbors.distance, 0) / fit.settings["unit"]).astype(np.float32)
        )
        self.sender = torch.where(self.neighbors >= 0, self.types[self.neighbors.clamp_min(0)], -1)

    def weights(self, fold: int):
        return {name: torch.from_numpy(value[fold]) for name, value in self.fit.weights.items()}

    def ablations(self, orders: np.ndarray) -> np.ndarray:
        """``(n_variants, n_types, n_genes)`` squared errors: all, each head alone, all without each sender."""
        fit, h = self.fit, self.fit.n_heads
        variants = [("all", 0)] + [("head", i) for i in range(h)] + [("without", s) for s in range(fit.n_types)]
        out = torch.zeros(len(variants), fit.n_types, fit.n_genes, dtype=torch.float64)
        with torch.inference_mode():
            for fold in range(fit.n_folds):
                w, means = self.weights(fold), torch.from_numpy(fit.means[fold].astype(np.float32))
                held_out = np.flatnonzero(fit.folds.held_out(fold))
                for start in range(0, len(held_out), BATCH):
                    cells = torch.from_numpy(held_out[start : start + BATCH])
                    types = self.types[cells]
                    target = self.x[cells] - means[types]
                    for row, (what, which) in enumerate(variants):
                        heads = functional.one_hot(torch.tensor(orders[fold][which]), h) if what == "head" else None
                        pairs = self.sender[cells] != which if what == "without" else None
                        found = plain_forward(
                            w, self.settings, self.x, types, self.neighbors[cells], self.distance[cells], heads, pairs
                        )
                        out[row].index_add_(0, types, (target - found).square().double())
        return out.numpy()


# --- training ---------------------------------------------------------------------------------------------------------


def plain_epochs(fit, epochs: int) -> tuple[float, float]:
    """CPU seconds per epoch and last training loss of the pairwise loop, for the first fold: random batches, the
    starting weights of ours (how many epochs the first plateau takes depends on them)."""
    plain, s = Plain(fit), fit.settings
    generator = torch.Generator().manual_seed(int(np.random.default_rng((0, 0)).integers(2**63 - 1)))
    net = NeighborAttention(
        sizes_of(fit), empty_score=s["empty_score"], kernel_offset=s["kernel_offset"], generator=generator
    )
    parameters = dict(net.named_parameters())
    optimizer = torch.optim.Adam(list(parameters.values()), lr=s["lr"])
    means = torch.from_numpy(fit.means[0].astype(np.float32))
    training = torch.from_numpy(np.flatnonzero(fit.folds.training(0, fit.neighbors)))
    times, loss = [], np.nan
    for _ in range(epochs):
        start, total = time.process_time(), 0.0
        order = training[torch.randperm(len(training), generator=generator)]
        for cells in order.chunk(max(1, round(len(order) / BATCH))):
            dropped = torch.rand(len(cells), s["n_neighbors"], generator=generator) < s["neighbor_dropout"]
            types = plain.types[cells]
            found = plain_forward(
                parameters, s, plain.x, types, plain.neighbors[cells], plain.distance[cells], dropped=dropped
            )
            error = 0.5 * (plain.x[cells] - means[types] - found).square().sum(1).mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            total += float(error.detach()) * len(cells)
        times.append(time.process_time() - start)
        loss = total / len(training)
    return statistics.median(times), loss


def sizes_of(fit):
    from isthmus.interaction.network import Sizes

    s = fit.settings
    return Sizes(
        n_genes=fit.n_genes,
        n_types=fit.n_types,
        n_covariates=0,
        n_heads=s["n_heads"],
        key_size=s["key_size"] or s["head_size"],
        value_size=s["value_size"] or s["head_size"],
        **{
            name: s[name]
            for name in (
                "head_size",
                "query_size",
                "query_hidden",
                "type_size",
                "embedding_size",
                "embedding_hidden",
                "kernel_hidden",
            )
        },
    )


def our_epochs(data, fit, epochs: int, options: dict) -> tuple[float, float]:
    """CPU seconds per epoch and last training loss of the first fold: `train_fold`, as fit_interactions calls it."""
    from isthmus.interaction.options import NetworkOptions
    from isthmus.interaction.train import Problem, train_fold

    present = fit.neighbors.present
    problem = Problem(
        rows=Rows(fit.expression),
        type_codes=fit.type_codes,
        sample_codes=fit.sample_codes,
        coordinates=fit.coordinates,
        covariates=fit.covariates,
        neighbors=fit.neighbors,
        distance=np.where(present, fit.neighbors.distance, 0) / np.float32(fit.settings["unit"]),
        sizes=sizes_of(fit),
        options=NetworkOptions(**options),
        max_epochs=epochs,
        early_stopping=False,
        batch_size=BATCH,
        lr=fit.settings["lr"],
        device=torch.device("cpu"),
    )
    times = [time.process_time()]
    training = fit.folds.training(0, fit.neighbors)
    found = train_fold(
        problem,
        training,
        fit.means[0],
        fit.gene_weights[0],
        (0, 0),
        lambda _: times.append(time.process_time()),
    )
    return statistics.median(np.diff(times)), float(found.history[-1, 0])


def training_table(epochs: int) -> list[str]:
    lines = [
        f"| network | ours, s an epoch | pairwise, s | ratio | floor (goal) | loss after {epochs}: ours | pairwise |",
        "|---|" + "---|" * 6,
    ]
    data = tissue(3_000, 150)
    for name, options in NETWORKS.items():
        fit = fit_interactions(data, labels="cell_type", max_epochs=1, early_stopping=False, **options)
        ours, our_loss = our_epochs(data, fit, epochs, options)
        plain, plain_loss = plain_epochs(fit, epochs)
        again, _ = our_epochs(data, fit, epochs, options)
        ours = statistics.median([ours, again])
        lines.append(
            f"| {name} | {ours:.3f} | {plain:.3f} | {plain / ours:.1f} x | 3 (6) | {our_loss:.3f} | {plain_loss:.3f} |"
        )
        print(lines[-1], flush=True)
    return lines


# --- ablations --------------------------------------------------------------------------------------------------------


def our_ablations(fit) -> np.ndarray:
    from isthmus.interaction import ablations

    ablations._kept.clear()
    moments = block_moments(fit)
    variants = range(len(moments[0].variants))
    return np.array([[one.squared_error(v).sum(axis=0) for one in moments] for v in variants])


def ablation_table(repetitions: int) -> list[str]:
    head = "| network | ours, s | one pass an ablation, s | ratio | floor (goal) | largest relative difference |"
    lines = [head, "|---|" + "---|" * 5]
    data = tissue(3_000, 150)
    for name, options in NETWORKS.items():
        fit = fit_interactions(data, labels="cell_type", max_epochs=3, early_stopping=False, **options)
        orders, plain = head_orders(fit), Plain(fit)
        ours, theirs, (a, b) = in_turn(
            lambda fit=fit: our_ablations(fit),
            lambda plain=plain, orders=orders: plain.ablations(orders),
            repetitions,
        )
        apart = float(np.max(np.abs(a - b)[:, :, :-1] / b[:, :, :-1]))  # the last gene is 0 everywhere
        lines.append(f"| {name} | {ours:.3f} | {theirs:.2f} | {theirs / ours:.0f} x | 25 (45) | {apart:.1e} |")
        print(lines[-1], flush=True)
    return lines


# --- permutation test -------------------------------------------------------------------------------------------------


def permutation_problem(n_cells: int):
    """Receivers of one type: what all neighbours, and head 1 alone, add to their predictions, and what was observed."""
    fit = fit_interactions(tissue(8_000, 300), labels="cell_type", max_epochs=3, early_stopping=False)
    models, orders = fold_models(fit), head_orders(fit)
    left, right, predicted, observed, strata = [], [], [], [], []
    for parts in held_out_parts(fit):
        rows, model = parts.types == 0, models[parts.fold]
        shifts = variant_shifts(parts, model, orders[parts.fold])[:2, rows]
        y = fit.expression[parts.cells[rows]].toarray()
        left.append(shifts)
        right.append(y @ model.output)
        predicted.append(shifts @ model.output.T)
        observed.append(y)
        strata.append(np.full(int(rows.sum()), parts.fold))
    strata = np.concatenate(strata)[:n_cells]
    return (
        np.concatenate(left, axis=1)[:, :n_cells],
        np.concatenate(right)[:n_cells],
        np.concatenate(predicted, axis=1)[:, :n_cells],
        np.concatenate(observed)[:n_cells],
        strata,
    )


def recomputed(predicted: np.ndarray, observed: np.ndarray, strata: np.ndarray, n_permutations: int) -> np.ndarray:
    """Mean squared error of every permutation, in torch; permutations drawn stratum by stratum, as ours are."""
    p, y = torch.from_numpy(predicted), torch.from_numpy(observed)
    generator, orders = np.random.default_rng(0), np.empty((n_permutations, len(p)), dtype=np.int64)
    for code in np.unique(strata):
        rows = np.flatnonzero(strata == code)
        start = np.tile(np.arange(len(rows), dtype=np.int32), (n_permutations, 1))
        orders[:, rows] = rows[generator.permuted(start, axis=1)]
    with torch.inference_mode():
        return np.array(
            [float((p[order] - y).square().mean(dtype=torch.float64)) for order in torch.from_numpy(orders)]
        )


def permutation_table(repetitions: int, n_cells: int = 3_000, n_permutations: int = 640) -> list[str]:
    head = "| prediction | ours, s | recomputed, s | ratio | floor (goal) | largest difference of the error, relative |"
    lines = [head, "|---|" + "---|" * 5]
    left, right, predicted, observed, strata = permutation_problem(n_cells)
    assert observed.shape == (n_cells, 300), observed.shape
    for which, name in enumerate(("all neighbours", "head 1 alone")):
        ours, theirs, (t, errors) = in_turn(
            lambda w=which: permutation_statistics(left[w], right, strata, n_permutations, np.random.default_rng(0)),
            lambda w=which: recomputed(predicted[w], observed, strata, n_permutations),
            repetitions,
        )
        squares = float((predicted[which].astype(float) ** 2).sum() + (observed.astype(float) ** 2).sum())
        apart = float(np.max(np.abs((squares - 2 * t) / observed.size / errors - 1)))
        lines.append(f"| {name} | {ours:.3f} | {theirs:.2f} | {theirs / ours:.0f} x | 30 (60) | {apart:.1e} |")
        print(lines[-1], flush=True)
    return lines


# --- 100,000 cells ----------------------------------------------------------------------------------------------------


def large(n_cells: int) -> None:
    """Run in a process of its own: prints the table."""

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2

    data = tissue(n_cells, 300)
    print(f"| {n_cells:,} cells x 300 genes | CPU s | peak memory so far, GB |\n|---|---|---|")
    print(f"| imports and the simulated data | | {peak():.2f} |", flush=True)
    seconds, fit = cpu(lambda: fit_interactions(data, labels="cell_type", max_epochs=2, early_stopping=False))
    print(f"| fit, 5 folds, 2 epochs | {seconds:.0f} | {peak():.2f} |", flush=True)
    seconds, _ = cpu(lambda: sum(len(parts.cells) for parts in held_out_parts(fit)))
    print(f"| parts of every cell | {seconds:.1f} | {peak():.2f} |", flush=True)
    seconds, _ = cpu(lambda: explained_variance(fit, null="within_type", n_permutations=640))
    print(f"| explained variance, within_type, 640 permutations | {seconds:.0f} | {peak():.2f} |", flush=True)


def large_table(n_cells: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, __file__, "--large", str(n_cells)], capture_output=True, text=True, check=True
    )
    print(done.stdout, flush=True)
    return done.stdout.splitlines()


def main() -> None:
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--large", type=int, help="only the run of so many cells, in this process")
    options = parser.parse_args()
    if options.large:
        large(options.large)
        return
    repetitions = 1 if options.quick else 5
    parts = ["## An epoch of training", "", *training_table(3 if options.quick else 24), ""]
    parts += ["## All ablations", "", *ablation_table(repetitions), ""]
    parts += ["## Permutation test: 3,000 cells x 300 genes, 640 permutations", "", *permutation_table(repetitions)]
    if not options.quick:
        parts += ["", "## Memory", "", *large_table(100_000)]
    head = [
        "# The neighbour cross-attention model beside plain torch",
        "",
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; "
        "`python benchmarks/interactions.py`. CPU seconds, one thread.",
        "",
    ]
    out = HERE / "results" / "interactions.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join([*head, *parts]) + "\n")


if __name__ == "__main__":
    main()

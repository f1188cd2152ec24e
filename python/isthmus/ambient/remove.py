"""remove_ambient: from counts to corrected counts."""

from __future__ import annotations

import uuid
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from isthmus.ambient import options
from isthmus.ambient.anchored import AnchorRule
from isthmus.ambient.clusters import find_clusters
from isthmus.ambient.doubts import warn_of_doubts
from isthmus.ambient.em import HIGHEST, MAX_ITER, TOL, Mixture, maximise, normalised
from isthmus.ambient.levels import Levels, find_levels
from isthmus.ambient.profile import profile_of
from isthmus.ambient.reading import read_batches, read_column, read_whole_counts
from isthmus.ambient.readout import split_counts
from isthmus.ambient.result import AmbientFit
from isthmus.ambient.share import Shares, estimate_shares, shrunken
from isthmus.data.sums import column_sums, row_sums
from isthmus.errors import IdentifiabilityWarning, InputError
from isthmus.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from isthmus.data.counts import Counts

_START = 0.02  # smallest share to start from: at zero the EM would stay


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that was read: counts, groups and profiles."""

    counts: Counts
    batch_names: np.ndarray
    cluster_names: np.ndarray
    mixture: Mixture
    profile: dict[str, np.ndarray]
    sums: np.ndarray
    total: np.ndarray
    markers: dict[str, np.ndarray] | None
    rho: float | np.ndarray | None


def remove_ambient(
    cells: Any,
    *,
    droplets: Any = None,
    profile: Any = None,
    method: Literal["em", "scar"] = "em",
    batch: Any = None,
    labels: Any = None,
    n_clusters: int | Literal["auto"] = "auto",
    markers: Any = None,
    rho: Any = None,
    likelihood: str = "binomial",
    sparsity: float = 0.9,
    max_epochs: int | None = None,
    early_stopping: bool = True,
    fpr: float | None = None,
    layer: str | None = None,
    accelerator: str = "auto",
    seed: int = 0,
    progress: bool | None = None,
    **network_options: Any,
) -> AmbientFit:
    """Split every observed count of every cell into native and ambient.

    x_i ~ Multinomial(N_i, (1 - rho_i) p_k + rho_i a): p_k the native profile of the cell's cluster, a the ambient
    one.

    1. a from the empty droplets (`ambient_profile`), or as given.
    2. Clusters as labelled, or found.
    3. The level of rho in each cluster and batch from the anchor rule (`isthmus.ambient.level`): the likelihood leaves
       it free. `markers` or `rho` take its place.
    4. EM over p and rho from there, accelerated (SQUAREM), until three steps gain less than 1e-7 per count; p is moved
       onto the level, and rho_i estimated there by quasi-likelihood (`isthmus.ambient.share`), drawn towards the level
       where the data say little.
    5. Each count is split by its posterior share (`isthmus.ambient.readout`): never more than observed, nothing added.

    Parameters
    ----------
    cells
        Counts of the called cells, cells x genes: AnnData, DataFrame, ndarray or scipy sparse matrix.
    droplets
        The raw matrix, droplets x genes; genes are matched by name.
    profile
        Instead of `droplets`: the table of `ambient_profile`, a Series by gene, a vector in the cells' order of genes,
        or the name of a column of ``var`` or ``varm``. With neither, the average cell is used, with a warning.
    method
        "em", or "scar": the variational network of SCAR (needs ``isthmus[deep]``), with a native profile of each cell's
        own and a latent space; minutes instead of seconds, and better where cells of a cluster differ much. Its sparse
        activation fixes the level of rho; `n_clusters`, `markers` and `rho` go with "em" alone, and `labels` sum up
        only.
    batch
        A column that `cells` and `droplets` both have, or ``{"cells": labels, "droplets": labels}``; one label per cell
        where there are no droplets. Each batch has a profile of its own.
    labels
        Cell types or clusters: a column name or one label per cell. None: clusters are found.
    n_clusters
        How many to find; "auto" splits as long as a valley parts the halves, and on to 12 where both halves keep a
        level of rho (15 cells, 20 anchor genes, no more ambient counts than the whole): types may be cut, as too few
        clusters cost more than too many. `labels` are better: a cell that is unlike its cluster loses native counts.
    markers
        ``{set: genes}``, genes that only one kind of cell expresses. They fix the level: in clusters named like another
        set, or (where no cluster has a set's name) in those with a smaller share of the genes than the ambient profile,
        every count of them is ambient.
    rho
        The level as known: one number (the mean of every cluster), or one share per cell.
    likelihood
        For "scar": of a count given the cell, "binomial", "nb", "zinb" or "poisson".
    sparsity
        For "scar", in [0, 1]: larger leaves more genes without native expression in a cell, and removes more.
    max_epochs
        For "scar": passes over the cells at most; None: 400, fewer beyond 20,000 cells. For "em": steps at most (500),
        taken in cycles of three.
    early_stopping
        For "scar": a tenth of the cells is held out, and training ends when their loss has stopped falling. With fewer
        than 200 cells none is held out, and training ends with `max_epochs`.
    accelerator
        For "scar": "auto", "cpu", "gpu" or "mps".
    **network_options
        For "scar": ``n_hidden=150, n_latent=15, n_layers=2, dropout_rate=0.0, latent_distribution="normal"`` (or "ln"),
        ``scale_activation="softplus_sp"`` (or "softplus", "softmax"), ``trainer="isthmus"`` (or "scvi"),
        ``batch_size=128, learning_rate=1e-3``; see `isthmus.ambient.scar.options.NetworkOptions`.
    fpr
        Expected share of native counts that may be removed: larger removes more. None: the posterior shares.
    layer
        AnnData layer with the counts.
    seed
        For the drawn counts, the bootstrap of the level, the cells that clusters are learnt from, and the network.
    progress
        True / False; None = in a terminal or notebook, after two seconds.

    Returns
    -------
    AmbientFit

    Raises
    ------
    InputError
        Whatever does not fit, with the argument, the rule, what came and what to do.
    MissingDependencyError
        method="scar" without torch, or trainer="scvi" without scvi-tools.

    Warns
    -----
    IdentifiabilityWarning
        Neither droplets nor profile; clusters with fewer than 20 anchor genes (flag level_unidentified).
    ConvergenceWarning
        The EM stopped before its tolerance (1e-7 log-likelihood per count in a cycle of three steps), or the network
        was still improving.

    Notes
    -----
    The anchor rule takes it that every cluster lacks some genes of the ambient profile. Cells between two types are
    corrected well among others (RMSE 0.33 to 0.43 of the uncorrected, in simulations with one to three other types). A
    sample that is nothing but one continuum of two types has no gene that a cell lacks: rho came out at 0.33 to 0.37
    where 0.12 was true, and the RMSE rose to 1.5 to 1.9 times the uncorrected; `labels` do not help there, a known
    `rho` does (0.5 to 0.6). See ``fit.table("levels")`` for what the level rests on.

    References
    ----------
    Yang et al. 2020, Genome Biology 21:57 (DecontX, the mixture); Young & Behjati 2020, GigaScience 9:giaa151 (SoupX);
    Fleming et al. 2023, Nature Methods 20:1323 (CellBender, fpr); Sheng et al. 2022 (SCAR).

    Examples
    --------
    >>> import isthmus
    >>> from isthmus.testing import simulate_ambient
    >>> cells, droplets = simulate_ambient(300, 100, seed=1)
    >>> fit = isthmus.remove_ambient(cells, droplets=droplets, labels="type")
    >>> bool((fit.denoised - cells.X).max() <= 0)
    True
    """
    options.check_choices(n_clusters, fpr, likelihood, max_epochs, seed)
    changed = options.changed_for_the_network(
        likelihood=likelihood, sparsity=sparsity, early_stopping=early_stopping, accelerator=accelerator
    )
    options.check_method(method, changed | network_options)
    training = None
    if method == "scar":
        from isthmus.ambient.scar.remove import read_training, remove_with_network

        chosen = None if n_clusters == "auto" else n_clusters
        of_em = {"n_clusters": chosen, "markers": markers, "rho": rho}
        network = (likelihood, sparsity, max_epochs, early_stopping, accelerator, seed, progress, network_options)
        training = read_training(*network, **of_em)
    counts = read_whole_counts(cells, "cells", layer)
    own, profiles, source = _read_profiles(counts, cells, droplets, profile, batch, layer)
    asked = {
        "method": method,
        "profile": source,
        "fpr": None if fpr is None else float(fpr),
        "seed": int(seed),
        "versions": _versions(),
    }
    if training is not None:
        return remove_with_network(counts, own, profiles, labels, fpr, training, asked)
    job = _read_job(counts, own, profiles, labels, n_clusters, markers, rho, seed)
    generator = np.random.default_rng([seed, 1])
    levels = find_levels(
        job.sums, job.total, job.mixture, profiles["count"], job.markers, job.cluster_names, job.rho, generator
    )
    steps = MAX_ITER if max_epochs is None else int(max_epochs)
    with Progress(steps, progress, what="remove_ambient", unit="step") as bar:
        native, shares, history, converged = _estimate(job, levels, steps, bar)
    split = split_counts(job.mixture, native, shares.rho, fpr, seed)
    settings = asked | {
        "id": uuid.uuid4().hex,
        "labels": "found" if labels is None else "given",
        "level": levels.source,
        "tol": TOL,
        "max_iter": steps,
        "converged": converged,
        "overdispersion": [float(value) for value in shares.overdispersion],
    }
    warn_of_doubts(job.cluster_names, float(job.mixture.umi.sum()), levels, settings, history)
    return _result(job, levels, native, shares, history, split, settings)


# ---- reading ---------------------------------------------------------------------------------------------------------


def _read_profiles(
    counts: Counts, cells: Any, droplets: Any, profile: Any, batch: Any, layer: str | None
) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """Batch of each cell, profiles by batch, and where they came from."""
    if droplets is not None and profile is not None:
        msg = "`droplets` and `profile` must not both be given: the profile comes from one of them. Leave one out."
        raise InputError(msg)
    raw = None if droplets is None else read_whole_counts(droplets, "droplets", layer)
    of_cells, of_droplets = read_batches(batch, counts, raw)
    levels = pd.unique(of_cells)
    if raw is not None:
        assert of_droplets is not None
        table = profile_of(counts, raw, of_cells, of_droplets)
        return of_cells, options.read_given_profile(table, counts, levels), "from droplets"
    if profile is not None:
        return of_cells, options.read_given_profile(profile, counts, levels, cells), "given"
    return of_cells, _average_cell(counts, of_cells, levels), "average of the cells"


def _average_cell(counts: Counts, of_cells: np.ndarray, levels: np.ndarray) -> dict[str, np.ndarray]:
    warnings.warn(
        "`droplets` and `profile` are both missing: the average cell of each batch stands for the ambient profile. "
        "This identifies differences between clusters only; what all cells share, such as lysis-prone genes, cannot be "
        "told from native expression. Pass the raw matrix as `droplets`.",
        IdentifiabilityWarning,
        stacklevel=4,
    )
    sums = np.stack([column_sums(counts.matrix, of_cells == level) for level in levels])
    if (sums.sum(axis=1) == 0).any():
        msg = "`cells` must hold counts in every batch; got a batch without any. Drop its cells."
        raise InputError(msg)
    return {"prob": normalised(sums), "count": np.full_like(sums, np.nan), "n_empty": np.zeros(len(levels), np.int32)}


def _read_job(
    counts: Counts,
    of_cells: np.ndarray,
    profiles: dict[str, np.ndarray],
    labels: Any,
    n_clusters: Any,
    markers: Any,
    rho: Any,
    seed: int,
) -> Job:
    umi = row_sums(counts.matrix)
    batch_names, batch = pd.unique(of_cells), pd.factorize(of_cells)[0]
    if labels is not None and n_clusters != "auto":
        msg = "`n_clusters` says how many clusters to find; `labels` are given. Leave one of them out."
        raise InputError(msg)
    marker_sets, known = options.read_markers(markers, counts), options.read_rho(rho, counts)
    if marker_sets is not None and known is not None:
        msg = "`markers` and `rho` both fix the level. Leave one of them out."
        raise InputError(msg)
    if labels is None:
        known_to = profiles["count"].sum(axis=1)  # NaN: not known
        rule = AnchorRule(counts.matrix, batch, profiles["prob"], np.where(known_to > 0, known_to, np.inf))
        wanted = n_clusters if n_clusters == "auto" else int(n_clusters)
        cluster = find_clusters(counts.matrix, umi, wanted, seed, rule)
        cluster_names = np.array([str(k + 1) for k in range(int(cluster.max()) + 1)], dtype=object)
    else:
        cluster, uniques = pd.factorize(read_column(labels, counts, "labels"), sort=True)
        cluster_names = np.asarray(uniques, dtype=object)
    data = Mixture(counts.matrix, cluster, batch, profiles["prob"], umi, len(cluster_names))
    sums = np.zeros((len(cluster_names), len(batch_names), counts.n_genes))
    for k, b in sorted(set(zip(cluster.tolist(), batch.tolist(), strict=True))):
        sums[k, b] = column_sums(counts.matrix, (cluster == k) & (batch == b))
    return Job(counts, batch_names, cluster_names, data, profiles, sums, sums.sum(axis=2), marker_sets, known)


# ---- estimating ------------------------------------------------------------------------------------------------------


def _estimate(
    job: Job, levels: Levels, steps: int, bar: Callable[[int], object]
) -> tuple[np.ndarray, Shares, np.ndarray, bool]:
    data = job.mixture
    start = native_at(job.sums, job.total, data.ambient, levels.value)
    at_level = levels.value[data.cluster, data.batch]
    if isinstance(job.rho, np.ndarray):
        rho = job.rho
        return start, Shares(rho, np.full(len(rho), np.nan), np.zeros(len(start))), np.array([np.nan]), True
    native, rho, history, converged = maximise(data, start, np.maximum(at_level, _START), max_iter=steps, after=bar)
    native = onto_level(native, data, rho, levels.value)
    shares = estimate_shares(data, native, np.maximum(rho, 1e-3))
    shares = shrunken(shares, at_level, data.cluster * len(job.batch_names) + data.batch)
    shares = exactly_at(data, shares, levels.value)
    return native, with_level_se(job, shares, levels), history, converged


def native_at(sums: np.ndarray, total: np.ndarray, ambient: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Native profiles at given levels: what is left of the clusters' counts without the expected ambient ones."""
    expected = (np.nan_to_num(level) * total)[:, :, None] * ambient
    native = normalised(np.maximum((sums - expected).sum(axis=1), 0.0))
    empty = native.sum(axis=1) == 0
    native[empty] = ambient.mean(axis=0)
    return native


def onto_level(native: np.ndarray, data: Mixture, rho: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Profiles moved along the direction that the likelihood leaves free, p -> (p - c a) / (1 - c), onto the level.

    Where batches share a cluster, c and a are averaged over them by counts.
    """
    out = native.copy()
    for k in range(len(native)):
        own = data.cluster == k
        weight = np.bincount(data.batch[own], weights=data.umi[own], minlength=len(data.ambient))
        if weight.sum() == 0:
            continue
        wanted = float(np.nan_to_num(level[k]) @ weight / weight.sum())
        reached = float(rho[own] @ data.umi[own] / weight.sum())
        c = (wanted - reached) / max(1 - reached, 1e-6)
        moved = np.maximum(native[k] - c * (weight @ data.ambient) / weight.sum(), 0.0)
        if moved.sum() > 0:
            out[k] = moved / moved.sum()
    return out


def exactly_at(data: Mixture, shares: Shares, level: np.ndarray) -> Shares:
    """Shares moved by rho + c (1 - rho), so that their mean by counts is the level of each group.

    The fitted profiles are cut off at zero, and with few counts that leaves a little of a in p: shares come out low.
    """
    rho = shares.rho.copy()
    for k, b in np.argwhere(np.isfinite(level)):
        own = (data.cluster == k) & (data.batch == b)
        reached = float(rho[own] @ data.umi[own] / data.umi[own].sum())
        rho[own] += (level[k, b] - reached) / max(1 - reached, 1e-6) * (1 - rho[own])
    return Shares(np.clip(rho, 0.0, HIGHEST), shares.se, shares.overdispersion)


def with_level_se(job: Job, shares: Shares, levels: Levels) -> Shares:
    """The level's standard error joined with that of the cells: rho moves by (1 - rho) / (1 - level) with the level."""
    data = job.mixture
    level, level_se = levels.value[data.cluster, data.batch], levels.se[data.cluster, data.batch]
    moved = (1 - shares.rho) / np.maximum(1 - level, 1e-3) * level_se
    return Shares(shares.rho, np.sqrt(shares.se**2 + moved**2), shares.overdispersion)


# ---- the result ------------------------------------------------------------------------------------------------------


def _result(
    job: Job,
    levels: Levels,
    native: np.ndarray,
    shares: Shares,
    history: np.ndarray,
    split: Any,
    settings: dict[str, Any],
) -> AmbientFit:
    data = job.mixture
    rho, se = shares.rho.astype(float).copy(), shares.se.astype(float).copy()
    unknown = levels.unidentified[data.cluster, data.batch]
    flag = np.full(len(rho), "ok", dtype=object)
    flag[(rho < 1e-4) | (rho > 0.99)] = "at_bound"
    flag[unknown] = "level_unidentified"
    flag[data.umi == 0] = "no_counts"
    rho[data.umi == 0] = np.nan
    se[(data.umi == 0) | unknown] = np.nan
    return AmbientFit(
        gene_names=job.counts.gene_names,
        cell_names=job.counts.cell_names,
        batch_names=np.asarray(job.batch_names, dtype=object),
        batch=data.batch.astype(np.int32),
        cluster_names=job.cluster_names,
        cluster=data.cluster.astype(np.int32),
        rho=rho,
        rho_se=se,
        flag=flag,
        observed_umi=data.umi,
        observed=job.sums.sum(axis=0),
        ambient=data.ambient,
        ambient_count=job.profile["count"],
        n_empty=job.profile["n_empty"],
        native=native,
        level=levels.value,
        level_se=levels.se,
        n_anchors=levels.n_anchors.astype(float),
        denoised=split.drawn,
        denoised_mean=split.mean,
        log_likelihood=history,
        settings=settings,
    )


def _versions() -> dict[str, str]:
    import scipy

    from isthmus import __version__

    return {"isthmus": __version__, "numpy": np.__version__, "scipy": scipy.__version__}

"""The corrected counts: what was removed from whom, how surely, and the tables that say so."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus import schema
from isthmus.ambient import state as codec
from isthmus.data.wording import plural
from isthmus.results import State, pick_table

if TYPE_CHECKING:
    from scipy import sparse

    from isthmus.ambient.scar.model import ScarModel


@dataclass(frozen=True, eq=False)
class AmbientFit:
    """A share rho of each cell's counts comes from the ambient profile a, the rest from its cluster's native profile p.

    x_i ~ Multinomial(N_i, (1 - rho_i) p_k(i) + rho_i a_b(i)).

    Attributes
    ----------
    gene_names, cell_names
        Object arrays of str.
    batch_names, cluster_names
        Levels, object arrays of str; `batch` and `cluster` hold the level of each cell as a number.
    rho, rho_se
        ``(n_cells,)``: ambient share, and its standard error (level included).
    flag
        ``(n_cells,)``: no_counts, level_unidentified, at_bound or ok.
    observed_umi
        ``(n_cells,)``.
    observed
        ``(n_batches, n_genes)``: counts of each gene in the cells of each batch.
    ambient, ambient_count, n_empty
        ``(n_batches, n_genes)`` profile and the counts behind it; ``(n_batches,)`` droplets behind it.
    native
        ``(n_clusters, n_genes)``: native profiles.
    level, level_se, n_anchors
        ``(n_clusters, n_batches)``: UMI-weighted mean of rho, its standard error, and the number of anchor genes.
    denoised
        CSR int32, cells x genes: seeded binomial draw of the native counts; never above the observed count. The draw
        adds variance: take it where whole counts are needed, `denoised_mean` for sums, means and plots.
    denoised_mean
        CSR float32, cells x genes: expected native counts.
    log_likelihood
        ``(n_steps + 1,)``: history of the EM, natural log.
    settings
        What was asked for, tolerance reached, seed, versions.
    network
        For method "scar": weights, latent posterior of the cells and history; what the functions of `isthmus.ambient`
        that take such a fit (`latent`, `normalized_expression`, ...) work on.
    """

    gene_names: np.ndarray
    cell_names: np.ndarray
    batch_names: np.ndarray
    batch: np.ndarray
    cluster_names: np.ndarray
    cluster: np.ndarray
    rho: np.ndarray
    rho_se: np.ndarray
    flag: np.ndarray
    observed_umi: np.ndarray
    observed: np.ndarray
    ambient: np.ndarray
    ambient_count: np.ndarray
    n_empty: np.ndarray
    native: np.ndarray
    level: np.ndarray
    level_se: np.ndarray
    n_anchors: np.ndarray
    denoised: sparse.csr_matrix
    denoised_mean: sparse.csr_matrix
    log_likelihood: np.ndarray
    settings: dict[str, Any]
    network: ScarModel | None = None
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.cell_names)

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return len(self.gene_names)

    @property
    def clusters(self) -> np.ndarray:
        """``(n_cells,)``: name of each cell's cluster, given or found."""
        return self.cluster_names[self.cluster]

    @property
    def converged(self) -> bool:
        """Whether the EM met its tolerance; whether the network had stopped improving."""
        return bool(self.settings["converged"])

    @property
    def n_iter(self) -> int:
        """EM steps, or epochs of the network."""
        return len(self.log_likelihood) - 1 if self.network is None else len(self.network.history)

    @cached_property
    def native_profiles(self) -> pd.DataFrame:
        """Genes x clusters: native profile of each cluster; columns sum to 1."""
        return pd.DataFrame(self.native.T, index=self.gene_names, columns=self.cluster_names)

    def _levels(self) -> pd.DataFrame:
        k, b = np.nonzero(np.isfinite(self.level))
        values = {name: getattr(self, name)[k, b] for name in ("level", "level_se", "n_anchors")}
        return schema.frame(
            schema.AMBIENT_LEVELS, {"cluster": self.cluster_names[k], "batch": self.batch_names[b]} | values
        )

    def table(self, name: str) -> pd.DataFrame:
        """A tidy table: "cells", "genes", "profile", "history" or "levels" (columns in `isthmus.schema`)."""
        builders = {
            "cells": self._cells,
            "genes": self._genes,
            "profile": self._profile,
            "history": self._history,
            "levels": self._levels,
        }
        build = pick_table(name, builders)
        if name not in self._tables:
            self._tables[name] = build()
        return self._tables[name].copy()

    def _cells(self) -> pd.DataFrame:
        expected = np.asarray(self.denoised_mean.sum(axis=1, dtype=np.float64)).ravel()
        values = {
            "cell": self.cell_names,
            "batch": self.batch_names[self.batch],
            "rho": self.rho,
            "rho_se": self.rho_se,
            "observed_umi": self.observed_umi,
            "ambient_umi": np.maximum(self.observed_umi - expected, 0.0),
            "denoised_umi": np.asarray(self.denoised.sum(axis=1, dtype=np.float64)).ravel(),
            "flag": self.flag,
        }
        return schema.frame(schema.AMBIENT_CELLS, values)

    def _genes(self) -> pd.DataFrame:
        kept = np.stack(
            [
                np.asarray(self.denoised_mean[self.batch == b].sum(axis=0, dtype=np.float64)).ravel()
                for b in range(len(self.batch_names))
            ]
        )
        removed = np.maximum(self.observed - kept, 0.0).ravel()
        seen = self.observed.ravel()
        values = self._gene_and_batch() | {
            "ambient_prob": self.ambient.ravel(),
            "observed": seen,
            "removed": removed,
            "ambient_share": np.divide(removed, seen, out=np.full(len(seen), np.nan), where=seen > 0),
        }
        return schema.frame(schema.AMBIENT_GENES, values)

    def _gene_and_batch(self) -> dict[str, np.ndarray]:
        return {
            "gene": np.tile(self.gene_names, len(self.batch_names)),
            "batch": np.repeat(self.batch_names, self.n_genes),
        }

    def _profile(self) -> pd.DataFrame:
        values = self._gene_and_batch() | {
            "prob": self.ambient.ravel(),
            "count": self.ambient_count.ravel(),
            "n_empty": np.repeat(self.n_empty, self.n_genes),
        }
        return schema.frame(schema.AMBIENT_PROFILE, values)

    def _history(self) -> pd.DataFrame:
        if self.network is not None:
            columns = dict(zip(("loss", "reconstruction", "kl"), self.network.history.T, strict=True))
            epochs = np.arange(1, len(self.network.history) + 1)
            return schema.frame(schema.AMBIENT_EPOCHS, {"epoch": epochs} | columns)
        values = {"iteration": np.arange(len(self.log_likelihood)), "log_likelihood": self.log_likelihood}
        return schema.frame(schema.AMBIENT_HISTORY, values)

    def summary(self) -> str:
        """A few lines of text: size, profile, how much was removed, flags."""
        removed = 1 - self.denoised_mean.sum(dtype=np.float64) / max(self.observed_umi.sum(), 1.0)
        middle = np.nanquantile(self.rho, [0.5, 0.05, 0.95]) if np.isfinite(self.rho).any() else [np.nan] * 3
        flags = pd.Series(self.flag).value_counts()
        order = [flag for flag in ("ok", "at_bound", "level_unidentified", "no_counts") if flag in flags]
        unit = "steps" if self.network is None else "epochs"
        steps = f"{self.n_iter} {unit}, {'converged' if self.converged else 'not converged'}"
        return "\n".join(
            [
                f"Ambient RNA of {plural(self.n_genes, 'gene')} in {plural(self.n_cells, 'cell')}, method "
                f"{self.settings['method']!r}",
                f"  profile   {self.settings['profile']}; batches: {', '.join(self.batch_names)}",
                f"  clusters  {len(self.cluster_names)}, {self.settings['labels']}; {steps}",
                f"  rho       median {middle[0]:.3f}, 5 to 95 %: {middle[1]:.3f} to {middle[2]:.3f}",
                f"  removed   {removed:.1%} of {self.observed_umi.sum():,.0f} counts",
                "  cells     " + ", ".join(f"{flags[flag]} {flag}" for flag in order),
            ]
        )

    def __repr__(self) -> str:
        return self.summary()

    def state(self) -> State:
        """The fit as a flat dict: arrays of one or two dimensions, 1-d arrays of text, and JSON in ``meta``."""
        return codec.encode(self)

    @classmethod
    def from_state(cls, state: State) -> AmbientFit:
        """Rebuild a fit from `state`; forgiving of what R does to arrays on the way."""
        return codec.decode(state)

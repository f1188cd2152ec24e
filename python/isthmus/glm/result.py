"""The fitted per-gene model: what was estimated, how well, and everything that can be derived without the counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus import schema
from isthmus.data.design import Design, apply_design
from isthmus.data.wording import did_you_mean, plural
from isthmus.errors import InputError
from isthmus.glm import information as info
from isthmus.glm import state as codec
from isthmus.glm.constraints import Constraint
from isthmus.glm.offset import new_shift, ordered_values
from isthmus.glm.ported_names import PortedNames
from isthmus.glm.separation import Separation, loads
from isthmus.glm.source import Source
from isthmus.results import State, pick_table

if TYPE_CHECKING:
    from collections.abc import Sequence

MODELS = ("mean", "dispersion")
_MODEL_NAMES = {"nb": "Negative-binomial GLM", "poisson": "Poisson GLM", "normal": "Normal linear model"}


@dataclass(frozen=True, eq=False)
class Submodel:
    """One of the two linear models: design, constraint and free estimates, ``(free parameters, n_genes)``."""

    design: Design
    constraint: Constraint
    free_coef: np.ndarray

    @cached_property
    def coef(self) -> np.ndarray:
        """All parameters, ``(p, n_genes)``: theta0 + H gamma."""
        return self.constraint.particular[:, None] + self.constraint.free @ self.free_coef

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters."""
        return self.design.names

    @property
    def n_free(self) -> int:
        """Number of free parameters."""
        return int(self.constraint.free.shape[1])

    @cached_property
    def free_design(self) -> np.ndarray:
        """``(n_cells, f)``: X H."""
        return self.design.matrix @ self.constraint.free

    @cached_property
    def particular_predictor(self) -> np.ndarray:
        """``(n_cells,)``: X theta0."""
        return self.design.matrix @ self.constraint.particular


@dataclass(frozen=True, eq=False)
class GlmFit(PortedNames):
    """Per-gene negative-binomial (or Poisson) models.

    log mu = X a + log(size factor) + offset and log alpha = Z b, with Var = mu + alpha mu^2.

    Attributes
    ----------
    gene_names, cell_names
        Object arrays of str.
    mean_model, dispersion_model
        Design, constraint and free estimates of each; those of the dispersion speak of log alpha.
    log_likelihood
        ``(n_genes,)``, natural log, with every constant.
    status
        ``(n_genes,)``: all_zero, separated, not_converged, poisson_limit or ok.
    n_iter
        ``(n_genes,)`` int32.
    converged
        ``(n_genes,)`` bool; says of a separated gene whether its other parameters can be relied on.
    mean, dispersion
        ``(n_genes,)``: mean of counts / size factor; alpha averaged over cells (0 at the Poisson limit).
    size_factors, offset
        ``(n_cells,)``; offset in natural log, zero where a cell x gene offset was used (``settings["gene_offset"]``).
    expected_info, neg_hessian, gradient
        ``(n_genes, f, f)``, ``(n_genes, f + g, f + g)``, ``(n_genes, f + g)`` over the free parameters, mean first.
    separations
        Directions without a finite estimate.
    settings
        Everything the fit was asked for, the kernel that ran, versions, and the fit's id.
    weights
        ``(n_cells,)`` weights of the cells; None where all are 1 or a weight per cell and gene was used
        (``settings["weights"]``: None, "cells" or "observations").
    source
        Where the counts came from, as a weak reference: the fit does not hold them.
    """

    gene_names: np.ndarray
    cell_names: np.ndarray
    mean_model: Submodel
    dispersion_model: Submodel
    log_likelihood: np.ndarray
    status: np.ndarray
    n_iter: np.ndarray
    converged: np.ndarray
    mean: np.ndarray
    dispersion: np.ndarray
    size_factors: np.ndarray
    offset: np.ndarray
    expected_info: np.ndarray
    neg_hessian: np.ndarray
    gradient: np.ndarray
    separations: tuple[Separation, ...]
    settings: dict[str, Any]
    weights: np.ndarray | None = None
    source: Source = field(default_factory=Source, repr=False)
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)
    _estimates: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    # ---- size -----------------------------------------------------------------------------------------------------

    @property
    def n_genes(self) -> int:
        """Number of genes, fitted or not."""
        return len(self.gene_names)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.cell_names)

    @property
    def df(self) -> int:
        """Free parameters of a gene, both models."""
        return self.mean_model.n_free + self.dispersion_model.n_free

    @property
    def df_resid(self) -> int:
        """Cells (of a positive weight) minus free parameters of the mean model."""
        n = self.n_cells if self.weights is None else int((self.weights > 0).sum())
        return n - self.mean_model.n_free

    @property
    def kernel(self) -> str:
        """Which kernel ran: "avx512", "avx2", "baseline" or "reference"."""
        return str(self.settings["kernel"])

    @property
    def path(self) -> str:
        """What the kernel summed over: "cells", or nodes that stand for them, such as "24 nodes a stratum"."""
        return str(self.settings.get("path", "cells"))

    def submodel(self, model: str) -> Submodel:
        """The mean or the dispersion model, by name."""
        if model not in MODELS:
            msg = f"`model` must be 'mean' or 'dispersion'; got {model!r}."
            raise InputError(msg)
        return self.mean_model if model == "mean" else self.dispersion_model

    def separated(self, model: str) -> dict[int, Separation]:
        """Gene index -> its separation in one model."""
        return {s.gene: s for s in self.separations if s.model == model}

    # ---- estimates ------------------------------------------------------------------------------------------------

    def coef(self, model: str = "mean") -> pd.DataFrame:
        """Estimates of all parameters, terms x genes, natural log; ±Inf or NaN where no finite estimate exists."""
        submodel = self.submodel(model)
        return pd.DataFrame(self._reported(model), index=list(submodel.names), columns=self.gene_names)

    def _reported(self, model: str) -> np.ndarray:
        """All parameters, ``(p, n_genes)``, with infinities and NaN where no finite estimate exists."""
        if model not in self._estimates:
            self._estimates[model] = self._infinite_where_separated(model)
        return self._estimates[model]

    def _infinite_where_separated(self, model: str) -> np.ndarray:
        submodel = self.submodel(model)
        out = submodel.coef.copy()
        for gene, separation in self.separated(model).items():
            infinite = loads(separation, submodel.constraint.free)
            out[infinite, gene] = separation.limits(submodel.constraint.free[infinite])
        if model == "dispersion":
            out[:, self.status == "poisson_limit"] = np.nan
        out[:, self.status == "all_zero"] = np.nan
        return out

    def standard_errors(self, model: str = "mean", *, information: str = "expected") -> np.ndarray:
        """``(p, n_genes)``; NaN where the estimate is not finite."""
        submodel = self.submodel(model)
        h = submodel.constraint.free
        block = self.free_covariance(model, information=information)
        # Plain einsum: BLAS would start threads for matrices of a few rows.
        variance = (
            np.einsum("gff->fg", block) if submodel.constraint.kind == "none" else np.einsum("pf,gpf->pg", h, h @ block)
        )
        with np.errstate(invalid="ignore"):
            out = np.sqrt(variance)
        out[~np.isfinite(self._reported(model))] = np.nan
        return out

    # ---- uncertainty ----------------------------------------------------------------------------------------------

    def free_covariance(self, model: str, *, information: str = "expected") -> np.ndarray:
        """``(n_genes, f, f)``: the block of one model in the covariance of the free parameters.

        With expected information the two models are orthogonal (Lawless 1987) and the dispersion's block is the
        inverse of the curvature at the fitted mean, as in MASS::theta.ml; with observed information the joint Hessian
        is inverted.
        """
        f = self.mean_model.n_free
        if information == "expected":
            matrices = self.expected_info if model == "mean" else self.neg_hessian[:, f:, f:]
            return info.invert(matrices, {gene: s.basis for gene, s in self.separated(model).items()})
        joint = self._joint_observed
        return joint[:, :f, :f] if model == "mean" else joint[:, f:, f:]

    @cached_property
    def _joint_observed(self) -> np.ndarray:
        f, g = self.mean_model.n_free, self.dispersion_model.n_free
        infinite: dict[int, np.ndarray] = {}
        for s in self.separations:
            padded = np.zeros((f + g, s.basis.shape[1]))
            padded[slice(0, f) if s.model == "mean" else slice(f, f + g)] = s.basis
            infinite[s.gene] = np.hstack([infinite[s.gene], padded]) if s.gene in infinite else padded
        out = info.invert(self.neg_hessian, infinite)
        limit = np.flatnonzero(self.status == "poisson_limit")
        bound = [j for j in range(self.n_genes) if np.isnan(self.neg_hessian[j, f:, f:]).any()] if g else limit
        out[bound, :f, :f] = info.invert(
            self.neg_hessian[:, :f, :f], {j: s.basis for j, s in self.separated("mean").items()}
        )[bound]
        return out

    @property
    def fisher_inv(self) -> np.ndarray:
        """Genes x free x free, mean model: the inverse of the expected information."""
        return self.free_covariance("mean")

    def covariance(self, information: str = "expected", genes: Sequence[str] | None = None) -> np.ndarray:
        """Covariance of all parameters, mean model first: H V H'.

        Parameters
        ----------
        information
            "expected" or "observed".
        genes
            Names of the genes wanted; all by default.

        Returns
        -------
        ndarray
            ``(n_genes, p + q, p + q)``; NaN rows where an estimate is not finite.
        """
        if information not in ("expected", "observed"):
            msg = f"`information` must be 'expected' or 'observed'; got {information!r}."
            raise InputError(msg)
        at = np.arange(self.n_genes) if genes is None else self.gene_index(genes)
        f, g = self.mean_model.n_free, self.dispersion_model.n_free
        free = np.zeros((self.n_genes, f + g, f + g))
        if information == "observed":
            free[:] = self._joint_observed
        else:
            free[:, :f, :f] = self.free_covariance("mean")
            free[:, f:, f:] = self.free_covariance("dispersion")
        h = np.zeros((len(self.mean_model.names) + len(self.dispersion_model.names), f + g))
        h[: len(self.mean_model.names), :f] = self.mean_model.constraint.free
        h[len(self.mean_model.names) :, f:] = self.dispersion_model.constraint.free
        out = h @ np.nan_to_num(free[at]) @ h.T
        unknown = ~np.isfinite(np.vstack([self._reported("mean"), self._reported("dispersion")]))[:, at].T
        lost = np.isnan(np.einsum("gii->gi", free[at])) @ (np.abs(h.T) > 0)
        unknown |= lost.astype(bool)
        out[unknown[:, :, None] | unknown[:, None, :]] = np.nan
        return out

    def gene_index(self, genes: Sequence[str]) -> np.ndarray:
        """Positions of genes by name."""
        genes = [genes] if isinstance(genes, str) else list(genes)
        place = pd.Index(self.gene_names).get_indexer(pd.Index(genes, dtype=object))
        if (place < 0).any():
            wrong = genes[int(np.flatnonzero(place < 0)[0])]
            msg = (
                "`gene` must be one of the fit's genes; got "
                f"'{wrong}'. {did_you_mean(str(wrong), list(self.gene_names))}"
            )
            raise InputError(msg)
        return place

    # ---- tables ---------------------------------------------------------------------------------------------------

    def table(self, name: str) -> pd.DataFrame:
        """A tidy table: "coefficients" or "genes" (columns in `isthmus.schema`)."""
        build = pick_table(name, {"coefficients": self._coefficients, "genes": self._genes})
        if name not in self._tables:
            self._tables[name] = build()
        return self._tables[name].copy()

    def _coefficients(self) -> pd.DataFrame:
        parts = [(model, self.submodel(model)) for model in MODELS]
        names = np.concatenate([np.array(s.names, dtype=object) for _, s in parts])
        of_model = np.concatenate([np.full(len(s.names), model, dtype=object) for model, s in parts])
        dependent = np.concatenate([s.constraint.dependent for _, s in parts])
        values = {
            "gene": np.repeat(self.gene_names, len(names)),
            "model": np.tile(of_model, self.n_genes),
            "term": np.tile(names, self.n_genes),
            "estimate": np.vstack([self._reported(model) for model in MODELS]).T.ravel(),
            "se": np.vstack([self.standard_errors(model) for model in MODELS]).T.ravel(),
            "dependent": np.tile(dependent, self.n_genes),
        }
        return schema.frame(schema.GLM_COEFFICIENTS, values)

    def _genes(self) -> pd.DataFrame:
        values = {
            "gene": self.gene_names,
            "status": self.status,
            "mean": self.mean,
            "dispersion": self.dispersion,
            "log_likelihood": self.log_likelihood,
            "n_iter": self.n_iter,
        }
        return schema.frame(schema.GLM_GENES, values)

    # ---- predictions ----------------------------------------------------------------------------------------------

    def predict(
        self,
        newdata: Any = None,
        *,
        size_factors: Any = None,
        offset: Any = None,
        type: str = "mean",
        base: np.ndarray | None = None,
        dispersion_base: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """Fitted or predicted values, cells x genes.

        Parameters
        ----------
        newdata
            DataFrame with the columns of the formulas; None = the cells of the fit, with their size factors and
            offsets.
        size_factors, offset
            For new cells: linear and natural log, one value per cell or one for all. Default 1 and 0. `offset` is asked
            for again where the fit had one value per cell and gene.
        type
            "mean" (expected counts), "link" (natural log of it) or "dispersion" (alpha).
        base, dispersion_base
            The formulas' parts of the two designs, already evaluated (R sends them).
        """
        if type not in ("mean", "link", "dispersion"):
            msg = f"`type` must be 'mean', 'link' or 'dispersion'; got {type!r}."
            raise InputError(msg)
        part = self.dispersion_model if type == "dispersion" else self.mean_model
        given = dispersion_base if type == "dispersion" else base
        own_cells = newdata is None and given is None
        rows = part.design.matrix if own_cells else apply_design(part.design, newdata, given)
        values = rows @ part.coef
        if type == "dispersion":
            values = np.exp(values) if part.names else np.zeros((len(rows), self.n_genes))
            values[:, (self.status == "poisson_limit") | (self.dispersion == 0)] = 0.0
        else:
            shift = self._own_shift if own_cells else partial(new_shift, n_cells=len(rows), n_genes=self.n_genes)
            if self.settings["noise_model"] == "normal":
                values = self._linear(values, size_factors, offset, shift)
            else:
                values += shift(size_factors, offset)
                values = np.exp(values) if type == "mean" else values
        values[:, self.status == "all_zero"] = np.nan
        return pd.DataFrame(values, index=self._row_names(newdata, len(rows), own_cells), columns=self.gene_names)

    def _linear(self, values: np.ndarray, size_factors: Any, offset: Any, shift: Any) -> np.ndarray:
        """Size factors times the predictor, and the offset: `shift` checks both, and adds the logarithm of one."""
        moved = shift(size_factors, offset)
        own = self.size_factors if shift == self._own_shift else size_factors
        log_size = 0.0 if own is None else np.log(np.asarray(own, dtype=float).reshape(-1, 1))
        return np.asarray(np.exp(log_size) * values + (moved - log_size))

    def _row_names(self, newdata: Any, n: int, own_cells: bool) -> Any:  # noqa: FBT001
        if own_cells:
            return self.cell_names
        return newdata.index.astype(str) if isinstance(newdata, pd.DataFrame) else np.arange(n).astype(str)

    def _own_shift(self, size_factors: Any, offset: Any) -> np.ndarray:
        by_gene = self.settings["gene_offset"]
        if size_factors is not None or (offset is not None and not by_gene):
            which = "offset" if size_factors is None else "size_factors"
            msg = f"`{which}` is for new cells: the cells of the fit have their own. Pass `newdata`, or leave it out."
            raise InputError(msg)
        own = (np.log(self.size_factors) + self.offset)[:, None]
        if not by_gene:
            return own
        if offset is None:
            msg = "`offset` must be passed again: the fit used one value per cell and gene and does not keep it."
            raise InputError(msg)
        return own + ordered_values(offset, self.cell_names, self.gene_names)

    def residuals(
        self, data: Any, type: str = "pearson", *, layer: str | None = None, offset: Any = None, seed: int = 0
    ) -> pd.DataFrame:
        """Residuals, cells x genes. The fit keeps no counts, so `data` is passed again.

        Parameters
        ----------
        data
            The counts of the fit, in any form that `fit_glm` takes.
        type
            "response" y - mu; "pearson" (y - mu) / sqrt(mu + alpha mu^2); "deviance"; "quantile": standard normal if
            the model holds, randomised because counts are discrete (Dunn & Smyth 1996, J. Comput. Graph. Stat. 5:236).
        layer, offset
            As in `fit_glm`; `offset` only where the fit had one value per cell and gene.
        seed
            For "quantile".
        """
        from isthmus.glm.residuals import residuals

        return residuals(self, data, type, layer=layer, offset=offset, seed=seed)

    def summary(self) -> str:
        """A few lines of text: size, formulas, how many genes ended how."""
        counts = pd.Series(self.status).value_counts()
        order = [s for s in ("ok", "poisson_limit", "separated", "not_converged", "all_zero") if s in counts]
        lines = [
            f"{_MODEL_NAMES[self.settings['noise_model']]} of {plural(self.n_genes, 'gene')} in "
            f"{plural(self.n_cells, 'cell')}",
            f"  mean model        {self.mean_model.design.formula or 'design matrix'} "
            f" ({', '.join(self.mean_model.names)})",
        ]
        if self.dispersion_model.names:
            named = ", ".join(self.dispersion_model.names)
            lines.append(f"  dispersion model  {self.dispersion_model.design.formula or 'design matrix'}  ({named})")
        for model in MODELS:
            constraint = self.submodel(model).constraint
            if constraint.kind != "none":
                what = "identify the parameters" if constraint.kind == "identifies" else "restrict the fit"
                lines.append(f"  constraints on the {model} model: {int(constraint.dependent.sum())}, which {what}")
        lines.append("  genes             " + ", ".join(f"{counts[s]} {s}" for s in order))
        lines.append(f"  dispersion: {self.settings['dispersion']}; kernel: {self.kernel}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.summary()

    # ---- kept and restored ----------------------------------------------------------------------------------------

    def state(self) -> State:
        """The fit as a flat dict: arrays of one to three dimensions, 1-d arrays of text, and JSON in ``meta``."""
        return codec.encode(self)

    @classmethod
    def from_state(cls, state: State) -> GlmFit:
        """Rebuild a fit from `state`; forgiving of what R does to arrays on the way."""
        return codec.decode(state)

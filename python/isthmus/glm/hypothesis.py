"""What is tested: coefficients, factors, contrasts and smaller models, as linear equations of the parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import qr, solve_triangular

from isthmus.data.wording import did_you_mean, some
from isthmus.errors import InputError
from isthmus.glm.contrasts import contrast_matrix
from isthmus.glm.reduced import reduced_rows

if TYPE_CHECKING:
    from isthmus.glm.result import GlmFit, Submodel

_ZERO = 1e-9


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """L theta = rhs in one of the two models.

    Attributes
    ----------
    model
        "mean" or "dispersion".
    rows
        ``(k, p)`` over all parameters.
    free
        ``(k, f)`` over the free ones: L H.
    rhs
        ``(k,)``.
    free_rhs
        ``(k,)``: rhs - L theta0.
    label
        For the table.
    """

    model: str
    rows: np.ndarray
    free: np.ndarray
    rhs: np.ndarray
    free_rhs: np.ndarray
    label: str

    @property
    def single(self) -> bool:
        """Is it one equation, so that there is an estimate?"""
        return len(self.rows) == 1

    @cached_property
    def restriction(self) -> tuple[np.ndarray, np.ndarray]:
        """N ``(f, f - rank)`` and gamma0 ``(f,)``: the null hypothesis is gamma = gamma0 + N delta.

        Parameters that the hypothesis does not touch keep a column of their own, so that the kernel still sees which
        of them are categorical.
        """
        r, upper, order = qr(self.free, mode="full", pivoting=True)
        size = np.abs(np.diag(upper[: min(upper.shape), : min(upper.shape)]))
        rank = int((size > _ZERO * size.max()).sum())
        f = self.free.shape[1]
        pivots, others = order[:rank], order[rank:]
        basis, base = np.zeros((f, f - rank)), np.zeros(f)
        basis[others] = np.eye(f - rank)
        basis[pivots] = -solve_triangular(upper[:rank, :rank], upper[:rank, rank:])
        basis[np.abs(basis) < 1e-12] = 0
        base[pivots] = solve_triangular(upper[:rank, :rank], (r.T @ self.free_rhs)[:rank])
        return basis, base

    @property
    def df(self) -> int:
        """Number of independent equations."""
        return int(self.free.shape[1] - self.restriction[0].shape[1])


def read_hypothesis(fit: GlmFit, model: str, *, coef: Any, factor: Any, contrast: Any, reduced: Any) -> Hypothesis:
    """The hypothesis of `test_glm`'s arguments, of which one must be given."""
    submodel = fit.submodel(model)
    asked = {"coef": coef, "factor": factor, "contrast": contrast, "reduced": reduced}
    given = [name for name, value in asked.items() if value is not None]
    names = list(submodel.names)
    if not names:
        msg = '`model` = "dispersion" needs a dispersion model; this fit has none (noise_model="poisson").'
        raise InputError(msg)
    if len(given) != 1:
        got = "none" if not given else " and ".join(f"`{name}`" for name in given)
        msg = (
            f"One of `coef`, `factor`, `contrast` and `reduced` must be given; got {got}. The {model} model's "
            f"coefficients are {some(names, len(names))}."
        )
        raise InputError(msg)
    if coef is not None:
        _check_one_name(coef, "coef", "`factor` or `contrast`")
        rows, rhs, label = _one_coefficient(str(coef), names, model)
    elif factor is not None:
        _check_one_name(factor, "factor", "`contrast`")
        rows, rhs, label = _one_factor(str(factor), submodel.design.terms, len(names), model)
    elif contrast is not None:
        rows, rhs, label = contrast_matrix(contrast, names)
    else:
        rows, rhs, label = reduced_rows(reduced, submodel, model)
    return _checked(Hypothesis(model, rows, *_free_form(rows, rhs, submodel), label), given[0], submodel)


def hypothesis_of_rows(fit: GlmFit, model: str, rows: np.ndarray, label: str) -> Hypothesis:
    """Contrast rows that are built elsewhere, compared with 0."""
    submodel, rows = fit.submodel(model), np.atleast_2d(rows)
    return _checked(Hypothesis(model, rows, *_free_form(rows, np.zeros(len(rows)), submodel), label), label, submodel)


def _free_form(rows: np.ndarray, rhs: np.ndarray, submodel: Submodel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rows @ submodel.constraint.free, rhs, rhs - rows @ submodel.constraint.particular


def _checked(hypothesis: Hypothesis, argument: str, submodel: Submodel) -> Hypothesis:
    if not np.abs(hypothesis.free).max() > 1e-12:
        value = (hypothesis.rows @ submodel.constraint.particular)[0]
        msg = (
            f"`{argument}` must not be fixed by the constraints; they set '{hypothesis.label}' to {value:g} in every "
            "gene, so there is nothing to test."
        )
        raise InputError(msg)
    base = hypothesis.restriction[1]
    if not np.allclose(hypothesis.free @ base, hypothesis.free_rhs, rtol=0, atol=1e-8):
        msg = f"`{argument}` must not contradict itself or the constraints; no parameters satisfy {hypothesis.label}."
        raise InputError(msg)
    return hypothesis


def _check_one_name(value: Any, argument: str, instead: str) -> None:
    if not isinstance(value, str) and np.ndim(value) > 0:
        msg = f"`{argument}` must be one name; got {len(value)} values. Test several at once with {instead}."
        raise InputError(msg)


def _one_coefficient(name: str, names: list[str], model: str) -> tuple[np.ndarray, np.ndarray, str]:
    if name not in names:
        hint = did_you_mean(name, names)
        msg = f"`coef` must name a coefficient of the {model} model ({some(names, len(names))}); got '{name}'. {hint}"
        raise InputError(msg)
    return np.eye(len(names))[[names.index(name)]], np.zeros(1), name


def _one_factor(
    name: str, terms: dict[str, tuple[int, ...]], width: int, model: str
) -> tuple[np.ndarray, np.ndarray, str]:
    if name not in terms:
        labels = list(terms)
        msg = (
            f"`factor` must name a term of the {model} model ({some(labels, len(labels))}); got "
            f"'{name}'. {did_you_mean(name, labels)}"
        )
        raise InputError(msg)
    columns = list(terms[name])
    return np.eye(width)[columns], np.zeros(len(columns)), name

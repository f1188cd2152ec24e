"""The seam between the factor model and its kernels: arrays in, arrays out. See :mod:`isthmus.factors.params`.

``ISTHMUS_KERNEL`` chooses the kernel, as for GLMs: "avx2" or "baseline" (compiled), "reference" (plain NumPy).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import InputError
from isthmus.factors.moments import StateMoments, forecast_moments, idiosyncratic, innovations
from isthmus.factors.params import Params, Spec, dense_transition, from_dense, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

# A forecast of a series that ended more times ago than this leaves its last AR(1) term out.
_LONGEST_TAIL = 60


@dataclass(frozen=True, eq=False)
class States:
    """Moments of the factors given the data.

    Attributes
    ----------
    filtered, filtered_cov
        ``(T, r)`` and ``(T, r, r)``: given the data up to each time.
    smoothed, smoothed_cov
        The same given all data.
    idiosyncratic
        ``(T, N)`` smoothed e_it, also where y is missing (of quarterly series: the aggregate's).
    innovations, innovation_var
        ``(T, N)`` one-step errors of y and their variances; NaN where y is missing.
    next_factors, next_factors_cov
        ``(r,)`` and ``(r, r)``: one time after the last.
    log_likelihood
        With every constant.
    """

    filtered: np.ndarray
    filtered_cov: np.ndarray
    smoothed: np.ndarray
    smoothed_cov: np.ndarray
    idiosyncratic: np.ndarray
    innovations: np.ndarray
    innovation_var: np.ndarray
    next_factors: np.ndarray
    next_factors_cov: np.ndarray
    log_likelihood: float


@dataclass(frozen=True, eq=False)
class Forecast:
    """Moments of the h times after the panel's last: ``(h, r)``, ``(h, r, r)``, ``(h, N)``, ``(h, N)``.

    Parameters are taken as known: intervals leave their uncertainty out.
    """

    factors: np.ndarray
    factors_cov: np.ndarray
    series: np.ndarray
    series_var: np.ndarray


@dataclass(frozen=True, eq=False)
class PanelFit:
    """A fitted panel.

    Attributes
    ----------
    params
        At the optimum.
    log_likelihood
        Of `params`.
    path
        Log-likelihood at the start and after each move (a SQUAREM cycle or a quasi-Newton step; an EM step without
        acceleration). It does not fall, but for rounding.
    n_iter, converged
        EM steps plus scores computed; whether gain < tol and scaled_score < 1e-2, with the `held` variances where they
        are.
    gain
        Log-likelihood gained by the last iteration.
    scaled_score
        Largest score of a parameter over the root of its complete-data information: its distance from the optimum in
        standard errors, were the factors observed.
    heywood
        ``(N,)`` bool: the idiosyncratic variance is under 1 % of the series' own.
    held
        ``(N,)`` bool: the idiosyncratic variance is held at its bound, 1e-8 of the series' mean square, because the
        likelihood rises below it: with near-duplicates without end, and then it has no maximum.
    kernel
        "avx2", "baseline" or "reference".
    """

    params: Params
    log_likelihood: float
    path: np.ndarray
    n_iter: int
    converged: bool
    gain: float
    scaled_score: float
    heywood: np.ndarray
    held: np.ndarray
    kernel: str


def check_panel(y: np.ndarray, spec: Spec) -> np.ndarray:
    """Shapes and finite values; what is checked here is the caller's duty, so the words are short."""
    y = np.asarray(y, dtype=np.float64)
    if y.ndim != 2 or y.shape[1] != spec.n_series or len(y) < 2:
        msg = f"`y` must be time x series with {spec.n_series} series and at least 2 times; got shape {y.shape}."
        raise InputError(msg)
    if np.isinf(y).any():
        msg = f"`y` must be finite or NaN; got {int(np.isinf(y).sum())} infinite values. Make them NaN."
        raise InputError(msg)
    for i in np.flatnonzero(spec.quarterly):
        seen = np.flatnonzero(~np.isnan(y[:, i]))
        if len(seen) > 1 and np.diff(seen).min() < 3:
            msg = (
                f"a quarterly series must be observed every third month at most; got series {i} observed at times "
                f"{seen[:-1][np.diff(seen) < 3][0]} and {seen[1:][np.diff(seen) < 3][0]}."
            )
            raise InputError(msg)
    return y


class CompiledPanel:
    """A panel laid out for the compiled kernel: its layout is made once and serves every call."""

    has_em = True

    def __init__(self, y: np.ndarray, spec: Spec, kernel: str, *, min_lags: int = 0) -> None:
        from isthmus import _core

        self.y, self.spec, self.kernel = check_panel(y, spec), spec, kernel
        self._engine = _core.FactorEngine(
            y=self.y,
            loads=spec.loads.astype(np.uint8),
            quarterly=np.asarray(spec.quarterly).astype(np.uint8),
            blocks=[(list(block.factors), block.order) for block in spec.blocks],
            ar1=spec.idiosyncratic == "ar1",
            known=spec.initial == "known",
            min_lags=min_lags,
            kernel=kernel,
        )

    def _arrays(self, params: Params) -> tuple[Any, ...]:
        lags, cov = dense_transition(self.spec, params)
        state, state_cov = params.initial_state, params.initial_cov
        if state is None or state_cov is None:
            state, state_cov = np.zeros(0), np.zeros((0, 0))
        wide = np.concatenate(list(lags), axis=1)
        return params.loadings, wide, cov, params.idio_ar1, params.idio_var, state, state_cov

    def _params(self, arrays: tuple[Any, ...]) -> Params:
        loadings, wide, cov, ar1, var, state, state_cov = arrays
        r, known = self.spec.n_factors, self.spec.initial == "known"
        lags = wide.reshape(r, self.spec.order, r).transpose(1, 0, 2)
        transition, innovation_cov = from_dense(self.spec, lags, cov)
        return Params(
            loadings, transition, innovation_cov, ar1, var, state if known else None, state_cov if known else None
        )

    def loglike(self, params: Params) -> float:
        """Log-likelihood; -inf outside the model."""
        return float(self._engine.loglike(self._arrays(params)))

    def em(self, params: Params) -> tuple[Params, float]:
        """One ECM iteration; the log-likelihood before it."""
        arrays, value = self._engine.em(self._arrays(params))
        return self._params(arrays), float(value)

    def score(self, params: Params) -> tuple[float, np.ndarray, np.ndarray]:
        """Log-likelihood, score and diagonal of the complete-data information, in the flat order."""
        value, score, information = self._engine.score(self._arrays(params))
        return float(value), score, information

    def moments(self, params: Params) -> StateMoments:
        """Moments of the states at every time."""
        return StateMoments(**self._engine.smooth(self._arrays(params)), n_lags=self._engine.n_lags)


class ReferencePanel:
    """The same over the plain state space; scores by differences, EM for i.i.d. terms with a "known" start only."""

    kernel = "reference"

    def __init__(self, y: np.ndarray, spec: Spec) -> None:
        self.y, self.spec = check_panel(y, spec), spec
        self.has_em = spec.idiosyncratic == "iid" and spec.initial == "known" and not np.any(spec.quarterly)

    def loglike(self, params: Params) -> float:
        """Log-likelihood."""
        from isthmus._reference import dfm

        return float(dfm.loglike(self.y, self.spec, params))

    def em(self, params: Params) -> tuple[Params, float]:
        """One EM iteration; the log-likelihood before it."""
        if not self.has_em:
            msg = "`ISTHMUS_KERNEL` must not be 'reference' here: its EM is for i.i.d. terms, a known start and months."
            raise InputError(msg)
        from isthmus._reference import dfm

        new, value = dfm.em_step_iid(self.y, self.spec, params)
        return new, float(value)

    def score(self, params: Params) -> tuple[float, np.ndarray, np.ndarray]:
        """Log-likelihood, central differences, and the number of observations for the information."""
        x = pack(self.spec, params)
        score = np.zeros_like(x)
        for k, value in enumerate(x):
            step = 1e-5 * max(1.0, abs(value))
            ends = [x + step * sign * (np.arange(len(x)) == k) for sign in (1, -1)]
            high, low = (self.loglike(unpack(self.spec, end, like=params)) for end in ends)
            score[k] = (high - low) / (2 * step)
        return self.loglike(params), score, np.full(len(x), float((~np.isnan(self.y)).sum()))


def open_panel(y: np.ndarray, spec: Spec) -> CompiledPanel | ReferencePanel:
    """Lay the panel out for the kernel that ``ISTHMUS_KERNEL`` or the processor chooses."""
    from isthmus.glm.kernel import kernel_name

    name = kernel_name()
    if name == "reference":
        return ReferencePanel(y, spec)
    from isthmus import _core

    # Matrices of a few rows gain nothing from the widest registers: there is no such build.
    return CompiledPanel(y, spec, name if name in _core.factor_kernels else _core.factor_kernels[-1])


def loglike(y: np.ndarray, spec: Spec, params: Params) -> float:
    """Exact log-likelihood of ``y`` (T, N), NaN where missing, already standardised; -inf outside the model."""
    return open_panel(y, spec).loglike(params)


def score(y: np.ndarray, spec: Spec, params: Params) -> np.ndarray:
    """Gradient of :func:`loglike` in the order of :func:`isthmus.factors.params.pack`, by Fisher's identity.

    The first state's mean and covariance, where they are parameters ("known"), are held.
    """
    return open_panel(y, spec).score(params)[1]


def em_step(y: np.ndarray, spec: Spec, params: Params) -> tuple[Params, float]:
    """One EM iteration, and the log-likelihood before it."""
    return open_panel(y, spec).em(params)


def states(y: np.ndarray, spec: Spec, params: Params) -> States:
    """Filtered and smoothed factors, idiosyncratic terms and one-step errors."""
    panel = open_panel(y, spec)
    if isinstance(panel, ReferencePanel):
        return _reference_states(panel.y, spec, params)
    moments, r = panel.moments(params), spec.n_factors
    error, variance = innovations(panel.y, spec, params, moments)
    return States(
        filtered=moments.filtered[:, :r],
        filtered_cov=moments.filtered_cov[:, :r, :r],
        smoothed=moments.smoothed[:, :r],
        smoothed_cov=moments.smoothed_cov[:, :r, :r],
        idiosyncratic=idiosyncratic(panel.y, spec, params, moments),
        innovations=error,
        innovation_var=variance,
        next_factors=moments.next_state[:r],
        next_factors_cov=moments.next_cov[:r, :r],
        log_likelihood=moments.log_likelihood,
    )


def _reference_states(y: np.ndarray, spec: Spec, params: Params) -> States:
    from isthmus._reference import dfm

    found, r = dfm.smooth(y, spec, params), spec.n_factors
    z, *_ = dfm.system(spec, params)
    common = z.copy()
    common[:, r * spec.initial_lags :] = 0
    rest = found["smoothed"] @ (z - common).T
    observed = y - found["smoothed"] @ common.T
    return States(
        filtered=found["filtered"][:, :r],
        filtered_cov=found["filtered_cov"][:, :r, :r],
        smoothed=found["smoothed"][:, :r],
        smoothed_cov=found["smoothed_cov"][:, :r, :r],
        idiosyncratic=np.where(np.isnan(y), rest, observed),
        innovations=found["innovations"],
        innovation_var=found["innovation_var"],
        next_factors=found["next_state"][:r],
        next_factors_cov=found["next_cov"][:r, :r],
        log_likelihood=found["log_likelihood"],
    )


def forecast(y: np.ndarray, spec: Spec, params: Params, h: int) -> Forecast:
    """Moments of the factors and the series 1..h times after the last row of ``y``.

    Exact given the parameters, but for series that ended more than 60 times before the last row: the AR(1) memory of
    their last value is left out.
    """
    panel = open_panel(y, spec)
    if isinstance(panel, ReferencePanel):
        return _reference_forecast(panel.y, spec, params, h)
    seen = ~np.isnan(panel.y)
    tail = int(np.where(seen.any(axis=0), seen[::-1].argmax(axis=0), 0).max())
    if spec.idiosyncratic == "ar1" and tail:
        panel = CompiledPanel(y, spec, panel.kernel, min_lags=min(tail, _LONGEST_TAIL) + 1)
    return Forecast(*forecast_moments(panel.y, spec, params, panel.moments(params), h))


def _reference_forecast(y: np.ndarray, spec: Spec, params: Params, h: int) -> Forecast:
    from isthmus._reference import dfm

    z, noise, t, q, _, _ = dfm.system(spec, params)
    found = dfm.kalman_filter(y, spec, params)
    a, p, r = found["next_state"], found["next_cov"], spec.n_factors
    rows = []
    for _ in range(h):
        rows.append((a[:r], p[:r, :r], z @ a, np.einsum("ij,jk,ik->i", z, p, z) + noise))
        a, p = t @ a, t @ p @ t.T + q
    return Forecast(*(np.array(column) for column in zip(*rows, strict=True)))


def fit_panel(
    y: np.ndarray,
    spec: Spec,
    *,
    start: Params | None = None,
    accelerate: bool = True,
    max_iter: int = 10_000,
    tol: float = 1e-4,
    progress: Callable[[int], object] | None = None,
) -> PanelFit:
    """Maximise the likelihood; see :func:`isthmus.factors.em.maximise`.

    Parameters
    ----------
    y
        ``(T, N)``, standardised, NaN where missing.
    spec, start
        What is estimated, and from where. Without a start: from principal components, then from points at which a
        factor is exchanged for what the fit leaves unexplained (:mod:`isthmus.factors.exchange`); the best fit counts.
    accelerate
        SQUAREM and quasi-Newton steps; otherwise EM alone.
    max_iter, tol
        EM steps and scores at most; the gain in log-likelihood under which an iteration counts as the last.
    progress
        Called with the number of iterations done.
    """
    from isthmus.factors.em import maximise
    from isthmus.factors.exchange import exchange_factors
    from isthmus.factors.start import start_params

    panel = open_panel(y, spec)

    def fit(begin: Params, limit: int | None = None) -> PanelFit:
        limit = max_iter if limit is None else min(limit, max_iter)
        return maximise(panel, begin, accelerate=accelerate, max_iter=limit, tol=tol, progress=progress)

    if start is not None:
        return fit(start)
    found = fit(start_params(panel.y, spec))
    # Where a variance is held there is no maximum that others could be compared with.
    if not isinstance(panel, CompiledPanel) or not found.converged or found.held.any():
        return found
    return exchange_factors(panel, found, fit)

"""The estimator: batchglm's steps and names over one exact fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from isthmus.compat.batchglm.input_data import InputData
from isthmus.compat.batchglm.labelled import Labelled, parameters
from isthmus.compat.wording import no_effect
from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError
from isthmus.glm.fit import fit_glm
from isthmus.glm.result import GlmFit
from isthmus.messages import tell

STRATEGIES = ("AUTO", "DEFAULT", "EXACT", "QUICK", "PRE_INITIALIZED", "CONSTRAINED", "NEWTON_EXACT", "IRLS", "IRLS_GD")
Strategy = str | list[dict[str, Any]] | Callable[["Estimator"], Any]
_INITS = {"AUTO": "auto", "STANDARD": "standard", "CLOSED_FORM": "closed_form"}


class Estimator:
    """Estimate the parameters of an `InputData` by maximum likelihood.

    Parameters
    ----------
    input_data
        From `InputData.new`.
    batch_size
        Without effect, and a message says so: every step of the fit uses all observations.
    init_a, init_b
        "AUTO", "standard", "closed_form", or free parameters x features (b in log r). The optimum is
        the same.
    quick_scale
        Estimate the scale by moments instead of maximum likelihood.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.random.default_rng(0).negative_binomial(3, 0.1, (200, 2))
    >>> data = InputData.new(counts, design_loc=np.ones((200, 1)), design_scale=np.ones((200, 1)))
    >>> estimator = Estimator(data)
    >>> estimator.initialize()
    >>> estimator.train_sequence("DEFAULT")
    >>> bool(np.allclose(np.exp(estimator.par_link_loc[0]), counts.mean(axis=0)))
    True
    """

    def __init__(
        self,
        input_data: InputData,
        batch_size: int | None = None,
        init_a: Any = "AUTO",
        init_b: Any = "AUTO",
        quick_scale: bool = False,  # noqa: FBT001, FBT002
        dtype: str = "float64",
    ) -> None:
        if not isinstance(input_data, InputData):
            msg = f"`input_data` must come from `InputData.new(...)`; got {type(input_data).__name__}."
            raise InputError(msg)
        if np.dtype(dtype) not in (np.dtype("float32"), np.dtype("float64")):
            msg = f"`dtype` must be 'float64' or 'float32'; got {dtype!r}."
            raise InputError(msg)
        self.input_data = input_data
        self._init_a, self._init_b = _read_init("init_a", init_a), _read_init("init_b", init_b)
        self._quick_scale = bool(quick_scale)
        self._fit: GlmFit | None = None
        if batch_size is not None:
            no_effect("batch_size", "every step of the fit uses all observations")
        if np.dtype(dtype) == np.dtype("float32"):
            no_effect("dtype", "the fit runs in float64, in float32 the noise of the likelihood defeats convergence")

    def initialize(self) -> None:
        """Forget an earlier fit. Starting values are found as part of the fit."""
        self._fit = None

    def train_sequence(self, training_strategy: Strategy = "AUTO") -> None:
        """Fit all features. Strategies chose optimizers; here each of them ends at the maximum of the likelihood.

        Parameters
        ----------
        training_strategy
            A name, a list of dicts of arguments of `train`, or a function that is called with this estimator.
        """
        if callable(training_strategy):
            training_strategy(self)
            return
        if isinstance(training_strategy, str):
            if training_strategy.upper() not in STRATEGIES:
                msg = (
                    f"`training_strategy` must be one of {', '.join(STRATEGIES)}, a list of dicts or a function; got "
                    f"{training_strategy!r}. {did_you_mean(training_strategy.upper(), STRATEGIES)}"
                )
                raise InputError(msg)
            self.train()
            return
        if not isinstance(training_strategy, list) or not all(isinstance(step, dict) for step in training_strategy):
            msg = f"`training_strategy` must be a name, a list of dicts or a function; got {training_strategy!r}."
            raise InputError(msg)
        for step in training_strategy:
            self.train(**step)

    def train(self, *, max_iter: int = 100, tol: float = 1e-8, n_threads: int | None = None, **optimizer: Any) -> None:
        """Fit all features.

        Parameters
        ----------
        max_iter, tol, n_threads
            As in :func:`isthmus.fit_glm`.
        **optimizer
            What chose batchglm's optimizer (learning_rate, convergence_criteria, optim_algo, ...); a message says that
            it has no effect.
        """
        if optimizer:
            names = ", ".join(f"`{name}`" for name in sorted(optimizer))
            tell(f"{names}: without effect, the fit is exact and has no such setting.")
        data = self.input_data
        self._fit = fit_glm(
            data.counts,
            pd.DataFrame(data.design_loc, columns=data.design_loc_names),
            dispersion_design=pd.DataFrame(data.design_scale, columns=data.design_scale_names),
            constraints=data.constraints_loc,
            dispersion_constraints=data.constraints_scale,
            size_factors=data.size_factors,
            dispersion="moments" if self._quick_scale else "ml",
            init=self._init_a,
            dispersion_init=self._init_b,
            max_iter=max_iter,
            tol=tol,
            n_threads=n_threads,
        )

    def finalize(self) -> Estimator:
        """Return the estimator: there is no session to end."""
        self.fit  # noqa: B018  (untrained estimators say so)
        return self

    def close_session(self) -> None:
        """Do nothing: there is no session."""

    @property
    def fit(self) -> GlmFit:
        """The fit underneath: tables, tests, covariances."""
        if self._fit is None:
            msg = "The estimator is not trained yet: call `train_sequence('DEFAULT')` first."
            raise InputError(msg)
        return self._fit

    @property
    def X(self) -> Any:
        """The counts as they were given."""
        return self.input_data.X

    @property
    def design_loc(self) -> np.ndarray:
        """Observations x all location parameters."""
        return self.input_data.design_loc

    @property
    def design_scale(self) -> np.ndarray:
        """Observations x all scale parameters."""
        return self.input_data.design_scale

    @property
    def constraints_loc(self) -> np.ndarray:
        """All x free location parameters."""
        return self.fit.constraints_loc

    @property
    def constraints_scale(self) -> np.ndarray:
        """All x free scale parameters."""
        return self.fit.constraints_scale

    @property
    def par_link_loc(self) -> Labelled:
        """All location parameters x features (log mean)."""
        return self._labelled("loc", self.fit.par_link_loc, self.input_data.design_loc_names)

    @property
    def par_link_scale(self) -> Labelled:
        """All scale parameters x features (log r)."""
        return self._labelled("scale", self.fit.par_link_scale, self.input_data.design_scale_names)

    def _labelled(self, which: str, values: np.ndarray, names: list[str]) -> Labelled:
        features = {"feature_allzero": self.fit.feature_allzero, "features": self.input_data.features}
        return parameters(values, f"design_{which}_params", names, features)

    @property
    def a_var(self) -> np.ndarray:
        """Free location parameters x features."""
        return self.fit.a_var

    @property
    def b_var(self) -> np.ndarray:
        """Free scale parameters x features (log r)."""
        return self.fit.b_var

    @property
    def log_likelihood(self) -> np.ndarray:
        """One per feature, with every constant."""
        return np.asarray(self.fit.log_likelihood)

    @property
    def loss(self) -> float:
        """The mean negative log-likelihood of an entry, which batchglm printed while it trained."""
        n = self.input_data.num_observations * self.input_data.num_features
        return float(-np.nansum(self.log_likelihood) / n)

    @property
    def gradients(self) -> np.ndarray:
        """Features x free parameters: the score in (a, log r)."""
        return self.fit.jacobian

    @property
    def hessians(self) -> np.ndarray:
        """Features x free x free: second derivatives of the log-likelihood in (a, log r)."""
        return self.fit.hessian

    @property
    def fisher_inv(self) -> np.ndarray:
        """Features x free x free: covariance of the free location parameters."""
        return self.fit.fisher_inv


def _read_init(name: str, init: Any) -> Any:
    """batchglm's starting values as `fit_glm` takes them; b is log r there and log alpha here."""
    if isinstance(init, str):
        if init.upper() not in _INITS:
            msg = f"`{name}` must be 'AUTO', 'standard', 'closed_form' or an array; got {init!r}."
            raise InputError(msg)
        return _INITS[init.upper()]
    values = np.asarray(init, dtype=float)
    return -values if name == "init_b" else values

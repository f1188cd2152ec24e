"""Counts from a negative-binomial GLM, with batchglm's distributions of the parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isthmus.compat.batchglm.labelled import Labelled, parameter_names, parameters
from isthmus.errors import InputError

Draw = Callable[[tuple[int, int]], np.ndarray]


class Simulator:
    """Simulate features from designs for location and scale.

    Parameters
    ----------
    num_observations, num_features
        Cells and genes.
    seed
        Seed of the draws; None = fresh numbers. (batchglm draws from numpy's global state, which stays untouched here.)

    Examples
    --------
    >>> import numpy as np
    >>> sim = Simulator(num_observations=100, num_features=3, seed=0)
    >>> sim.parse_dmat_loc(np.ones((100, 1)))
    >>> sim.parse_dmat_scale(np.ones((100, 1)))
    >>> sim.generate_params()
    >>> sim.generate_data()
    >>> sim.X.shape
    (100, 3)
    """

    def __init__(self, num_observations: int = 2000, num_features: int = 10_000, *, seed: int | None = None) -> None:
        for name, value in (("num_observations", num_observations), ("num_features", num_features)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                msg = f"`{name}` must be a whole number of at least 1; got {value!r}."
                raise InputError(msg)
        self.num_observations, self.num_features = int(num_observations), int(num_features)
        self._random = np.random.default_rng(seed)
        self._designs: dict[str, np.ndarray] = {}
        self._parameters: dict[str, np.ndarray] = {}
        self._counts: np.ndarray | None = None

    def parse_dmat_loc(self, dmat: Any) -> None:
        """Take the design of the location model, observations x parameters."""
        self._parse("loc", dmat)

    def parse_dmat_scale(self, dmat: Any) -> None:
        """Take the design of the scale model, observations x parameters."""
        self._parse("scale", dmat)

    def _parse(self, which: str, dmat: Any) -> None:
        design = np.array(dmat, dtype=float)
        if design.ndim != 2 or len(design) != self.num_observations or not np.isfinite(design).all():
            msg = (
                f"`dmat` must be a matrix of finite numbers with one row per observation ({self.num_observations}); "
                f"got shape {design.shape}. Set `num_observations` of the Simulator, or give a design of that length."
            )
            raise InputError(msg)
        self._designs[which] = design
        self._parameters.clear()
        self._counts = None

    def generate_params(
        self,
        min_mean: float = 1.0,
        max_mean: float = 10_000.0,
        min_r: float = 1.0,
        max_r: float = 10.0,
        rand_fn: Draw | None = None,
        rand_fn_loc: Draw | None = None,
        rand_fn_scale: Draw | None = None,
    ) -> None:
        """Draw parameters: log of a uniform mean and of a uniform whole r first, then logs of `rand_fn`'s numbers.

        Parameters
        ----------
        min_mean, max_mean
            Range of the mean in counts.
        min_r, max_r
            Range of r = 1 / dispersion, rounded.
        rand_fn, rand_fn_loc, rand_fn_scale
            Functions of a shape that give positive numbers, for both models or for one; their logs are the other
            coefficients. None = uniform between 0.5 and 2.
        """
        for low, high, names in ((min_mean, max_mean, "mean"), (min_r, max_r, "r")):
            if not 0 < low <= high:
                msg = f"`min_{names}` and `max_{names}` must be positive and in order; got {low!r} and {high!r}."
                raise InputError(msg)
        shared = rand_fn or (lambda shape: self._random.uniform(0.5, 2.0, shape))
        mean = self._random.uniform(min_mean, max_mean, self.num_features)
        r = np.maximum(np.round(self._random.uniform(min_r, max_r, self.num_features)), 1.0)
        self._parameters = {
            "loc": self._with_slopes("loc", np.log(mean), rand_fn_loc or shared),
            "scale": self._with_slopes("scale", np.log(r), rand_fn_scale or shared),
        }
        self._counts = None

    def _with_slopes(self, which: str, intercept: np.ndarray, draw: Draw) -> np.ndarray:
        shape = (self._design(which).shape[1] - 1, self.num_features)
        ratios = np.asarray(draw(shape), dtype=float)
        if ratios.shape != shape or not (ratios > 0).all():
            msg = f"`rand_fn` must give positive numbers of shape {shape}; got shape {ratios.shape}."
            raise InputError(msg)
        return np.vstack([intercept, np.log(ratios)])

    def generate_data(self) -> None:
        """Draw counts from the negative binomial with these parameters."""
        mean = np.exp(self._design("loc") @ self._drawn("loc"))
        r = np.exp(self._design("scale") @ self._drawn("scale"))
        self._counts = self._random.poisson(self._random.gamma(r, mean / r))

    def generate(self) -> None:
        """Draw parameters and counts."""
        self.generate_params()
        self.generate_data()

    def _design(self, which: str) -> np.ndarray:
        if which not in self._designs:
            msg = f"The simulator has no design yet: call `parse_dmat_{which}(dmat)` first."
            raise InputError(msg)
        return self._designs[which]

    def _drawn(self, which: str) -> np.ndarray:
        if not self._parameters:
            msg = "The simulator has no parameters yet: call `generate_params()` first."
            raise InputError(msg)
        return self._parameters[which]

    @property
    def X(self) -> Labelled:
        """Counts, observations x features."""
        if self._counts is None:
            msg = "The simulator has no data yet: call `generate_data()` first."
            raise InputError(msg)
        return Labelled(self._counts, dims=("observations", "features"), name="X")

    @property
    def design_loc(self) -> np.ndarray:
        """Observations x location parameters."""
        return self._design("loc")

    @property
    def design_scale(self) -> np.ndarray:
        """Observations x scale parameters."""
        return self._design("scale")

    @property
    def par_link_loc(self) -> Labelled:
        """Location parameters x features (log mean)."""
        return self._labelled("loc", "a")

    @property
    def par_link_scale(self) -> Labelled:
        """Scale parameters x features (log r)."""
        return self._labelled("scale", "b")

    a = par_link_loc
    b = par_link_scale

    def _labelled(self, which: str, name: str) -> Labelled:
        values = self._drawn(which)
        return parameters(values, f"design_{which}_params", parameter_names(len(values)), name=name)

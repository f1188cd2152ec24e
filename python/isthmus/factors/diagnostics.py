"""Is the model right? Tests of its one-step errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from isthmus import schema
from isthmus.factors import kernel
from isthmus.factors.blocks import whole
from isthmus.factors.forecast import check_fit
from isthmus.factors.statespace import build, innovations
from isthmus.factors.tables import fitted_batches

if TYPE_CHECKING:
    from isthmus.factors.fitted import Fitted
    from isthmus.factors.result import FactorFit


def standardised_innovations(one: Fitted) -> np.ndarray:
    """``(T, N)``: one-step forecast errors divided by their standard deviations; NaN where nothing was observed."""
    if one.estimate.initial is not None:
        return innovations(one.y, build(one.estimate.params, one.spec, initial=one.estimate.initial))
    found = kernel.states(one.y, one.spec, one.estimate.params)
    return found.innovations / np.sqrt(found.innovation_var)


def diagnostics(fit: FactorFit, lags: int = 4) -> pd.DataFrame:
    """Test each series' standardised innovations e_t, which are white and standard normal if the model holds.

    Ljung-Box: n (n + 2) sum_k r_k^2 / (n - k) over `lags` autocorrelations, chi-square with `lags` degrees of freedom
    (the parameters' estimation is not allowed for); of a quarterly series, over quarters (Ljung & Box 1978).
    Jarque-Bera: n/6 (skewness^2 + excess kurtosis^2 / 4), chi-square with 2 (Jarque & Bera 1980).

    Parameters
    ----------
    fit
        A fit of `fit_factors`.
    lags
        Autocorrelations that Ljung-Box sums.

    Returns
    -------
    DataFrame
        batch, series, n, mean, sd, ljung_box, ljung_box_pval, jarque_bera, jarque_bera_pval. A series that was left out
        of a batch has no row.

    Raises
    ------
    InputError
        `fit` is no FactorFit; `lags` is not a whole number, 1 or more.

    Examples
    --------
    >>> from isthmus.factors import fit_factors
    >>> from isthmus.testing import simulate_panel
    >>> fit = fit_factors(simulate_panel(80, 6, seed=1), factors=1)
    >>> diagnostics(fit)["sd"].round().tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    check_fit(fit)
    lags = whole(lags, "lags", 1)
    found: dict[str, list[Any]] = {name: [] for name in schema.DIAGNOSTICS}
    for text, one in fitted_batches(fit):
        errors = standardised_innovations(one)
        for i, name in enumerate(one.names):
            e = errors[~np.isnan(errors[:, i]), i] if one.spec.quarterly[i] else errors[:, i]
            box, bera, n = _ljung_box(e, lags), _jarque_bera(e[~np.isnan(e)]), int((~np.isnan(e)).sum())
            row = (
                text,
                name,
                n,
                np.nanmean(e),
                np.nanstd(e),
                box,
                stats.chi2.sf(box, lags),
                bera,
                stats.chi2.sf(bera, 2),
            )
            for column, value in zip(found.values(), row, strict=True):
                column.append(value)
    return schema.frame(schema.DIAGNOSTICS, {name: np.array(values) for name, values in found.items()})


def _ljung_box(e: np.ndarray, lags: int) -> float:
    """Pairs with a missing value are left out of each autocorrelation."""
    n, e = int((~np.isnan(e)).sum()), e - np.nanmean(e)
    total = np.nansum(e**2)
    return float(
        sum(n * (n + 2) * (np.nansum(e[k:] * e[:-k]) / total) ** 2 / (n - k) for k in range(1, lags + 1) if n > k)
    )


def _jarque_bera(e: np.ndarray) -> float:
    return float(len(e) / 6 * (stats.skew(e) ** 2 + stats.kurtosis(e) ** 2 / 4))

"""Native expression of the cells of a fit, as its network decodes it.

What one can ask of a fit of ``remove_ambient(method="scar")``; none of it needs torch, scvi-tools or the input data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from isthmus.ambient.profile import is_number
from isthmus.ambient.scar.asking import frame_of, places, posterior_of, samples, whole
from isthmus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scipy import sparse

    from isthmus.ambient.result import AmbientFit


def normalized_expression(
    fit: AmbientFit,
    *,
    genes: Iterable[str] | None = None,
    library_size: float | Literal["latent"] = 1.0,
    n_samples: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Native expression of each cell as the network decodes it, p, on a common library size.

    Parameters
    ----------
    fit
        A fit of ``remove_ambient(method="scar")``.
    genes
        Those wanted; None: all. They are normalised together with the others: all genes sum to `library_size`.
    library_size
        What a cell sums to; "latent": its own counts.
    n_samples
        Draws of z that are averaged; None: at the mean of z.
    seed
        Of the draws.

    Returns
    -------
    DataFrame
        Cells x genes.

    Raises
    ------
    InputError
        Unknown genes; a library size that is no positive number.
    """
    from isthmus.ambient.scar.expression import native, over_draws

    posterior, place = posterior_of(fit), places(fit, genes)
    if library_size != "latent" and not (is_number(library_size) and library_size > 0):
        msg = f"`library_size` must be a number above 0 or 'latent'; got {library_size!r}."
        raise InputError(msg)
    size = posterior.library[:, None] if library_size == "latent" else float(library_size)
    p = over_draws(posterior, native(place), samples(n_samples), seed)
    return frame_of(fit, p.astype(float) * size, place)


def likelihood_parameters(fit: AmbientFit, *, n_samples: int | None = None, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Parameters of p(x | z), each a frame of cells x genes.

    Parameters
    ----------
    fit
        A fit of ``remove_ambient(method="scar")``.
    n_samples, seed
        Draws of z that are averaged (None: at the mean of z), and their seed.

    Returns
    -------
    dict
        ``mean``: N (1 - rho) p, of the native counts; ``ambient``: N rho a, of the others; ``dispersions``: r of "nb"
        and "zinb" (Var = mu + mu^2 / r); ``dropout``: probability of a zero beyond that, of "zinb".
    """
    from isthmus.ambient.scar.expression import parameters

    found = parameters(posterior_of(fit), samples(n_samples), seed)
    return {name: frame_of(fit, values, np.arange(fit.n_genes)) for name, values in found.items()}


def feature_correlation_matrix(
    fit: AmbientFit,
    *,
    genes: Iterable[str] | None = None,
    n_samples: int = 10,
    rna_size_factor: float = 1_000.0,
    correlation_type: Literal["spearman", "pearson"] = "spearman",
    seed: int = 0,
) -> pd.DataFrame:
    """Correlation of the genes' native expression over cells and draws of z.

    Parameters
    ----------
    fit
        A fit of ``remove_ambient(method="scar")``.
    genes
        Those wanted; None: all.
    n_samples, seed
        Draws of each cell, and their seed.
    rna_size_factor
        For "nb" and "zinb", which draw expression from a gamma distribution of mean `rna_size_factor` p: a larger value
        makes its noise count for more.
    correlation_type
        "spearman" or "pearson".

    Returns
    -------
    DataFrame
        Genes x genes; NaN where a gene does not vary.
    """
    from isthmus.ambient.scar.expression import correlations

    if correlation_type not in ("spearman", "pearson"):
        msg = f"`correlation_type` must be 'spearman' or 'pearson'; got {correlation_type!r}."
        raise InputError(msg)
    if not (is_number(rna_size_factor) and rna_size_factor > 0):
        msg = f"`rna_size_factor` must be a number above 0; got {rna_size_factor!r}."
        raise InputError(msg)
    place, n = places(fit, genes), whole("n_samples", n_samples)
    values = correlations(posterior_of(fit), place, n, float(rna_size_factor), correlation_type, seed)
    return pd.DataFrame(values, index=fit.gene_names[place], columns=fit.gene_names[place])


def posterior_predictive_sample(
    fit: AmbientFit, *, n_samples: int = 1, seed: int = 0
) -> sparse.csr_matrix | list[sparse.csr_matrix]:
    """Native counts drawn anew from the model: z from q(z | x), then counts from p(x | z) without its ambient part.

    Parameters
    ----------
    fit
        A fit of ``remove_ambient(method="scar")``.
    n_samples, seed
        How many matrices to draw, and their seed.

    Returns
    -------
    csr_matrix or list of them
        Cells x genes; one matrix, or a list where `n_samples` is more than 1.
    """
    from isthmus.ambient.scar.expression import predictive

    drawn = predictive(posterior_of(fit), whole("n_samples", n_samples), seed)
    return drawn[0] if len(drawn) == 1 else drawn

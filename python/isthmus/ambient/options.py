"""The arguments of remove_ambient, checked one by one and read into what the model needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.ambient.profile import is_number
from isthmus.ambient.reading import positions_of, read_column
from isthmus.data.wording import did_you_mean, plural, some
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.data.counts import Counts

_NETWORK_ONLY = "n_hidden, n_latent, n_layers, dropout_rate, latent_distribution, scale_activation, trainer"


# What the arguments that only the network has are by default.
_OF_THE_NETWORK: dict[str, Any] = {
    "likelihood": "binomial",
    "sparsity": 0.9,
    "early_stopping": True,
    "accelerator": "auto",
}


def changed_for_the_network(**given: Any) -> dict[str, Any]:
    """Those of the network's own arguments that were given something else than their default."""
    return {name: value for name, value in given.items() if not np.array_equal(value, _OF_THE_NETWORK[name])}


def check_method(method: str, network_options: Mapping[str, Any]) -> None:
    """`method` names a method that is there; options of the network go with the network alone."""
    if method not in ("em", "scar"):
        msg = f"`method` must be 'em' or 'scar'; got {method!r}."
        raise InputError(msg)
    if method == "em" and network_options:
        msg = (
            f'`{next(iter(network_options))}` is no argument of remove_ambient with method="em"; the options of the '
            f'network ({_NETWORK_ONLY}) go with method="scar". Leave it out.'
        )
        raise InputError(msg)


def check_choices(n_clusters: Any, fpr: Any, likelihood: str, max_epochs: Any, seed: Any) -> None:
    """Numbers and choices that need no data."""
    if n_clusters != "auto" and not (_is_whole(n_clusters) and n_clusters >= 1):
        msg = f"`n_clusters` must be 'auto' or a whole number of at least 1; got {n_clusters!r}."
        raise InputError(msg)
    if fpr is not None and not (is_number(fpr) and 0 < fpr < 1):
        msg = f"`fpr` must lie between 0 and 1 (share of native counts that may be removed), or be None; got {fpr!r}."
        raise InputError(msg)
    if likelihood not in ("binomial", "b", "nb", "zinb", "poisson"):
        msg = f"`likelihood` must be 'binomial', 'nb', 'zinb' or 'poisson'; got {likelihood!r}."
        raise InputError(msg)
    if max_epochs is not None and not (_is_whole(max_epochs) and max_epochs >= 1):
        msg = f"`max_epochs` must be a whole number of at least 1, or None; got {max_epochs!r}."
        raise InputError(msg)
    if not (_is_whole(seed) and seed >= 0):
        msg = f"`seed` must be a whole number of at least 0; got {seed!r}."
        raise InputError(msg)


def _is_whole(value: Any) -> bool:
    return is_number(value) and float(value).is_integer()


def read_given_profile(profile: Any, cells: Counts, batches: np.ndarray, varm: Any = None) -> dict[str, np.ndarray]:
    """A profile in any of its forms: ``prob``, ``count`` ``(n_batches, n_genes)`` and ``n_empty`` ``(n_batches,)``.

    A frame with columns gene and prob (and batch), a Series by gene: matched by name. A vector: in the cells' order of
    genes. Probabilities are scaled to sum to 1 over the genes of `cells`.
    """
    if isinstance(profile, str):
        profile = column_of_genes(profile, varm)
    if isinstance(profile, pd.Series):
        profile = pd.DataFrame({"gene": profile.index.astype(str), "prob": profile.to_numpy()})
    if isinstance(profile, pd.DataFrame):
        return _from_frame(profile, cells, batches)
    prob = np.asarray(profile, dtype=np.float64).reshape(-1)
    if len(prob) != cells.n_genes:
        msg = (
            f"`profile` as a vector must have one probability per gene of `cells` ({cells.n_genes:,}); got "
            f"{len(prob):,}. Pass a Series or the table of ambient_profile(): these are matched by name."
        )
        raise InputError(msg)
    rows = np.tile(_scaled(prob), (len(batches), 1))
    return _given(rows, np.full_like(rows, np.nan), np.zeros(len(batches)))


def column_of_genes(name: str, adata: Any) -> Any:
    """A column of ``var``, or the first of an entry of ``varm``, by gene."""
    var, varm = getattr(adata, "var", None), getattr(adata, "varm", {})
    if var is not None and name in var:
        return pd.Series(var[name].to_numpy(), index=adata.var_names)
    if name in varm:
        values = varm[name]
        first = values.iloc[:, 0].to_numpy() if isinstance(values, pd.DataFrame) else np.asarray(values)
        return pd.Series(first.reshape(len(adata.var_names), -1)[:, 0], index=adata.var_names)
    known = [*map(str, () if var is None else var.columns), *varm]
    msg = f"`profile` as text must be a column of `var` or a key of `varm` of `cells`; got '{name}'. "
    raise InputError(msg + did_you_mean(name, known))


def _from_frame(profile: pd.DataFrame, cells: Counts, batches: np.ndarray) -> dict[str, np.ndarray]:
    if "prob" not in profile or "gene" not in profile:
        if profile.shape[1] != 1:
            msg = f"`profile` must have the columns gene and prob (and batch); got {some(profile.columns[:4])}."
            raise InputError(msg)
        profile = pd.DataFrame({"gene": profile.index.astype(str), "prob": profile.iloc[:, 0].to_numpy()})
    if "batch" not in profile or profile["batch"].nunique() == 1:
        parts = dict.fromkeys(batches, profile)
    else:
        parts = {level: part for level, part in profile.groupby(profile["batch"].astype(str), sort=False)}
        lacking = [level for level in batches if level not in parts]
        if lacking:
            msg = (
                f"`profile` must hold every batch of `cells`; it lacks {some(lacking)}. Its batches are: "
                f"{some(parts)}. Pass `batch`, or estimate those too."
            )
            raise InputError(msg)
    prob = np.zeros((len(batches), cells.n_genes))
    count, n_empty = np.full_like(prob, np.nan), np.zeros(len(batches))
    for b, level in enumerate(batches):
        part = parts[level]
        place = _places(part, cells)
        prob[b] = _scaled(np.where(place >= 0, part["prob"].to_numpy(float)[np.maximum(place, 0)], 0.0))
        if "count" in part:
            count[b] = np.where(place >= 0, part["count"].to_numpy(float)[np.maximum(place, 0)], 0.0)
        if "n_empty" in part:
            n_empty[b] = float(part["n_empty"].iloc[0])
    return _given(prob, count, n_empty)


def _places(part: pd.DataFrame, cells: Counts) -> np.ndarray:
    names = part["gene"].astype(str).to_numpy(dtype=object)
    twice = pd.Index(names).duplicated()
    if twice.any():
        msg = (
            f"`profile` must name each gene once per batch; got {plural(int(twice.sum()), 'duplicated name')} "
            f"({some(names[twice])})."
        )
        raise InputError(msg)
    return positions_of(cells.gene_names, names, "profile")


def _scaled(prob: np.ndarray) -> np.ndarray:
    if not np.isfinite(prob).all() or (prob < 0).any() or prob.sum() <= 0:
        msg = (
            f"`profile` must hold finite probabilities >= 0 that do not all vanish; got "
            f"{int((~(np.isfinite(prob) & (prob >= 0))).sum())} others, sum {np.nansum(prob):.6g}."
        )
        raise InputError(msg)
    return prob / prob.sum()


def _given(prob: np.ndarray, count: np.ndarray, n_empty: np.ndarray) -> dict[str, np.ndarray]:
    return {"prob": prob, "count": count, "n_empty": n_empty.astype(np.int32)}


def read_rho(rho: Any, cells: Counts) -> float | np.ndarray | None:
    """None, one share for the mean of every cluster, or one per cell."""
    if rho is None:
        return None
    if is_number(rho):
        if 0 <= rho < 1:
            return float(rho)
        msg = f"`rho` must lie in [0, 1); got {rho!r}."
        raise InputError(msg)
    if isinstance(rho, str):
        rho = read_column(rho, cells, "rho")
    try:
        shares = np.asarray(rho, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        msg = f"`rho` must be one share, one per cell or a column name; got {type(rho).__name__}."
        raise InputError(msg) from None
    if len(shares) != cells.n_cells:
        msg = f"`rho` must be one share, or one per cell ({cells.n_cells:,}); got {len(shares):,}."
        raise InputError(msg)
    if not ((shares >= 0) & (shares < 1)).all():
        msg = f"`rho` must lie in [0, 1); got {plural(int((~((shares >= 0) & (shares < 1))).sum()), 'value')} outside."
        raise InputError(msg)
    return shares


def read_markers(markers: Any, cells: Counts) -> dict[str, np.ndarray] | None:
    """Marker sets as positions of genes; a plain list of genes is one set."""
    if markers is None:
        return None
    sets = dict(markers) if isinstance(markers, Mapping) else {"markers": markers}
    if not sets:
        msg = "`markers` must hold at least one set of genes; got none."
        raise InputError(msg)
    index, out = pd.Index(cells.gene_names), {}
    for name, genes in sets.items():
        names = [genes] if isinstance(genes, str) else [str(gene) for gene in genes]
        place = index.get_indexer(pd.Index(names, dtype=object))
        if not len(names) or (place < 0).any():
            wrong = [gene for gene, at in zip(names, place, strict=True) if at < 0]
            found = f"{plural(len(wrong), 'name')} unknown ({some(wrong)})" if wrong else "an empty set"
            msg = f"`markers` must name genes of `cells`; set '{name}' has {found}. Drop or correct them."
            raise InputError(msg)
        out[str(name)] = np.unique(place)
    return out

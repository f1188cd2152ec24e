"""Tissues with planted interactions, and how much of them a fit recovers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial import cKDTree

from isthmus import schema, seeds
from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError
from isthmus.testing.counts import _whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_AREA = 120.0  # of a cell, so that 3,000 cells fill 600 x 600
_MARKERS, _MARKER_FACTOR = 12, 4.0
_DEPTH_SD = 0.25  # of the log of a cell's depth
_LEAST_RATE = 0.5  # of a planted gene: an effect on a gene without counts could not be seen
_COUNTS = 200.0  # every cell's total before the logarithm
_WAVES = 128  # cosines that make a random field


@dataclass(frozen=True)
class _Interaction:
    sender: str
    receiver: str
    kind: str = "contact"
    radius: float = 8.0
    effect: float = 1.5
    n_genes: int = 15


def simulate_interactions(
    n_cells: int = 3_000,
    n_genes: int = 150,
    *,
    types: Sequence[str] = ("A", "B", "C"),
    proportions: Sequence[float] | None = None,
    interactions: Any = None,
    layout: Literal["random", "patches"] = "random",
    n_samples: int = 1,
    sample_sd: float = 0.0,
    field_range: float | None = None,
    field_sd: float = 0.5,
    seed: int | None = None,
) -> AnnData:
    """Draw cells in a plane whose neighbours change their expression, with the truth.

    1. Each sample is a square with 120 square units a cell; cells lie uniformly in it, with types at random or in
       patches.
    2. log rate of a gene = its type's level (12 markers a type are 4 times higher) + sample effect + random field.
    3. A planted interaction adds effect x response to its genes in its receivers: response is 1 within `radius` of the
       nearest sender, else 0 ("contact"), or exp(-distance / radius) ("gradient").
    4. Counts are Poisson with a log-normal depth (sd 0.25); X = log(1 + 200 x share of the cell's counts).

    Shares sum to 1: where planted genes rise, X of every other gene falls a little, and a good test finds that.
    ``planted`` marks the genes whose rate was changed. For X in which nothing else changes divide ``layers["counts"]``
    by the counts of the other genes, ``counts[:, ~adata.var["planted"]].sum(axis=1)``.

    Parameters
    ----------
    n_cells, n_genes
        Cells of all samples together; genes.
    types, proportions
        Names and shares of the types. None: 40 % the first, the others alike.
    interactions
        A DataFrame, or one dict each: sender, receiver, kind ("contact" or "gradient"), radius, effect (natural log),
        n_genes (drawn at random). What is left out has the default's value. None: the second type acts on the first,
        by contact within 8 units, exp(1.5) times in 15 genes. (): none, a null tissue.
    layout
        "random": types independent of place. "patches": types in patches about 100 units wide.
    n_samples
        Samples that lie over each other: their coordinates overlap.
    sample_sd
        Standard deviation of samples' effects on each gene, natural log.
    field_range, field_sd
        Where not None: each type and gene has a smooth Gaussian random field of its own, with this standard deviation
        and a correlation that falls to 0.05 at `field_range`: variation in space without interaction.
    seed
        None: fresh.

    Returns
    -------
    AnnData
        ``X`` float32; ``layers["counts"]``; ``obs`` cell_type, sample; ``obsm["spatial"]``; ``obsm["response"]``
        (cells x interactions, 0 outside of the receivers); ``var["planted"]``. ``uns["simulate_interactions"]``: a
        DataFrame with a row for each planted gene, receiver, sender, gene, kind, radius, effect.

    Raises
    ------
    InputError
        Sizes below 1, fewer than 2 types, shares that do not sum to 1, unknown types, kinds or fields.

    Examples
    --------
    >>> tissue = simulate_interactions(200, 30, seed=1)
    >>> tissue.shape, int(tissue.var["planted"].sum()), len(tissue.uns["simulate_interactions"])
    ((200, 30), 15, 15)
    """
    from anndata import AnnData

    n_cells, n_genes = _whole(n_cells, "n_cells"), _whole(n_genes, "n_genes")
    names = _types(types)
    planned = _interactions(interactions, names, n_genes)
    _check_numbers(sample_sd=sample_sd, field_sd=field_sd, field_range=field_range)
    rng = seeds.generator(seed)
    sample = np.sort(np.arange(n_cells) % _whole(n_samples, "n_samples"))
    places = rng.uniform(size=(n_cells, 2)) * np.sqrt(_AREA * np.bincount(sample))[sample, None]
    kinds = _draw_types(rng, places, sample, _proportions(proportions, len(names)), layout)
    rate = _levels(rng, len(names), n_genes)[kinds]
    if sample_sd > 0:
        rate *= np.exp(rng.normal(0, sample_sd, (sample[-1] + 1, n_genes)))[sample]
    if field_range is not None:
        rate *= np.exp(field_sd * _fields(rng, places, kinds, sample, n_genes, field_range))
    response, truth = _plant(rng, rate, planned, places, kinds, sample, names)
    counts = rng.poisson(rate * rng.lognormal(0, _DEPTH_SD, n_cells)[:, None])
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.array(names)[kinds], categories=list(names)),
            "sample": pd.Categorical([f"sample{s + 1}" for s in sample]),
        },
        index=[f"cell{i + 1}" for i in range(n_cells)],
    )
    genes = [f"gene{i + 1}" for i in range(n_genes)]
    adata = AnnData(np.log1p(_COUNTS * counts / total).astype(np.float32), obs=obs, var=pd.DataFrame(index=genes))
    adata.var["planted"] = np.isin(np.arange(n_genes), truth["gene"])
    adata.layers["counts"] = sparse.csr_matrix(counts.astype(np.float32))
    adata.obsm["spatial"], adata.obsm["response"] = places, response
    truth["gene"] = np.array(genes, dtype=object)[truth["gene"].to_numpy(dtype=np.int64)]
    adata.uns["simulate_interactions"] = truth
    return adata


def recovery(fit: Any, truth: AnnData | pd.DataFrame, *, fdr: float = 0.05) -> pd.DataFrame:
    """What a fit's tests find of the planted interactions.

    Parameters
    ----------
    fit
        What `fit_interactions` made of the tissue.
    truth
        What `simulate_interactions` returned, or a frame with a row for each planted receiver, sender and gene.
    fdr
        A gene is found with padj below this.

    Returns
    -------
    DataFrame
        One row for each receiver and sender: planted, pval, padj, n_planted, n_found, n_false, fdp, auc (of the
        effects' absolute values). What was not planted counts as false here, though it may be true of the values:
        genes whose shares fall where the planted rise, and pairs whose sender tells where a planted sender is.

    Raises
    ------
    InputError
        `truth` holds none, or other cell types than the fit; `fit` is none.
    """
    from isthmus.interaction.checks import check_fit

    check_fit(fit)
    planted = _truth(truth)
    unknown = sorted({*planted["receiver"], *planted["sender"]} - {*fit.types})
    if unknown:
        msg = f"`truth` must name cell types of the fit ({', '.join(map(repr, fit.types))}); got {unknown}."
        raise InputError(msg)
    effects = fit.table("neighbor_effects")
    pairs = effects[effects["gene"].isna()]
    rows = []
    for receiver, sender, pval, padj in pairs[["receiver", "sender", "pval", "padj"]].itertuples(index=False):
        here = (planted["receiver"] == receiver) & (planted["sender"] == sender)
        own = effects[(effects["receiver"] == receiver) & (effects["sender"] == sender) & effects["gene"].notna()]
        is_planted = own["gene"].isin(planted["gene"][here]).to_numpy()
        found = (own["padj"] < fdr).to_numpy()
        n_found, n_false = int((found & is_planted).sum()), int((found & ~is_planted).sum())
        rows.append(
            {
                "receiver": receiver,
                "sender": sender,
                "planted": bool(here.any()),
                "pval": pval,
                "padj": padj,
                "n_planted": int(is_planted.sum()),
                "n_found": n_found,
                "n_false": n_false,
                "fdp": n_false / max(1, n_found + n_false),
                "auc": _auc(own["effect"].abs().to_numpy(), is_planted),
            }
        )
    return schema.frame(schema.RECOVERY, {name: np.array([row[name] for row in rows]) for name in schema.RECOVERY})


def _truth(truth: Any) -> pd.DataFrame:
    table = truth if isinstance(truth, pd.DataFrame) else getattr(truth, "uns", {}).get("simulate_interactions")
    if not isinstance(table, pd.DataFrame) or not {"receiver", "sender", "gene"} <= set(table.columns):
        msg = (
            "`truth` must be what simulate_interactions() returned, or a DataFrame with the columns receiver, sender "
            f"and gene; got {type(truth).__name__}."
        )
        raise InputError(msg)
    return table


def _auc(values: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive's value exceeds another's; ties count half."""
    known = ~np.isnan(values)
    values, positive = values[known], positive[known]
    n_positive = int(positive.sum())
    if n_positive in (0, len(values)):
        return float("nan")
    ranks = pd.Series(values).rank().to_numpy()
    return float(
        (ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * (len(values) - n_positive))
    )


# ---- what was asked for -------------------------------------------------------------------------------------------


def _types(types: Sequence[str]) -> tuple[str, ...]:
    names = tuple(str(name) for name in types)
    if len(names) < 2 or len(set(names)) < len(names):
        msg = f"`types` must be two or more different names; got {names}."
        raise InputError(msg)
    return names


def _proportions(proportions: Sequence[float] | None, n_types: int) -> np.ndarray:
    if proportions is None:
        return np.array([0.4] + [0.6 / (n_types - 1)] * (n_types - 1))
    shares = np.asarray(proportions, dtype=np.float64)
    if shares.shape != (n_types,) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        msg = f"`proportions` must be one positive share per type ({n_types}) that sum to 1; got {proportions!r}."
        raise InputError(msg)
    return shares / shares.sum()


def _check_numbers(*, sample_sd: float, field_sd: float, field_range: float | None) -> None:
    if not (sample_sd >= 0 and field_sd >= 0 and (field_range is None or field_range > 0)):
        msg = (
            "`sample_sd` and `field_sd` must be 0 or more, `field_range` positive or None; got "
            f"{sample_sd!r}, {field_sd!r}, {field_range!r}."
        )
        raise InputError(msg)


def _interactions(given: Any, names: tuple[str, ...], n_genes: int) -> list[_Interaction]:
    if given is None:
        given = [{"sender": names[1], "receiver": names[0], "n_genes": min(15, n_genes)}]
    rows = given.to_dict("records") if isinstance(given, pd.DataFrame) else list(given)
    return [_interaction(dict(row), names, n_genes) for row in rows]


def _interaction(row: dict[str, Any], names: tuple[str, ...], n_genes: int) -> _Interaction:
    known = [field.name for field in fields(_Interaction)]
    for name in row:
        if name not in known:
            msg = f"`interactions` has an unknown field '{name}'. " + did_you_mean(str(name), known)
            raise InputError(msg)
    if not {"sender", "receiver"} <= set(row):
        msg = f"`interactions` must each name a sender and a receiver; got {row!r}."
        raise InputError(msg)
    one = _Interaction(**row)
    for role in (one.sender, one.receiver):
        if role not in names:
            msg = f"`interactions` must be between the types {names}; got '{role}'."
            raise InputError(msg)
    if one.kind not in ("contact", "gradient") or not one.radius > 0 or not 1 <= one.n_genes <= n_genes:
        msg = (
            "`interactions` must be of kind 'contact' or 'gradient', with a positive radius and 1 to "
            f"{n_genes} genes; got {one.kind!r}, {one.radius!r}, {one.n_genes!r}."
        )
        raise InputError(msg)
    return one


# ---- draws --------------------------------------------------------------------------------------------------------


def _draw_types(
    rng: np.random.Generator, places: np.ndarray, sample: np.ndarray, shares: np.ndarray, layout: str
) -> np.ndarray:
    if layout == "random":
        return rng.choice(len(shares), len(places), p=shares)
    if layout != "patches":
        msg = f"`layout` must be 'random' or 'patches'; got {layout!r}."
        raise InputError(msg)
    nothing = np.zeros(len(places), dtype=np.int64)
    heights = _fields(rng, places, nothing, sample, len(shares), 100.0) + rng.gumbel(0, 0.4, (len(places), len(shares)))
    return np.asarray(np.argmax(heights + np.log(shares), axis=1))


def _levels(rng: np.random.Generator, n_types: int, n_genes: int) -> np.ndarray:
    """``(n_types, n_genes)`` rates."""
    levels = rng.gamma(0.6, 1.0, (n_types, n_genes))
    for kind in range(n_types):
        levels[kind, rng.choice(n_genes, min(_MARKERS, max(1, n_genes // 4)), replace=False)] *= _MARKER_FACTOR
    return levels


def _fields(
    rng: np.random.Generator,
    places: np.ndarray,
    kinds: np.ndarray,
    sample: np.ndarray,
    n_genes: int,
    field_range: float,
) -> np.ndarray:
    """``(n_cells, n_genes)`` Gaussian fields of variance 1, independent between types, genes and samples.

    Sums of cosines with normal frequencies have the correlation exp(-d^2 / (2 l^2)) (Rahimi & Recht 2007); at the range
    it is 0.05.
    """
    length = field_range / np.sqrt(-2 * np.log(0.05))
    out = np.empty((len(places), n_genes))
    group = sample * (int(kinds.max()) + 1) + kinds
    for code in np.unique(group):
        rows = np.flatnonzero(group == code)
        for gene in range(n_genes):
            frequency, phase = rng.normal(size=(_WAVES, 2)) / length, rng.uniform(0, 2 * np.pi, _WAVES)
            out[rows, gene] = np.sqrt(2 / _WAVES) * np.cos(places[rows] @ frequency.T + phase).sum(axis=1)
    return out


def _plant(
    rng: np.random.Generator,
    rate: np.ndarray,
    planned: list[_Interaction],
    places: np.ndarray,
    kinds: np.ndarray,
    sample: np.ndarray,
    names: tuple[str, ...],
) -> tuple[np.ndarray, pd.DataFrame]:
    """Change `rate` in place; responses ``(n_cells, n_interactions)`` and a row for each planted gene (as a number)."""
    response, truth = np.zeros((len(rate), len(planned))), []
    for column, one in enumerate(planned):
        genes = np.sort(rng.choice(rate.shape[1], one.n_genes, replace=False))
        receivers = kinds == names.index(one.receiver)
        senders = kinds == names.index(one.sender)
        distance = _nearest(places, sample, receivers, senders)
        felt = distance < one.radius if one.kind == "contact" else np.exp(-distance / one.radius)
        response[receivers, column] = felt
        rate[:, genes] = np.maximum(rate[:, genes], _LEAST_RATE)
        rate[np.ix_(receivers, genes)] *= np.exp(one.effect * response[receivers, column])[:, None]
        truth += [
            (one.receiver, one.sender, int(gene), one.kind, float(one.radius), float(one.effect)) for gene in genes
        ]
    columns = ["receiver", "sender", "gene", "kind", "radius", "effect"]
    return response, pd.DataFrame(truth, columns=columns).astype({"gene": np.int64})


def _nearest(places: np.ndarray, sample: np.ndarray, receivers: np.ndarray, senders: np.ndarray) -> np.ndarray:
    """Distance of each receiver to the nearest other sender of its sample; inf where there is none."""
    out = np.full(len(places), np.inf)
    for code in np.unique(sample):
        to, who = np.flatnonzero(receivers & (sample == code)), np.flatnonzero(senders & (sample == code))
        if len(to) and len(who):
            apart, place = cKDTree(places[who]).query(places[to], k=[1, 2])
            itself = place[:, 0] < len(who)
            itself &= who[np.minimum(place[:, 0], len(who) - 1)] == to
            out[to] = np.where(itself, apart[:, 1], apart[:, 0])
    return out[receivers]

"""AMICI: the model's constructor, set-up and training, over `isthmus.fit_interactions`."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isthmus.data.wording import did_you_mean
from isthmus.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from isthmus.compat.amici.ablation import AMICIAblationModule
    from isthmus.compat.amici.attention import AMICIAttentionModule
    from isthmus.compat.amici.counterfactual import AMICICounterfactualAttentionModule
    from isthmus.compat.amici.explained_variance import AMICIExplainedVarianceModule
    from isthmus.interaction.result import InteractionFit

_NEIGHBORS = 30


@dataclass(frozen=True)
class AttentionPenaltyMonitor:
    """A callback for `AMICI.train`: the attention penalty rises from `start_val` to `end_val` between two epochs.

    It takes the place of the constructor's ``attention_penalty_coef``; before `epoch_start` there is no penalty.
    """

    epoch_start: int = 10
    epoch_end: int = 30
    start_val: float = 1e-4
    end_val: float = 1e-3
    flavor: Literal["linear", "log"] = "linear"


@dataclass(frozen=True)
class _Setup:
    """What `AMICI.setup_anndata` was told."""

    layer: str | None
    labels_key: str
    coord_obsm_key: str
    cell_radius_key: str | None
    n_neighbors: int
    sample_key: str | None


# What was said about an AnnData is kept here, not in it. The reference tells whether an id still means the same object.
_setups: dict[int, tuple[weakref.ref[Any], _Setup]] = {}


class AMICI:
    """The model of an AnnData.

    Parameters
    ----------
    adata
        An AnnData that `setup_anndata` has seen.
    n_label_embed, n_query_embed_hidden, n_query_dim, n_nn_embed, n_nn_embed_hidden, n_pos_coef_mlp_hidden
        Sizes of the network: ``type_size``, ``query_hidden``, ``query_size``, ``embedding_size``, ``embedding_hidden``
        and ``kernel_hidden`` of `fit_interactions`.
    n_kv_dim
        Accepted; here keys and values come straight from the embedding.
    n_head_size, n_heads, neighbor_dropout
        As there.
    attention_dummy_score, pos_coef_offset, distance_kernel_unit_scale
        ``empty_score``, ``kernel_offset``, ``distance_unit``.
    attention_penalty_coef, value_l1_penalty_coef
        ``attention_penalty``, ``value_l1``.

    Raises
    ------
    InputError
        `setup_anndata` has not seen this object.
    """

    def __init__(
        self,
        adata: AnnData,
        *,
        n_label_embed: int = 32,
        n_kv_dim: int = 256,
        n_query_embed_hidden: int = 512,
        n_query_dim: int = 64,
        n_nn_embed: int = 256,
        n_nn_embed_hidden: int = 1024,
        n_pos_coef_mlp_hidden: int = 512,
        n_head_size: int = 16,
        n_heads: int = 4,
        neighbor_dropout: float = 0.1,
        attention_dummy_score: float = 3.0,
        attention_penalty_coef: float = 0.0,
        value_l1_penalty_coef: float = 0.0,
        pos_coef_offset: float = -2.0,
        distance_kernel_unit_scale: float = 1.0,
    ) -> None:
        self.adata = adata
        self._setup = _setup_of(adata)
        self._fit: InteractionFit | None = None
        self._network = {
            "type_size": n_label_embed,
            "query_hidden": n_query_embed_hidden,
            "query_size": n_query_dim,
            "embedding_size": n_nn_embed,
            "embedding_hidden": n_nn_embed_hidden,
            "kernel_hidden": n_pos_coef_mlp_hidden,
            "head_size": n_head_size,
            "n_heads": n_heads,
            "neighbor_dropout": neighbor_dropout,
            "empty_score": attention_dummy_score,
            "attention_penalty": attention_penalty_coef,
            "value_l1": value_l1_penalty_coef,
            "kernel_offset": pos_coef_offset,
            "distance_unit": distance_kernel_unit_scale,
        }

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        layer: str | None = None,
        labels_key: str | None = None,
        coord_obsm_key: str | None = None,
        nn_dist_key: str = "_nn_dist",
        nn_idx_key: str = "_nn_idx",
        cell_radius_key: str | None = None,
        n_neighbors: int | None = None,
        *,
        sample_key: str | None = None,
    ) -> None:
        """Say where the types and the places are. Nothing is written into `adata`.

        Parameters
        ----------
        labels_key, coord_obsm_key
            A column of ``obs``; a key of ``obsm``.
        nn_dist_key, nn_idx_key
            Accepted; neighbours are kept by the fit, not in ``obsm``.
        cell_radius_key
            A column of ``obs``: radii are taken off distances.
        n_neighbors
            None: 30. A number left in ``uns`` by another call plays no part.
        sample_key
            A column of ``obs``: neighbours never cross samples.

        Raises
        ------
        InputError
            A key is missing or unknown.
        """
        for name, key, there in (
            ("labels_key", labels_key, list(adata.obs.columns)),
            ("coord_obsm_key", coord_obsm_key, list(adata.obsm.keys())),
        ):
            if key not in there:
                where = "obs" if name == "labels_key" else "obsm"
                msg = f"`{name}` must be a key of `adata.{where}`; got {key!r}. " + did_you_mean(str(key), there)
                raise InputError(msg)
        setup = _Setup(
            layer, str(labels_key), str(coord_obsm_key), cell_radius_key, n_neighbors or _NEIGHBORS, sample_key
        )
        for gone in [number for number, (reference, _) in _setups.items() if reference() is None]:
            del _setups[gone]
        _setups[id(adata)] = (weakref.ref(adata), setup)

    # ---- training -------------------------------------------------------------------------------------------------

    def train(
        self,
        max_epochs: int | None = None,
        accelerator: str = "auto",
        devices: Any = "auto",
        train_size: float = 0.9,
        validation_size: float | None = None,
        batch_size: int = 128,
        early_stopping: bool = False,  # noqa: FBT001, FBT002
        plan_kwargs: dict[str, Any] | None = None,
        *,
        use_wandb: bool = False,
        callbacks: Sequence[Any] = (),
        early_stopping_patience: int = 20,
        early_stopping_monitor: str = "elbo_validation",
        shuffle_set_split: bool = True,
        external_indexing: Any = None,
        enable_progress_bar: bool | None = None,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        """Fit one network a fold of spatial blocks, so that every cell has predictions from one that never saw it.

        Parameters
        ----------
        max_epochs, accelerator, batch_size, early_stopping
            As in `isthmus.fit_interactions`.
        train_size, validation_size
            Of the training cells of a fold, 1 - `train_size` (or `validation_size`) decide when to stop.
        plan_kwargs
            ``{"lr": ...}``, and nothing else.
        callbacks
            `AttentionPenaltyMonitor`.
        early_stopping_patience
            Epochs without a gain.
        devices, early_stopping_monitor, shuffle_set_split
            Accepted; the validation loss is what is watched.
        use_wandb, external_indexing
            Have no counterpart.
        folds, seed
            As in `isthmus.fit_interactions`.

        Raises
        ------
        InputError
            Arguments against their rule, or without a counterpart.
        MissingDependencyError
            There is no torch.
        """
        from isthmus.compat.amici.module import refuse
        from isthmus.interaction import fit_interactions

        refuse(use_wandb=use_wandb, external_indexing=external_indexing)
        setup = self._setup
        self._fit = fit_interactions(
            self.adata,
            labels=setup.labels_key,
            coordinates=setup.coord_obsm_key,
            sample=setup.sample_key,
            layer=setup.layer,
            cell_radius=setup.cell_radius_key,
            n_neighbors=setup.n_neighbors,
            max_epochs=max_epochs,
            accelerator=accelerator,
            batch_size=batch_size,
            early_stopping=early_stopping,
            lr=_learning_rate(plan_kwargs),
            patience=early_stopping_patience,
            validation_share=round(1 - train_size, 6) if validation_size is None else validation_size,
            folds=folds,
            seed=seed,
            progress=enable_progress_bar,
            **(self._network | _penalty(callbacks)),
        )

    @property
    def fit(self) -> InteractionFit:
        """The fit behind the model.

        Raises
        ------
        InputError
            The model is not trained.
        """
        if self._fit is None:
            msg = "The model is not trained. Call `model.train()` first."
            raise InputError(msg)
        return self._fit

    @property
    def is_trained(self) -> bool:
        """Was `train` called?"""
        return self._fit is not None

    @property
    def history(self) -> pd.DataFrame:
        """fold, epoch, train_loss, validation_loss."""
        return self.fit.table("history")

    def __repr__(self) -> str:
        return f"AMICI model, trained\n{self._fit.summary()}" if self._fit is not None else "AMICI model, not trained"

    # ---- what it says ---------------------------------------------------------------------------------------------

    def get_predictions(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        batch_size: int | None = None,
        *,
        get_residuals: bool = False,
        prog_bar: bool = False,
    ) -> np.ndarray:
        """Predicted expression ``(n, n_genes)`` of all cells or of the rows `indices`.

        With `get_residuals` what is predicted beyond the mean of the cell's type. `batch_size` and `prog_bar` are
        accepted.
        """
        from isthmus.compat.amici.module import trained_fit

        fit = trained_fit(self, adata)
        predicted = fit.predict().to_numpy()
        if get_residuals:
            fold = fit.folds.fold if fit.n_folds > 1 else np.zeros(fit.n_cells, dtype=np.int64)
            predicted = predicted - fit.means[fold, fit.type_codes]
        return predicted if indices is None else predicted[np.asarray(indices)]

    def get_expl_variance_scores(self, adata: AnnData | None = None, **options: Any) -> AMICIExplainedVarianceModule:
        """`AMICIExplainedVarianceModule.compute` of this model."""
        from isthmus.compat.amici.explained_variance import AMICIExplainedVarianceModule

        return AMICIExplainedVarianceModule.compute(self, adata, **options)

    def get_neighbor_ablation_scores(
        self, cell_type: str | None = None, head_idx: int | None = None, adata: AnnData | None = None, **options: Any
    ) -> AMICIAblationModule:
        """`AMICIAblationModule.compute` of this model."""
        from isthmus.compat.amici.ablation import AMICIAblationModule

        return AMICIAblationModule.compute(self, cell_type, head_idx, adata, **options)

    def get_attention_patterns(self, adata: AnnData | None = None, **options: Any) -> AMICIAttentionModule:
        """`AMICIAttentionModule.compute` of this model."""
        from isthmus.compat.amici.attention import AMICIAttentionModule

        return AMICIAttentionModule.compute(self, adata, **options)

    def get_counterfactual_attention_patterns(
        self, cell_type: str, adata: AnnData | None = None, **options: Any
    ) -> AMICICounterfactualAttentionModule:
        """`AMICICounterfactualAttentionModule.compute` of this model."""
        from isthmus.compat.amici.counterfactual import AMICICounterfactualAttentionModule

        return AMICICounterfactualAttentionModule.compute(self, cell_type, adata, **options)

    # ---- files ----------------------------------------------------------------------------------------------------

    def save(self, dir_path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """`isthmus.save_fit`: a folder without pickle."""
        import isthmus

        isthmus.save_fit(self.fit, dir_path, overwrite=overwrite)

    @classmethod
    def load(cls, dir_path: str | os.PathLike[str], adata: AnnData) -> AMICI:
        """A saved model of the same cells.

        Raises
        ------
        InputError
            `setup_anndata` has not seen `adata`, or it holds other cells; the folder holds another fit.
        """
        import isthmus
        from isthmus.compat.amici.module import trained_fit
        from isthmus.interaction.result import InteractionFit

        model = cls(adata)
        loaded = isthmus.load_fit(dir_path)
        if not isinstance(loaded, InteractionFit):
            msg = f"`dir_path` must hold a model that `save` wrote; got a {type(loaded).__name__}."
            raise InputError(msg)
        model._fit = loaded
        trained_fit(model, adata)
        return model


def _setup_of(adata: Any) -> _Setup:
    reference, setup = _setups.get(id(adata), (None, None))
    if reference is None or setup is None or reference() is not adata:
        msg = (
            "`adata` must be set up first; this object was not (a copy counts as another one). Call "
            "`AMICI.setup_anndata(adata, labels_key=..., coord_obsm_key=...)`."
        )
        raise InputError(msg)
    return setup


def _learning_rate(plan_kwargs: dict[str, Any] | None) -> float:
    given = dict(plan_kwargs or {})
    lr = given.pop("lr", 1e-3)
    if given:
        msg = f"`plan_kwargs` may hold `lr` only; got `{next(iter(given))}`. Leave it out."
        raise InputError(msg)
    return lr


def _penalty(callbacks: Sequence[Any]) -> dict[str, Any]:
    """Network options of the one callback that there is."""
    for callback in callbacks:
        if not isinstance(callback, AttentionPenaltyMonitor):
            msg = f"`callbacks` may hold AttentionPenaltyMonitor only; got {type(callback).__name__}. Leave it out."
            raise InputError(msg)
    if not callbacks:
        return {}
    monitor = callbacks[-1]
    return {
        "attention_penalty": (monitor.start_val, monitor.end_val),
        "attention_penalty_epochs": (monitor.epoch_start, monitor.epoch_end),
        "attention_penalty_schedule": monitor.flavor,
    }

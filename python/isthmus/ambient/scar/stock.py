"""scvi-tools' own network: its weights under our names, and its trainer as an alternative to ours."""

from __future__ import annotations

import random
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.ambient.scar.model import ScarModel, encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from scipy import sparse

    from isthmus.ambient.scar.options import NetworkOptions
    from isthmus.ambient.scar.training import Cells, Trained

LETTER = {"binomial": "b", "nb": "nb", "zinb": "zinb", "poisson": "poisson"}
_NAMES = (  # scvi-tools' name of a weight, and ours
    (r"z_encoder\.encoder\.fc_layers\.Layer (\d+)\.0\.(.*)", r"encoder.linear.\1.\2"),
    (r"z_encoder\.encoder\.fc_layers\.Layer (\d+)\.1\.(.*)", r"encoder.norm.\1.\2"),
    (r"z_encoder\.mean_encoder\.(.*)", r"mean.\1"),
    (r"z_encoder\.var_encoder\.(.*)", r"variance.\1"),
    (r"decoder\.px_decoder\.fc_layers\.Layer (\d+)\.0\.(.*)", r"decoder.linear.\1.\2"),
    (r"decoder\.px_decoder\.fc_layers\.Layer (\d+)\.1\.(.*)", r"decoder.norm.\1.\2"),
    (r"decoder\.px_scale_decoder\.0\.(.*)", r"scale.\1"),
    (r"decoder\.px_noise_decoder\.0\.(.*)", r"noise.\1"),
)
_BY_LIKELIHOOD = {
    "zinb": (*_NAMES, (r"decoder\.px_dropout_decoder\.(.*)", r"dropout.\1"), (r"px_r", "log_dispersion")),
    "nb": (*_NAMES, (r"px_r", "log_dispersion")),
}


def weights_of_scvi(state: Mapping[str, torch.Tensor], likelihood: str) -> dict[str, np.ndarray]:
    """Weights of a ``scvi.external.SCAR`` module under our names; what the likelihood does not use is left out."""
    out = {}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        for theirs, ours in _BY_LIKELIHOOD.get(likelihood, _NAMES):
            if re.fullmatch(theirs, name):
                out[re.sub(theirs, ours, name)] = value.detach().cpu().numpy().astype(np.float32)
    return out


def train_with_scvi(
    cells: Cells,
    options: NetworkOptions,
    *,
    max_epochs: int,
    early_stopping: bool,
    seed: int,
    device: torch.device,
) -> Trained:
    """Train ``scvi.external.SCAR`` with its own trainer on the cells with counts; global random states stay."""
    from isthmus.ambient.scar.training import Trained, reproducible

    filled = np.flatnonzero(np.asarray(cells.matrix.sum(axis=1)).ravel() > 0)
    with reproducible(seed, device), _others_state(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about workers and loggers is not for our users
        model = _fit(cells.matrix[filled], cells.ambient[0], options, max_epochs, early_stopping, device)
    weights = weights_of_scvi(model.module.state_dict(), options.likelihood)
    history = np.stack(
        [
            model.history[name].to_numpy(float).ravel()
            for name in ("train_loss", "reconstruction_loss_train", "kl_local_train")
        ],
        axis=1,
    )
    mean, variance = encode_all(weights, options, cells.matrix)
    return Trained(weights, mean, variance, history, not early_stopping or len(history) < max_epochs)


def _fit(
    matrix: sparse.csr_matrix,
    ambient: np.ndarray,
    options: NetworkOptions,
    max_epochs: int,
    early_stopping: bool,  # noqa: FBT001
    device: torch.device,
) -> Any:
    from anndata import AnnData
    from scvi.external import SCAR

    adata = AnnData(matrix.astype(np.float32))
    SCAR.setup_anndata(adata)
    names = ("n_hidden", "n_latent", "n_layers", "dropout_rate", "latent_distribution", "scale_activation", "sparsity")
    model = SCAR(
        adata,
        ambient_profile=ambient,
        gene_likelihood=LETTER[options.likelihood],
        **{name: getattr(options, name) for name in names},
    )
    model.train(
        max_epochs=max_epochs,
        early_stopping=early_stopping,
        batch_size=options.batch_size,
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        plan_kwargs={"lr": options.learning_rate},
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return model


def encode_all(
    weights: dict[str, np.ndarray], options: NetworkOptions, matrix: sparse.csr_matrix
) -> tuple[np.ndarray, np.ndarray]:
    """q(z | x) of every cell by the NumPy encoder."""
    nothing = np.zeros((0, options.n_latent), dtype=np.float32)
    model = ScarModel(options, weights, nothing, nothing, np.zeros((0, 3)))
    parts = [encode(model, matrix[start : start + 1024].toarray()) for start in range(0, matrix.shape[0], 1024)]
    return np.concatenate([mean for mean, _ in parts]), np.concatenate([variance for _, variance in parts])


@contextmanager
def _others_state(seed: int) -> Iterator[None]:
    """scvi-tools and Lightning draw from the global states of numpy and of `random` too."""
    kept, kept_random = np.random.get_state(), random.getstate()
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(kept)
        random.setstate(kept_random)

"""``dfmdash.io``: a panel, its factors and metadata, from files and to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from isthmus.compat.dfmdash.files import write_text
from isthmus.data.wording import some
from isthmus.errors import InputError

if TYPE_CHECKING:
    import os

    from anndata import AnnData


class DataLoader:
    """Read a panel, its factors and metadata from CSV files or an AnnData, and write them.

    Attributes
    ----------
    ad, data, var, obs
        The AnnData, and its parts as frames.
    """

    def __init__(
        self,
        ad: AnnData | None = None,
        data: pd.DataFrame | None = None,
        var: pd.DataFrame | None = None,
        obs: pd.DataFrame | None = None,
    ) -> None:
        self.ad, self.data, self.var, self.obs = ad, data, var, obs

    def load(
        self,
        data: str | os.PathLike[str],
        factors: str | os.PathLike[str],
        metadata: str | os.PathLike[str] | None = None,
    ) -> DataLoader:
        """Read data (time x series), factors (one row per series) and metadata (one row per time point)."""
        self.data = pd.read_csv(data)
        self.var = pd.read_csv(factors, index_col=0)
        self.obs = pd.read_csv(metadata, index_col=0) if metadata is not None else None
        self.ad = self.dfs_to_ad(self.data, self.var, self.obs)
        return self

    def convert(self, ad: AnnData) -> DataLoader:
        """Take an AnnData apart."""
        self.ad, self.data, self.var, self.obs = ad, ad.to_df(), ad.var, ad.obs
        return self

    def dfs_to_ad(self, data: pd.DataFrame, factors: pd.DataFrame, metadata: pd.DataFrame | None) -> AnnData:
        """An AnnData with the series in the order of `factors`."""
        from anndata import AnnData

        lacking = [str(name) for name in factors.index if name not in data.columns]
        if lacking:
            msg = f"`data` must have a column for every row of `factors`; it lacks {some(lacking)}."
            raise InputError(msg)
        values = data[list(factors.index)]
        labels = values.index.astype(str) if metadata is None else metadata.index.astype(str)
        obs = None if metadata is None else metadata.set_axis(labels, axis=0)
        return AnnData(X=values.set_axis(labels, axis=0).astype(float), obs=obs, var=factors)

    def write_csvs(self, outdir: str | os.PathLike[str]) -> DataLoader:
        """Write data.csv, factors.csv and, if there is any, metadata.csv."""
        out = Path(outdir)
        out.mkdir(parents=True, exist_ok=True)
        parts = {"data.csv": self.data, "factors.csv": self.var, "metadata.csv": self.obs}
        for name, frame in parts.items():
            if frame is not None:
                write_text(out / name, frame.to_csv())
        return self

    def write_h5ad(self, outdir: str | os.PathLike[str]) -> DataLoader:
        """Write data.h5ad into the folder; a path that ends in .h5ad is the file itself."""
        if self.ad is None:
            msg = "`ad` must be loaded first: call load() or convert()."
            raise InputError(msg)
        out = Path(outdir)
        target = out if out.suffix == ".h5ad" else out / "data.h5ad"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.ad.copy().write_h5ad(target)
        return self

"""What the four interpretation modules share: a table, a way to compute it, a file, and plots that may be saved."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from isthmus.data.wording import did_you_mean, some
from isthmus.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from isthmus.compat.amici.model import AMICI
    from isthmus.interaction.result import InteractionFit


class computed:
    """A method that works on the class (a new object comes back) and on an object (which is filled and comes back)."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        def compute(*args: Any, **kwargs: Any) -> Any:
            target = owner() if instance is None else instance
            self.function(target, *args, **kwargs)
            return target

        compute.__doc__ = self.__doc__
        return compute


class InterpretationModule:
    """A table of a trained model; ``compute`` fills it."""

    def __init__(self) -> None:
        self._df: pd.DataFrame | None = None
        self.fit: InteractionFit | None = None

    @property
    def df(self) -> pd.DataFrame:
        """The table.

        Raises
        ------
        InputError
            ``compute`` was not called.
        """
        if self._df is None:
            msg = f"{type(self).__name__} holds nothing yet. Call compute(model, adata) first."
            raise InputError(msg)
        return self._df

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as CSV; folders are made where they are missing."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.df.to_csv(target, index=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """A table that `save` wrote; plots that need the model need `compute`."""
        import pandas as pd

        out = cls()
        out._df = pd.read_csv(Path(path))
        return out


def trained_fit(model: AMICI, adata: Any) -> InteractionFit:
    """The fit of a model, if `adata` (None: whatever it was) has the cells that it was trained on.

    Raises
    ------
    InputError
        Not trained; other cells.
    """
    fit = model.fit
    if adata is not None and tuple(map(str, adata.obs_names)) != fit.cells:
        msg = (
            "`adata` must hold the cells that the model was trained on, in their order; got "
            f"{adata.n_obs:,} cells. Leave it out; for other cells use `model.fit.transfer(adata)`."
        )
        raise InputError(msg)
    return fit


def chosen(given: Any, known: Sequence[str], argument: str) -> list[str]:
    """One name, several, or None for all.

    Raises
    ------
    InputError
        An unknown name.
    """
    if given is None:
        return list(known)
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if name not in known:
            msg = f"`{argument}` must be among {some(known)}; got {name!r}. " + did_you_mean(str(name), list(known))
            raise InputError(msg)
    return names


def head_number(given: Any, n_heads: int, argument: str = "head_idx") -> int:
    """A head, counted from 0.

    Raises
    ------
    InputError
        Not a whole number from 0 to n_heads - 1.
    """
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or not 0 <= given < n_heads:
        msg = f"`{argument}` must be a whole number from 0 to {n_heads - 1}; got {given!r}."
        raise InputError(msg)
    return int(given)


def refuse(**arguments: Any) -> None:
    """Arguments of the package without a counterpart here.

    Raises
    ------
    InputError
        One of them is given.
    """
    for name, value in arguments.items():
        if value is not None and value is not False:
            msg = f"`{name}` has no counterpart in isthmus; got {value!r:.40}. Leave it out."
            raise InputError(msg)


def finished(axes: Axes, name: str, save_dir: Any, *, save_png: bool, save_svg: bool) -> Axes:
    """The axes, written to a folder too where that is asked for."""
    wanted = [suffix for suffix, asked in (("png", save_png), ("svg", save_svg)) if asked]
    if wanted:
        folder = Path("figures" if save_dir is None else save_dir)
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in wanted:
            cast("Figure", axes.figure).savefig(folder / f"{name}.{suffix}", bbox_inches="tight")
    return axes

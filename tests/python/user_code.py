"""What a user who runs mypy --strict would write. test_stubs.py checks it; a wrong argument must be found too."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np
from anndata import AnnData  # type: ignore[import-untyped]
from numpy.typing import NDArray

import isthmus


def differential_expression(adata: AnnData, folder: Path) -> list[str]:
    fit = isthmus.fit_glm(adata, "~ condition", size_factors="ratio", dispersion="cox_reid", n_threads=2)
    assert_type(fit, isthmus.GlmFit)
    top = isthmus.test_glm(fit, "condition[T.B]", method="lrt", lfc_threshold=1.0)
    isthmus.save_fit(fit, folder / "fit", overwrite=True)
    again: isthmus.GlmFit = isthmus.load_fit(folder / "fit")
    names: list[str] = top.loc[top["padj"] < 0.05, "gene"].tolist()
    coefficients: NDArray[np.float64] = again.table("coefficients")["estimate"].to_numpy()
    return names if np.isfinite(coefficients).all() else []


def designs(adata: AnnData) -> AnnData:
    design = isthmus.design_matrix(adata, "~ condition + batch", as_categorical=["batch"])
    free = isthmus.constraint_matrix(design, {"batch": "condition"}, data=adata.obs)
    print(design.columns.tolist(), free.shape)
    print(isthmus.pseudobulk(adata, ["donor", "condition"], min_cells=5).n_obs)
    return isthmus.simulate_counts(100, 20, design=design, seed=1)


def ambient(cells: AnnData, droplets: AnnData) -> float:
    profile = isthmus.ambient_profile(cells, droplets, rule="multinomial", lower=100)
    fit = isthmus.remove_ambient(cells, profile=profile, method="em", n_clusters="auto")
    assert_type(fit, isthmus.AmbientFit)
    return float(fit.denoised.sum())


def tissue(adata: AnnData) -> None:
    fit = isthmus.fit_interactions(adata, labels="cell_type", n_neighbors=10, folds=3, seed=1)
    assert_type(fit, isthmus.InteractionFit)
    isthmus.explained_variance(fit, by="gene", null="block", n_permutations=99)
    isthmus.neighbor_effects(fit, null="shift")
    isthmus.attention(fit, flavor="value", top=5)
    isthmus.length_scales(fit, threshold=0.2, n_boot=50)


def panel(data: AnnData, new: AnnData) -> None:
    print(isthmus.select_n_factors(data, max_factors=4))
    fit = isthmus.fit_factors(data, factors={"a": ["global"]}, idiosyncratic="iid", time="month")
    assert_type(fit, isthmus.FactorFit)
    print(isthmus.forecast_factors(fit, 3, level=0.9), isthmus.factor_news(fit, new))


def through_r(adata: AnnData) -> AnnData:
    sce = isthmus.as_sce(adata, on_loss="error")
    return isthmus.as_anndata(sce)


def failures(adata: AnnData) -> str:
    try:
        isthmus.fit_glm(adata, "~ nothing")
    except isthmus.InputError as error:
        return str(error)
    except isthmus.MissingDependencyError:
        return isthmus.__version__
    return ""


def what_a_type_checker_finds(adata: AnnData) -> None:
    isthmus.fit_glm(adata, dispersion="mle")  # type: ignore[arg-type]
    isthmus.fit_glm(adata, "~ 1", "~ 1")  # type: ignore[call-arg]
    isthmus.fit_glm(adata, size_factor="auto")  # type: ignore[call-arg]
    isthmus.test_glm("fit", "condition[T.B]")  # type: ignore[arg-type]
    isthmus.forecast_factors(isthmus.fit_factors(adata), "3")  # type: ignore[arg-type]

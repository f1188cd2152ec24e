"""`fit_glm(by=)`: one fit a level, each as if there were no other cells."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from glm_cases import nb_counts

import isthmus
from isthmus.errors import InputError
from isthmus.glm import GlmFits, cooks_distance, filter_by_mean

N = 120


@pytest.fixture(scope="module")
def adata() -> AnnData:
    rng = np.random.default_rng(2)
    cells = pd.DataFrame(
        {
            "type": pd.Categorical(np.tile(["T", "B", "NK"], N // 3), categories=["T", "NK", "B", "none"]),
            "group": pd.Categorical(rng.permutation(np.repeat(["a", "b"], N // 2))),
            "donor": rng.permutation(np.repeat([f"d{i}" for i in range(12)], 10)),
            "depth": np.exp(rng.normal(0, 0.2, N)),
        },
        index=[f"c{i}" for i in range(N)],
    )
    counts = nb_counts(rng, np.exp(rng.normal(1, 1, 6)) * cells[["depth"]].to_numpy(), 0.5)
    counts[(cells["type"] == "B") & (cells["group"] == "b"), 5] = 0
    return AnnData(counts, obs=cells, var=pd.DataFrame(index=[f"g{k}" for k in range(6)]))


@pytest.fixture(scope="module")
def fits(adata) -> GlmFits:
    return isthmus.fit_glm(adata, "~ group", by="type", size_factors="depth")


def alone(adata: AnnData, level: str) -> AnnData:
    return adata[adata.obs["type"] == level].copy()


def test_each_level_is_fitted_by_itself(adata, fits):
    assert list(fits) == ["T", "NK", "B"]
    assert len(fits) == 3
    assert repr(fits).startswith("GLMs by 'type':\n  T: 6 genes in 40 cells; ")
    tables = []
    for level in fits:
        own = isthmus.fit_glm(alone(adata, level), "~ group", size_factors="depth")
        pd.testing.assert_frame_equal(fits[level].table("coefficients"), own.table("coefficients"))
        tables.append(own.table("genes").assign(type=level))
    whole = pd.concat(tables, ignore_index=True)
    pd.testing.assert_frame_equal(fits.table("genes"), whole[["type", *whole.columns[:-1]]])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "lrt"},
        {"method": "score"},
        {"replicate": "donor"},
        {"pairwise": "group", "coef": None},
    ],
)
def test_tests_are_those_of_each_fit(adata, fits, options):
    arguments = {"coef": "group[T.b]"} | options
    found = isthmus.test_glm(fits, **arguments)
    assert list(found.columns)[:2] == ["type", "gene"]
    for level in fits:
        data = alone(adata, level)
        own = isthmus.fit_glm(data, "~ group", size_factors="depth")
        expected = isthmus.test_glm(own, data=data, **arguments)
        ours = found[found["type"] == level].drop(columns="type").reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, expected)
    separated = found[found["status"] == "separated"]
    assert set(zip(separated["type"], separated["gene"], strict=True)) == {("B", "g5")}


def test_values_per_cell_go_with_their_cells(adata):
    rng = np.random.default_rng(0)
    offset = pd.DataFrame(rng.normal(0, 0.1, (N, 6)), index=adata.obs_names, columns=adata.var_names)
    weights = rng.integers(1, 3, N).astype(float)
    design = pd.DataFrame({"one": 1.0, "x": rng.normal(size=N)}, index=adata.obs_names)
    options = {"size_factors": adata.obs["depth"].to_numpy(), "dispersion_design": "~ 1"}
    fits = isthmus.fit_glm(
        adata, design.iloc[::-1], by=adata.obs["type"].astype(str).to_numpy(), offset=offset, weights=weights, **options
    )
    assert fits.by == "stratum"
    for level in ("B", "NK", "T"):
        cells = (adata.obs["type"] == level).to_numpy()
        own = isthmus.fit_glm(
            adata[cells].copy(),
            design[cells],
            offset=offset[cells],
            weights=weights[cells],
            size_factors=options["size_factors"][cells],
        )
        np.testing.assert_allclose(fits[level].log_likelihood, own.log_likelihood, rtol=1e-12)
    found = isthmus.test_glm(fits, "x", method="lrt", data=adata, offset=offset)
    assert found["pval"].notna().all()


def test_filters_and_messages_go_by_level(adata, fits, caplog):
    test = isthmus.test_glm(fits, "group[T.b]")
    filtered = filter_by_mean(test)
    np.testing.assert_allclose(filtered["padj"], test["padj"])  # nothing is rejected: no cutoff in any level
    with caplog.at_level(logging.INFO, logger="isthmus"):
        isthmus.fit_glm(adata, "~ group", by="type")
    said = [record.message for record in caplog.records]
    assert len(said) == len(set(said))
    with pytest.raises(InputError, match=r"got GlmFits. Take one level's, such as fit\['T'\]"):
        cooks_distance(fits, adata)


def test_what_cannot_be_split(adata, fits):
    obs = adata.obs.assign(gene="x", some=np.where(np.arange(N) < 5, None, "s"), few=np.arange(N) % 60)
    for by, message in [
        ("typ", "`by` must be a column of the cells' data or one label per cell; there is no column 'typ'. Did you"),
        ("gene", "`by` must not have the name of a column of the tables; got 'gene'"),
        ("some", "`by` must not be missing; got missing values in"),
        ("group", "`by`: level 'a' of 'group' .60 cells. cannot be fitted. "),
        ("few", "`by`: level '0' of 'few' .2 cells. cannot be fitted. "),
        (["x"] * 7, "`by` must be one column of the cells' data or one label per cell .120.; got 7"),
        (["type", "group"], "`by` must be one column of the cells' data or one label per cell .120.; got 2"),
        (adata.obs[["type", "group"]], "`by` must be one column .* got 120 x 2. Paste several columns into one"),
        (5, "`by` must be one column of the cells' data or one label per cell .120.; got 5"),
    ]:
        with pytest.raises(InputError, match=message):
            isthmus.fit_glm(adata, "~ group", by=by, cell_data=obs, size_factors=None)
    with pytest.raises(InputError, match=r"`weights` must have one row or value per cell .120., of all levels; got 40"):
        isthmus.fit_glm(adata, by="type", weights=np.ones(40), size_factors=None)
    with pytest.raises(InputError, match="`type` has the levels 'T', 'NK', 'B'; got 'X'"):
        fits["X"]
    with pytest.raises(InputError, match="`data` must be the counts of the fits, 120 cells; got 40"):
        isthmus.test_glm(fits, "group[T.b]", data=alone(adata, "T"))


def test_saved_fits_come_back_equal_to_the_bit(fits, adata, tmp_path):
    isthmus.save_fit(fits, tmp_path / "fits")
    again = isthmus.load_fit(tmp_path / "fits")
    assert isinstance(again, GlmFits)
    assert (again.by, list(again)) == ("type", ["T", "NK", "B"])
    np.testing.assert_array_equal(again.cell_names, adata.obs_names)
    for name in ("genes", "coefficients"):
        pd.testing.assert_frame_equal(again.table(name), fits.table(name), check_exact=True)
    for options in ({}, {"method": "lrt"}, {"method": "score"}):
        tests = [isthmus.test_glm(one, "group[T.b]", data=adata, **options) for one in (again, fits)]
        pd.testing.assert_frame_equal(*tests, check_exact=True)
    with pytest.raises(InputError, match="`data` must be passed again for"):
        isthmus.test_glm(again, "group[T.b]", method="lrt")
    with pytest.raises(InputError, match=r"`path` must not exist yet"):
        isthmus.save_fit(fits, tmp_path / "fits")

"""A saved fit comes back equal to the bit; so does one whose state has been through another language."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from glm_cases import awkward_counts, random_problem

import isthmus
from isthmus.errors import InputError


@pytest.fixture(scope="module", params=["plain", "constrained", "awkward", "poisson"])
def fit(request):
    counts, cells, size_factors = random_problem(31)
    if request.param == "plain":
        return isthmus.fit_glm(
            counts, "~ group + age", dispersion_design="~ group", size_factors=size_factors, cell_data=cells
        )
    if request.param == "constrained":
        return isthmus.fit_glm(
            counts, "~ group + batch", constraints={"batch": "1"}, size_factors=size_factors, cell_data=cells
        )
    if request.param == "poisson":
        return isthmus.fit_glm(counts, "~ group", noise_model="poisson", size_factors=None, cell_data=cells)
    y, cells, names = awkward_counts()
    return isthmus.fit_glm(y, "~ group", cell_data=cells, gene_names=names, size_factors=None)


def assert_same(first, second) -> None:
    """Every table and array equal to the bit, missing values in the same places."""
    for name in ("coefficients", "genes"):
        pd.testing.assert_frame_equal(first.table(name), second.table(name), check_exact=True)
    terms = first.table("coefficients")["term"].to_numpy()
    term = "group[T.b]" if "group[T.b]" in terms else "age"
    for information in ("expected", "observed"):
        tests = [isthmus.test_glm(fit, term, information=information) for fit in (first, second)]
        pd.testing.assert_frame_equal(*tests, check_exact=True)
        np.testing.assert_array_equal(
            first.covariance(information=information), second.covariance(information=information)
        )
    pd.testing.assert_frame_equal(first.predict(), second.predict(), check_exact=True)


def test_saved_fit_is_equal_to_the_bit(fit, tmp_path):
    isthmus.save_fit(fit, tmp_path / "fit")
    loaded = isthmus.load_fit(tmp_path / "fit")
    assert_same(fit, loaded)
    first, second = fit.state(), loaded.state()
    assert first.keys() == second.keys()
    for name, value in first.items():
        if isinstance(value, str):
            assert second[name] == value
        else:
            assert second[name].dtype.kind == value.dtype.kind, name
            np.testing.assert_array_equal(second[name], value, err_msg=name)


def test_state_holds_only_what_another_language_can_hold(fit):
    for name, value in fit.state().items():
        if name == "meta":
            assert isinstance(value, str)
            continue
        array = np.asarray(value)
        assert array.dtype.kind in "fibU" or all(isinstance(v, str) for v in array), name
        assert 1 <= array.ndim <= 3, name


def as_r_sends_it(value):
    """Doubles for integers, Fortran order for matrices, plain lists for vectors."""
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "iu":
        array = array.astype(float)
    return array.tolist() if array.ndim == 1 else np.asfortranarray(array)


def test_state_survives_the_way_through_r(fit):
    state = {name: as_r_sends_it(value) for name, value in fit.state().items()}
    assert_same(fit, type(fit).from_state(state))


def test_saving_twice_needs_overwrite(fit, tmp_path):
    isthmus.save_fit(fit, tmp_path / "fit")
    with pytest.raises(InputError, match=r"`path`.*overwrite"):
        isthmus.save_fit(fit, tmp_path / "fit")
    isthmus.save_fit(fit, tmp_path / "fit", overwrite=True)
    assert_same(fit, isthmus.load_fit(tmp_path / "fit"))


def test_overwrite_does_not_remove_what_is_no_fit(fit, tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(InputError, match=r"`path`"):
        isthmus.save_fit(fit, tmp_path, overwrite=True)
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_load_says_when_there_is_no_fit(tmp_path):
    with pytest.raises(InputError, match=r"`path`"):
        isthmus.load_fit(tmp_path / "nothing")


def test_nothing_is_pickled(fit, tmp_path):
    isthmus.save_fit(fit, tmp_path / "fit")
    for file in (tmp_path / "fit").rglob("*.np[yz]"):
        np.load(file, allow_pickle=False)

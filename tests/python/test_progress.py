"""The argument `progress` of every fit."""

from __future__ import annotations

import numpy as np
import pytest

import isthmus
from isthmus.errors import InputError
from isthmus.progress import Progress, wanted


def test_true_and_false_decide():
    assert wanted(progress=True)
    assert not wanted(progress=np.bool_(0))


def test_by_default_a_script_shows_none(monkeypatch):
    monkeypatch.setenv("ISTHMUS_PROGRESS", "0")
    assert not wanted(None)


@pytest.mark.parametrize("wrong", ["no", 1, [True]])
def test_anything_else_is_refused(wrong):
    with pytest.raises(InputError, match="`progress` must be True, False or None"):
        Progress(3, wrong)


def test_a_fit_refuses_it():
    with pytest.raises(InputError, match="`progress` must be True, False or None"):
        isthmus.fit_factors(np.random.default_rng(0).normal(size=(40, 4)), factors=1, progress="no")

"""Large arrays wait until R has made room for them, and are written there."""

import gc
import weakref

import numpy as np
import pytest

from isthmus.bridge.filling import Waiting


def read_only(array):
    """As reticulate shows R's memory."""
    view = array.view()
    view.flags.writeable = False
    return view


def test_large_arrays_wait_and_small_ones_do_not():
    small, large = np.arange(5.0), np.arange(5000.0)
    waiting = Waiting()
    wire = {"obs": {"items": [{"kind": "double", "values": large, "dim": None}, {"values": small}]}, "names": ["a"]}
    found = waiting.without_arrays(wire)
    assert found["obs"]["items"][0] == {"kind": "double", "values": {"waiting": 1}, "dim": None}
    assert found["obs"]["items"][1]["values"] is small
    assert found["names"] == ["a"]
    assert wire["obs"]["items"][0]["values"] is large
    assert waiting.room()["types"] == ["double"]


def test_a_matrix_is_written_down_its_columns():
    matrix = np.arange(6000, dtype=np.int32).reshape(60, 100)
    waiting = Waiting()
    waiting.without_arrays({"values": matrix.ravel(order="F"), "dim": np.array(matrix.shape, dtype=np.int32)})
    np.testing.assert_array_equal(waiting.room()["dims"][0], [60, 100])
    of_r = np.zeros((60, 100), dtype=np.int32, order="F")
    told = waiting.fill([read_only(of_r)])
    np.testing.assert_array_equal(of_r, matrix)
    assert told["at"][0] == 2
    assert told["values"][0] == of_r.ravel(order="F")[1]


@pytest.mark.parametrize(
    ("array", "at", "value"),
    [
        (np.zeros(5000), 0, 0.0),
        (np.r_[np.zeros(70_000), np.nan], 70_001, np.nan),
        (np.r_[np.zeros(4999), -2.5], 5000, -2.5),
        (np.full(5000, -(2**31), dtype=np.int32), 1, np.nan),  # R's NA
    ],
)
def test_the_witness_is_the_first_that_is_not_zero(array, at, value):
    waiting = Waiting()
    waiting.without_arrays([{"x": array}])
    of_r = np.zeros_like(array)
    told = waiting.fill([read_only(of_r)])
    np.testing.assert_array_equal(of_r, array)
    assert told["at"].tolist() == [at]
    np.testing.assert_array_equal(told["values"], [value])


def test_vectors_of_another_type_are_refused_and_nothing_is_written():
    waiting = Waiting()
    waiting.without_arrays({"x": np.ones(5000)})
    of_r = np.zeros(5000, dtype=np.int32)
    with pytest.raises(TypeError, match="Cannot cast"):
        waiting.fill([read_only(of_r)])
    assert not of_r.any()


def test_no_hold_on_the_memory_of_r_is_kept():
    waiting = Waiting()
    waiting.without_arrays({"x": np.ones(5000)})
    of_r = np.zeros(5000)
    gone = weakref.ref(of_r)
    waiting.fill([of_r])
    del of_r
    gc.collect()
    assert gone() is None

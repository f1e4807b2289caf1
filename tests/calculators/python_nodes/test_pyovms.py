"""pyovms.Tensor, as OVMS's documentation and its own tests describe it."""

import array
import io
from typing import Any

import numpy as np
import pytest

from pyovms import Tensor

TYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


@pytest.mark.parametrize("datatype", TYPES)
def test_an_array_of_numbers(datatype: str) -> None:
    values = np.ones((1, 3, 30, 20), TYPES[datatype]).transpose(0, 2, 3, 1)
    found = Tensor("input", values)
    assert (found.name, found.datatype, found.size) == ("input", datatype, values.nbytes)
    for shape in (found.shape, found.data.shape):
        assert shape == values.shape
    for name in ("format", "itemsize", "strides"):
        assert getattr(found.data, name) == getattr(values.data, name)
    assert found.data == values.data
    assert np.array_equal(np.array(found), values)
    assert np.array(found, copy=False).__array_interface__["data"] == (
        values.__array_interface__["data"][0],
        True,
    )


@pytest.mark.parametrize("data", ["text", ["a", "batch", "of", "texts"]])
def test_an_array_of_texts(data: Any) -> None:
    values = np.array(data)
    found = Tensor("input", values)
    assert (found.shape, found.datatype) == (values.shape, values.data.format)
    assert found.data.tobytes() == values.data.tobytes()
    named = Tensor("input", values, datatype=values.dtype.str)
    assert np.frombuffer(named.data, named.datatype).tolist() == values.ravel().tolist()


def test_bytes() -> None:
    data = "Füchse".encode()
    found = Tensor("input", data)
    assert (found.shape, found.datatype, found.data.format) == ((7,), "UINT8", "B")
    assert bytes(found) == data
    assert io.BytesIO(found).read() == data
    assert bytes(Tensor("empty", b"")) == b""


def test_labels_change_no_data() -> None:
    found = Tensor("x", b"\1\0\2\0", shape=[2, 1], datatype="MINE")
    assert (found.shape, found.datatype, found.size) == ((2, 1), "MINE", 4)
    assert found.data.shape == (4,)
    assert repr(found) == "Tensor('x', shape=(2, 1), datatype='MINE')"
    assert np.frombuffer(found, np.int16).tolist() == [1, 2]


def test_other_buffers() -> None:
    assert Tensor("x", array.array("d", [1.5])).datatype == "FP64"
    assert Tensor("x", np.float32(2)).shape == ()
    assert Tensor("x", np.array([1, 2], ">i4")).datatype == ">i"
    again = Tensor("y", Tensor("x", b"ab"))
    assert (again.name, bytes(again)) == ("y", b"ab")


def test_it_is_read_only() -> None:
    found = Tensor("x", np.zeros(3))
    assert found.data.readonly
    with pytest.raises(AttributeError):
        found.name = "y"  # type: ignore[misc]


@pytest.mark.parametrize("data", ["text", 5, [1, 2], None, np.array([object()])])
def test_data_without_a_buffer(data: Any) -> None:
    with pytest.raises(TypeError, match="has no buffer"):
        Tensor("x", data)

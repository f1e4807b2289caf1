"""`pyovms.Tensor`: the tensors that the handlers of Python nodes take and return.

https://github.com/openvinotoolkit/model_server/blob/main/docs/python_support/reference.md
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = ["DTYPES", "Tensor"]

# BF16 has no type in numpy; its data is seen as bytes.
DTYPES: Mapping[str, Any] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "UINT8": np.dtype(np.uint8),
        "UINT16": np.dtype(np.uint16),
        "UINT32": np.dtype(np.uint32),
        "UINT64": np.dtype("Q"),
        "INT8": np.dtype(np.int8),
        "INT16": np.dtype(np.int16),
        "INT32": np.dtype(np.int32),
        "INT64": np.dtype("q"),
        "FP16": np.dtype(np.float16),
        "FP32": np.dtype(np.float32),
        "FP64": np.dtype(np.float64),
    }
)


class Tensor(np.ndarray[Any, Any]):
    """Data with a name, a shape and a datatype; its memory is shared with `data`, read-only.

    `data` is anything with a buffer: bytes, a numpy array, an array.array. `shape` and `datatype`
    are labels for the next node or the client; they do not change the buffer. Without them the
    shape is the buffer's, and the datatype KServe's name of its type, or else its format.
    """

    # An array, because up to Python 3.11 only classes in C can offer a buffer, and arrays do.

    def __new__(
        cls,
        name: str,
        data: Any,
        shape: Sequence[int] | None = None,
        datatype: str | None = None,
    ) -> "Tensor":
        """Raises TypeError for data without a buffer."""
        array = data if isinstance(data, np.ndarray) else _array_of(data)
        if array.dtype.hasobject:
            raise TypeError(f"tensor {name!r}: an array of Python objects has no buffer of data")
        tensor = array.view(cls)
        tensor.flags.writeable = False
        tensor._name = str(name)
        tensor._datatype = _datatype_of(array) if datatype is None else str(datatype)
        own_shape = np.ndarray.shape.__get__(array)
        tensor._shape = own_shape if shape is None else tuple(map(int, shape))
        return tensor

    def __array_finalize__(self, source: Any) -> None:
        """Give views and results of arithmetic what they come from."""
        self._name = getattr(source, "_name", "")
        self._datatype = getattr(source, "_datatype", "")
        self._shape = np.ndarray.shape.__get__(self)

    @property
    def name(self) -> str:
        """The name of the stream that it came from, or goes to."""
        return self._name

    @property
    def datatype(self) -> str:
        """KServe's name of the type, or a name of the client's own."""
        return self._datatype

    @property  # type: ignore[misc]
    def shape(self) -> tuple[int, ...]:
        """The shape that the request or the handler stated; `data.shape` is the buffer's."""
        return self._shape  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.nbytes

    @property
    def data(self) -> memoryview:
        """The buffer."""
        return memoryview(self)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, shape={self.shape}, datatype={self.datatype!r})"

    __str__ = __repr__


def _array_of(data: Any) -> Any:
    try:
        return np.asarray(memoryview(data))
    except TypeError as error:
        raise TypeError(
            f"the data of a Tensor is a {type(data).__name__}, which has no buffer; possible: "
            f"bytes, a numpy array and other objects with a buffer"
        ) from error


def _datatype_of(array: Any) -> str:
    # By kind and size: int64 has two letters in C, and numpy may use either.
    if array.dtype.isnative:
        for datatype, dtype in DTYPES.items():
            if (dtype.kind, dtype.itemsize) == (array.dtype.kind, array.dtype.itemsize):
                return datatype
    return str(memoryview(array).format)

"""A stand-in for a GPU in the host's memory, which checks a GPU variant's graphs on ONNX Runtime's CPU provider."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbert.runtime.engines.gpu.cuda import Buffer, host_array


class HostDevice:
    """Has the methods of `fastbert.runtime.engines.gpu.cuda.Gpu`; copies are done at once."""

    def allocate(self, nbytes: int, what: str) -> Buffer:
        """Return memory of the host."""
        array = np.zeros(max(1, nbytes), np.uint8)
        return _HostBuffer(array.ctypes.data, nbytes, array)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array."""
        return np.zeros(shape, dtype)

    def stream(self) -> "_HostStream":
        """Return a stream, which has nothing to wait for."""
        return _HostStream()


class _HostBuffer(Buffer):
    def __init__(self, address: int, nbytes: int, owner: NDArray[Any]) -> None:
        super().__init__(address, nbytes)
        object.__setattr__(self, "owner", owner)


class _HostStream:
    handle = 0

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        host_array(address, array.shape, array.dtype)[0][:] = array

    def to_host(self, array: NDArray[Any], address: int) -> None:
        array[:] = host_array(address, array.shape, array.dtype)[0]

    def copy(self, target: int, source: int, nbytes: int) -> None:
        shape = (nbytes,)
        host_array(target, shape, np.uint8)[0][:] = host_array(source, shape, np.uint8)[0]

    def synchronize(self) -> None:
        pass

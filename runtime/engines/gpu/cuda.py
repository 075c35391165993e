"""The part of the CUDA runtime that the GPU engines use, through NVIDIA's bindings: memory, copies, streams, graphs.

``pip install cuda-bindings`` needs neither a GPU nor the CUDA toolkit; only the driver does the work.
"""

import ctypes
import gc
import importlib
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbert.runtime.errors import EngineError, MissingDependencyError

_MIB = 1 << 20


@dataclass(frozen=True)
class Buffer:
    """Memory on a device, freed when this object is collected."""

    address: int
    nbytes: int

    def __hash__(self) -> int:  # by identity, as the finalizer frees this one
        return id(self)


def open_gpu(extra: str) -> "Gpu":
    """Return the first GPU that this process sees (``CUDA_VISIBLE_DEVICES`` chooses it).

    :param extra: the extra of ``fastbert-deploy`` that installs the bindings.
    :raises EngineError: no GPU, no driver, or no bindings.
    """
    try:
        runtime = importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise MissingDependencyError("cuda.bindings", extra) from error
    return Gpu(runtime)


class Gpu:
    """A GPU: its memory, and streams on it. May be shared by threads.

    :param sm: its architecture, such as ``"sm89"``.
    :param compute_capability: the same as a number, such as ``"8.9"``.
    """

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        error, *counts = runtime.cudaGetDeviceCount()
        if error != runtime.cudaError_t.cudaSuccess or not counts[0]:
            raise EngineError(
                f"No GPU is available: CUDA says {error.name}. Install the NVIDIA driver, make the GPU visible to "
                "this process, or load the bundle with device='cpu'."
            )
        attribute = runtime.cudaDeviceAttr
        major, minor = (
            self.call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMajor, 0),
            self.call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMinor, 0),
        )
        name = self.call("cudaGetDeviceProperties", 0).name
        self.name: str = name.decode().rstrip("\0") if isinstance(name, bytes) else name
        self.sm = f"sm{major}{minor}"
        self.compute_capability = f"{major}.{minor}"

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the CUDA runtime and return its result.

        :raises EngineError: CUDA reports an error.
        """
        error, *results = getattr(self._runtime, function)(*arguments)
        if error != self._runtime.cudaError_t.cudaSuccess:
            raise EngineError(f"CUDA: {function} failed with {error.name}.")
        return results[0] if results else None

    @property
    def memory(self) -> tuple[int, int]:
        """Free and total bytes of the GPU's memory."""
        error, free, total = self._runtime.cudaMemGetInfo()
        return (free, total) if error == self._runtime.cudaError_t.cudaSuccess else (0, 0)

    def allocate(self, nbytes: int, what: str) -> Buffer:
        """Return memory on the GPU.

        :param what: its purpose, for the error message.
        :raises EngineError: too little memory is free.
        """
        error, address = self._runtime.cudaMalloc(max(1, nbytes))
        if error != self._runtime.cudaError_t.cudaSuccess:
            free, total = self.memory
            raise EngineError(
                f"Out of device memory on {self.name}: {nbytes / _MIB:.1f} MiB were needed for {what}, "
                f"{free / _MIB:.1f} of {total / _MIB:.1f} MiB were free ({error.name}). Stop other programs on it, use "
                "fewer threads, or smaller batches and sequences: fastbert build BUNDLE --batch ... --sequence ..."
            )
        buffer = Buffer(int(address), nbytes)
        _finally(buffer, self._runtime.cudaFree, buffer.address)
        return buffer

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array in page-locked host memory, which copies can read and write asynchronously."""
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        default = self._runtime.cudaHostAllocDefault
        address = int(self.call("cudaHostAlloc", max(1, nbytes), default))
        array, owner = host_array(address, shape, dtype)
        _finally(owner, self._runtime.cudaFreeHost, address)
        return array

    def stream(self) -> "Stream":
        """Return a new stream, which does not wait for others."""
        return Stream(self, self._runtime)


def host_array(address: int, shape: tuple[int, ...], dtype: DTypeLike) -> tuple[NDArray[Any], Any]:
    """Return an array over host memory, and the object that lives as long as the array and its views."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    owner = (ctypes.c_byte * max(1, nbytes)).from_address(address)
    return np.frombuffer(memoryview(owner), dtype, int(np.prod(shape))).reshape(shape), owner


def _finally(owner: Any, release: Callable[..., Any], *arguments: Any) -> None:
    """Release a resource when its owner is collected, but not when the process ends, where the driver releases it.

    By then engines that still use it may not be collected yet.
    """
    weakref.finalize(owner, release, *arguments).atexit = False


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of a capture: if it frees memory of the GPU in this thread, that ends it."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class Stream:
    """A queue of work on one GPU. For one thread at a time.

    :param handle: the CUDA stream's address, with which other libraries enqueue on it.
    """

    def __init__(self, gpu: Gpu, runtime: Any) -> None:
        self._gpu = gpu
        self._runtime = runtime
        self._stream = gpu.call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking)
        self.handle = int(self._stream)
        self._graphs: dict[Hashable, Any] = {}  # None: has run once and is not captured yet
        _finally(self, runtime.cudaStreamDestroy, self._stream)

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        """Copy a pinned array to the device, asynchronously. Do not change it before `synchronize`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._gpu.call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self._stream)

    def to_host(self, array: NDArray[Any], address: int) -> None:
        """Copy to a pinned array, asynchronously. It is filled after `synchronize`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._gpu.call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self._stream)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy on the device, asynchronously. The two must not overlap."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._gpu.call("cudaMemcpyAsync", target, source, nbytes, kind, self._stream)

    def synchronize(self) -> None:
        """Wait until all enqueued work is done."""
        self._gpu.call("cudaStreamSynchronize", self._stream)

    def replay(self, key: Hashable, enqueue: Callable[[], None]) -> None:
        """Enqueue work; equal keys mean equal work, with equal shapes and addresses.

        The first time it runs as it is, since engines initialize on their first run. The second time it is captured
        into a CUDA graph, which is launched from then on.
        """
        if key not in self._graphs:
            enqueue()
            self._graphs[key] = None
            return
        if self._graphs[key] is None:
            mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            with _no_collection():
                self._gpu.call("cudaStreamBeginCapture", self._stream, mode)
                try:
                    enqueue()
                finally:  # an open capture would swallow all later work
                    graph = self._gpu.call("cudaStreamEndCapture", self._stream)
            executable = self._gpu.call("cudaGraphInstantiate", graph, 0)
            self._gpu.call("cudaGraphDestroy", graph)
            _finally(self, self._runtime.cudaGraphExecDestroy, executable)
            self._graphs[key] = executable
        self._gpu.call("cudaGraphLaunch", self._graphs[key], self._stream)

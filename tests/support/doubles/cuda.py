"""``cuda.bindings.runtime`` without a GPU: device memory is host memory, and a stream does nothing until it must.

Signatures and enums are the real package's. Work on a stream runs when a caller waits for it: code that reads a copy
too early, or changes what is still to be copied, gives wrong answers here as it would on a GPU.
"""

import ctypes
import inspect
import itertools
from types import SimpleNamespace

import numpy as np
import pytest


class FakeCuda:
    """A GPU of ``total`` bytes.

    :param calls: names of the functions called.
    """

    def __init__(self, *, total=1 << 30, sm=(9, 0), name=b"Fake GPU", devices=1):
        self.real = pytest.importorskip("cuda.bindings.runtime", reason="the package cuda-bindings is not installed")
        self.calls = []
        self.live = {}  # address -> array
        self.pinned = {}
        self.streams = {}  # handle -> work not yet done
        self.capturing = {}
        self._handles = itertools.count(101)
        self._total, self._sm, self._name, self._devices = total, sm, name, devices

    def __getattr__(self, name):
        real = getattr(self.real, name)  # AttributeError: CUDA has no such thing
        if not inspect.isroutine(real):
            return real
        function = getattr(self, f"_{name}")  # AttributeError: the double does not simulate it
        signature = inspect.signature(real)

        def call(*arguments, **named):
            bound = signature.bind(*arguments, **named)  # TypeError: the real one takes other arguments
            self.calls.append(name)
            results = function(*bound.args)
            if isinstance(results, self.real.cudaError_t):
                return (results, None)
            return (self.real.cudaError_t.cudaSuccess, *results)

        return call

    # devices

    def _cudaGetDeviceCount(self):
        return (self._devices,) if self._devices else self.real.cudaError_t.cudaErrorNoDevice

    def _cudaDeviceGetAttribute(self, attribute, device):
        kinds = self.real.cudaDeviceAttr
        return (
            self._sm[
                (kinds.cudaDevAttrComputeCapabilityMajor, kinds.cudaDevAttrComputeCapabilityMinor).index(attribute)
            ],
        )

    def _cudaGetDeviceProperties(self, device):
        assert hasattr(self.real.cudaDeviceProp, "name")
        return (SimpleNamespace(name=self._name),)

    def _cudaDriverGetVersion(self):
        return (13040,)

    # memory

    def _cudaMemGetInfo(self):
        used = sum(array.nbytes for array in list(self.live.values()))
        return self._total - used, self._total

    def _cudaMalloc(self, size):
        if size > self._cudaMemGetInfo()[0]:
            return self.real.cudaError_t.cudaErrorMemoryAllocation
        return (self._allocate(self.live, size),)

    def _cudaHostAlloc(self, size, flags):
        return (self._allocate(self.pinned, size),)

    def _allocate(self, place, size):
        array = np.full(size, 0xAB, np.uint8)  # not zeros: no code may rely on them
        place[array.ctypes.data] = array
        return array.ctypes.data

    def _cudaFree(self, address):
        del self.live[int(address)]
        return ()

    def _cudaFreeHost(self, address):
        del self.pinned[int(address)]
        return ()

    def view(self, address, nbytes, *, places=None):
        """Memory that is allocated, or an error: what a GPU calls an illegal address."""
        for place in places or (self.live,):
            for start, array in list(place.items()):
                if start <= address and address + nbytes <= start + array.nbytes:
                    return array[address - start : address - start + nbytes]
        raise AssertionError(f"{nbytes} bytes at {address} are not allocated")

    def _cudaMemcpyAsync(self, target, source, count, kind, stream):
        kinds = self.real.cudaMemcpyKind
        places = {
            kinds.cudaMemcpyHostToDevice: (self.live, self.pinned),
            kinds.cudaMemcpyDeviceToHost: (self.pinned, self.live),
        }
        to, origin = places[kind]
        self.view(target, count, places=(to,))
        self.view(source, count, places=(origin,))  # pinned on the host's side, or the copy would not be asynchronous
        self.enqueue(int(stream), lambda: ctypes.memmove(target, source, count))
        return ()

    # streams

    def enqueue(self, handle, work):
        """Put work on a stream, or into the graph that is being captured from it."""
        self.capturing.get(handle, self.streams[handle]).append(work)

    def _cudaStreamCreateWithFlags(self, flags):
        assert flags == self.real.cudaStreamNonBlocking
        handle = next(self._handles)
        self.streams[handle] = []
        return (self.real.cudaStream_t(handle),)

    def _cudaStreamDestroy(self, stream):
        del self.streams[int(stream)]
        return ()

    def _cudaStreamSynchronize(self, stream):
        assert int(stream) not in self.capturing, "a stream that is captured cannot be waited for"
        queue = self.streams[int(stream)]
        while queue:
            queue.pop(0)()
        return ()

    # graphs

    def _cudaStreamBeginCapture(self, stream, mode):
        assert isinstance(mode, self.real.cudaStreamCaptureMode)
        self.capturing[int(stream)] = []
        return ()

    def _cudaStreamEndCapture(self, stream):
        return (self.capturing.pop(int(stream)),)

    def _cudaGraphInstantiate(self, graph, flags):
        return (tuple(graph),)

    def _cudaGraphDestroy(self, graph):
        return ()

    def _cudaGraphExecDestroy(self, executable):
        return ()

    def _cudaGraphLaunch(self, executable, stream):
        for work in executable:
            self.enqueue(int(stream), work)
        return ()

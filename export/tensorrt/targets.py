"""What a build is for: a library, and the GPUs that its engines will run on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastbert.runtime.engines.gpu.cuda import Gpu, open_gpu
from fastbert.runtime.engines.gpu.tensorrt.compute_capabilities import covers
from fastbert.runtime.engines.gpu.tensorrt.engines import require_supported
from fastbert.runtime.engines.gpu.tensorrt.libraries import LIBRARIES, Library
from fastbert.runtime.errors import EngineError, UsageError

CURRENT = "current"


@dataclass(frozen=True)
class Target:
    """A library and the GPUs to build for.

    :param gpu: this machine's GPU; None: the engines cannot run here.
    :param no_gpu: why they cannot.
    :param compute_capabilities: of the GPUs that will run the engines; empty: the architecture of ``gpu``.
    """

    library: Library
    version: str
    gpu: Gpu | None
    no_gpu: str
    compute_capabilities: tuple[str, ...]

    def variant(self, source: str) -> str:
        """Return the name of the variant that a build from ``source`` makes."""
        name = f"{self.library.name}-{source}"
        return name if self.gpu is None or self.library.portable else f"{name}-{self.gpu.sm}"

    @property
    def settings(self) -> dict[str, Any]:
        """What decides whether an engine that is built already can be used again."""
        known: dict[str, Any] = {"version": self.version, "flags": list(self.library.flags)}
        gpu = self.gpu
        if gpu is None or self.library.portable:
            return {**known, "compute_capabilities": list(self.compute_capabilities)}
        return {**known, "gpu": gpu.name, "sm": gpu.sm, "cuda_driver": gpu.call("cudaDriverGetVersion")}


def find_target(engine: str, asked: Sequence[str]) -> Target:
    """Load a library and find what it can build for.

    :param engine: a name in `fastbert.runtime.engines.gpu.tensorrt.libraries.LIBRARIES`.
    :param asked: compute capabilities, such as ``"8.9"``; `CURRENT` alone: that of this machine's GPU; empty: the
        library's default.
    :raises UsageError: the engine is unknown, or a compute capability is.
    :raises EngineError: the library or the GPU that the build needs is missing, or the library does not support it.
    """
    if engine not in LIBRARIES:
        raise UsageError(f"`engine` is {engine!r}; it must be one of {', '.join(LIBRARIES)}.")
    library = LIBRARIES[engine]
    if asked and not library.portable:
        raise UsageError(
            f"`compute_capabilities` is for engine 'tensorrt-rtx'; {library.title} builds for the GPU of this machine "
            "alone. Omit it."
        )
    trt = library.load()
    if not library.portable:
        return Target(library, trt.__version__, open_gpu(library.extra), "", ())
    capabilities = _capabilities(library, trt, tuple(asked))
    try:
        gpu = open_gpu(library.extra)
    except EngineError:  # no driver, no device, or no bindings
        return Target(library, trt.__version__, None, "no GPU is available", capabilities)
    if covers(capabilities, gpu.compute_capability):
        return Target(library, trt.__version__, gpu, "", capabilities)
    reason = f"the GPU here, {gpu.name}, has compute capability {gpu.compute_capability}"
    return Target(library, trt.__version__, None, reason, capabilities)


def _capabilities(library: Library, trt: Any, asked: tuple[str, ...]) -> tuple[str, ...]:
    known = library.targets(trt)
    if not asked:
        return library.compute_capabilities
    if CURRENT in asked:
        if asked != (CURRENT,):
            raise UsageError(f"`compute_capabilities` has {CURRENT!r} beside others; name it alone.")
        try:
            gpu = open_gpu(library.extra)  # without a GPU, the library's own answer is an error of CUDA
        except EngineError as error:
            raise EngineError(
                f"`compute_capabilities` is {CURRENT!r}, and no GPU is available. Name what the engines will run on, "
                f"of {', '.join(known)}, or omit it. {error}"
            ) from error
        require_supported(library, trt, gpu)  # and for an unsupported one, it builds what can run nowhere
        if gpu.compute_capability not in known:
            raise EngineError(
                f"{library.title} {trt.__version__} is older than {gpu.name} and cannot build for its compute "
                f"capability {gpu.compute_capability} alone. Omit `compute_capabilities`: the default set includes it."
            )
        return (gpu.compute_capability,)
    for each in asked:
        if each in library.no_exits:
            raise UsageError(
                f"`compute_capabilities` has {each!r}, for which {library.title} has no float32 product, and the exits "
                f"need one. It builds for {', '.join(known)}. Run ONNX Runtime on such a GPU (device 'cuda')."
            )
        if each not in known:
            raise UsageError(
                f"`compute_capabilities` has {each!r}; {library.title} {trt.__version__} builds for "
                f"{', '.join(known)}, or {CURRENT!r}. Omit it to build for {', '.join(library.compute_capabilities)}."
            )
    return tuple(dict.fromkeys(asked))

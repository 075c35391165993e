"""The stages of a variant as engines of TensorRT for RTX, which are the same for every GPU of its set."""

from pathlib import Path
from typing import Any

from fastbert.runtime.engines.gpu.cuda import Gpu
from fastbert.runtime.engines.gpu.device_chain import DeviceChain
from fastbert.runtime.engines.gpu.tensorrt.engines import load_engines
from fastbert.runtime.engines.gpu.tensorrt.libraries import TENSORRT_RTX
from fastbert.runtime.engines.gpu.tensorrt.runtime_cache import cache_path
from fastbert.runtime.manifest import Variant, read_manifest


def load(
    bundle: Path, variant: Variant, *, cuda_graphs: bool = False, runtime_cache: str | Path | bool | None = None
) -> DeviceChain:
    """Read the engines. Kernels for this GPU are compiled now, and for new shapes later, unless they were kept.

    :param cuda_graphs: as for TensorRT. Kernels for a new shape are then compiled in its first run, not beside it.
    :param runtime_cache: folder that keeps what was compiled; None: a folder of this user; False: none.
    :raises EngineError: no GPU, no library, too little memory, or the engines were built for another version or GPU.
    :raises BundleError: an engine cannot be read.
    :raises UsageError: the folder cannot be written.
    """

    def cache(trt: Any, gpu: Gpu) -> Path | None:
        digests = (read_manifest(bundle).files[name]["sha256"] for name in variant.files)  # not read without a cache
        device = f"{gpu.name} {gpu.compute_capability}"
        return cache_path(runtime_cache, engines=digests, version=trt.__version__, gpu=device)

    return load_engines(TENSORRT_RTX, bundle, variant, cuda_graphs=cuda_graphs, cache=cache)

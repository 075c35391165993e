"""How contexts of TensorRT for RTX compile kernels for new shapes, and where they keep them."""

from typing import Any

from fastbert.runtime.engines.gpu.tensorrt.runtime_cache import RuntimeCache


def make_config(trt: Any, engine: Any, *, graphs: bool, cache: RuntimeCache | None) -> Any:
    """Return the config of an engine's contexts.

    :param graphs: whether CUDA graphs will capture their runs.
    """
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    # The library would capture one engine; the chain captures the work between two exits itself.
    config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED
    # LAZY runs a fallback kernel for a new shape and compiles a better one in the background: a captured graph would
    # keep the fallback for ever, and could be captured while the kernels change. EAGER compiles in the first run of a
    # shape, which is never captured.
    kinds = trt.DynamicShapesKernelSpecializationStrategy
    config.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER if graphs else kinds.LAZY
    if cache is not None:
        cache.attach(config)
    return config

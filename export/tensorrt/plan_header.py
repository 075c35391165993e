"""What the header of a plan of TensorRT for RTX says, which needs no GPU."""

from typing import Any


def header_problems(trt: Any, runtime: Any, plan: bytes) -> list[str]:
    """Check a plan's header; return what is wrong with it.

    The library's verdict is about this machine, so only what it says about the plan counts.

    :param runtime: a ``Runtime`` of the library.
    """
    _, diagnostics = runtime.get_engine_validity(plan[: runtime.engine_header_size])
    kinds = trt.EngineInvalidityDiagnostics
    return [
        f"its plan's header is wrong ({kind.name})"
        for kind in (kinds.MALFORMED_ENGINE, kinds.VERSION_MISMATCH)
        if diagnostics & int(kind)
    ]

"""Calls of an ONNX Runtime session on arrays that stay where they are."""

from collections.abc import Callable
from functools import partial
from typing import Any

from numpy.typing import NDArray

from fastbert.runtime.errors import EngineError

__all__ = ["bound", "could_not_run"]


def bound(
    session: Any, inputs: dict[str, NDArray[Any]], outputs: dict[str, NDArray[Any]], run_options: Any
) -> Callable[[], None]:
    """Return what runs a session on these arrays, without copies; the caller keeps the arrays alive.

    `InferenceSession.run_with_iobinding` first asks for WebGPU's settings and makes run options: some 10 us a stage
    for a request after other work, within noise for one after the other. What it then calls is called here, where this
    ONNX Runtime has it under the same name.
    """
    binding = session.io_binding()
    for bind, arrays in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
        for name, array in arrays.items():
            bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    try:
        return partial(session._sess.run_with_iobinding, binding._iobinding, run_options)
    except AttributeError:
        return partial(session.run_with_iobinding, binding, run_options)


def could_not_run(error: Exception) -> EngineError:
    """Return the error of a session that fails on checked inputs."""
    return EngineError(
        f"ONNX Runtime could not run the bundle's engines on this input: {error}. If the manifest names more tokens, "
        "token types or positions than the engines have, it is another model's: export the bundle again."
    )

"""Runs of an ONNX Runtime session on arrays that stay at their addresses."""

from collections.abc import Callable
from functools import partial
from typing import Any

from numpy.typing import NDArray

from fastbert.runtime.errors import EngineError


def bind(
    session: Any, inputs: dict[str, NDArray[Any]], outputs: dict[str, NDArray[Any]], run_options: Any
) -> Callable[[], None]:
    """Return a function that runs a session on these arrays, without copies. The caller keeps the arrays alive.

    Hot path (docs/performance.md#single-row): it calls what `InferenceSession.run_with_iobinding` calls in the end,
    where this ONNX Runtime has it under the same name.
    """
    binding = session.io_binding()
    for bind_array, arrays in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
        for name, array in arrays.items():
            bind_array(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    try:
        return partial(session._sess.run_with_iobinding, binding._iobinding, run_options)
    except AttributeError:
        return partial(session.run_with_iobinding, binding, run_options)


def run_error(error: Exception) -> EngineError:
    """Return the error to raise when a session fails on checked inputs."""
    return EngineError(
        f"ONNX Runtime could not run the bundle's engines on this input: {error}. If the manifest names more tokens, "
        "token types or positions than the engines have, it belongs to another model: export the bundle again."
    )

"""Writing an ONNX graph node by node, with readable names."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

_OPSET = 20  # the first with Gelu; LayerNormalization came with 17
_IR_VERSION = 10
_ONNX_RUNTIME = "com.microsoft"
_TYPES = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


class Graph:
    """A graph that is being written. Methods that add nodes or tensors return the name of the new value.

    Subclasses write other precisions; `dtype` is the type of the hidden states and of the mask.
    """

    dtype = "float32"
    for_gpu = False  # decides the form of the exit heads
    hard_sigmoid_beta = 0.0  # of min(max(alpha x + beta, 0), 1) where nothing is to be added

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._scope = ""

    def scope(self, name: str) -> "Graph":
        """Prefix the names of everything that is added from now on with ``name/``."""
        self._scope = f"{name}/" if name else ""
        return self

    def in_scope(self, prefix: str) -> bool:
        """Return whether the current scope starts with ``prefix``."""
        return self._scope.startswith(prefix)

    def input(self, name: str, dtype: str, shape: tuple[str | int, ...]) -> str:
        """Declare an input; a string in the shape is a dynamic dimension."""
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))
        return name

    def output(self, value: str, name: str, dtype: str, shape: tuple[str | int, ...]) -> None:
        """Make ``value`` an output and rename it to ``name``."""
        for node in self._nodes:  # rather than an Identity node, which would copy it on every run
            for names in (node.input, node.output):
                for index, used in enumerate(names):
                    if used == value:
                        names[index] = name
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant tensor."""
        full = self._scope + name
        self._weights[full] = numpy_helper.from_array(np.ascontiguousarray(array), full)
        return full

    def ints(self, values: ArrayLike) -> str:
        """Add a constant int64 tensor, or reuse an equal one."""
        return self._shared(np.asarray(values, dtype=np.int64))

    def floats(self, values: ArrayLike) -> str:
        """Add a constant float32 tensor, or reuse an equal one."""
        return self._shared(np.asarray(values, dtype=np.float32))

    def cast(self, value: str, dtype: str, *, name: str = "") -> str:
        """Add a cast to another type."""
        return self.op("Cast", value, name=name, to=_TYPES[dtype])

    def to_float32(self, value: str) -> str:
        """Switch to float32, in which this graph already is: return ``value``."""
        return value

    def op(self, op_type: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        return self.split(op_type, *inputs, outputs=1, name=name, **attributes)[0]

    def split(self, op_type: str, *inputs: str, outputs: int, name: str = "", **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        label = f"{self._scope}{name or op_type}_{len(self._nodes)}"
        names = [label] if outputs == 1 else [f"{label}.{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(op_type, list(inputs), names, name=label, **attributes))
        return names

    def linear(self, value: str, name: str, weight: NDArray[Any], bias: NDArray[Any] | None) -> str:
        """Add ``value @ weight + bias``; weight: [inputs, outputs], the transpose of PyTorch's."""
        result = self.op("MatMul", value, self.weight(f"{name}.weight", weight), name=name)
        return (
            result if bias is None else self.op("Add", result, self.weight(f"{name}.bias", bias), name=f"{name}.bias")
        )

    def transposed_matmul(self, left: str, right: str, *, name: str) -> str:
        """Add ``left^T @ right`` over the last two dimensions, without transposing ``left`` in memory.

        It is ONNX Runtime's own operator; standard ONNX has none.
        """
        return self.onnxruntime_op("FusedMatMul", left, right, name=name, transA=1)

    def onnxruntime_op(self, op_type: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add a node with an operator of ONNX Runtime's own."""
        return self.op(op_type, *inputs, name=name, domain=_ONNX_RUNTIME, **attributes)

    def layer_norm(self, value: str, name: str, weight: NDArray[Any], bias: NDArray[Any], epsilon: float) -> str:
        """Add layer normalization over the last axis."""
        scale, shift = self.weight(f"{name}.weight", weight), self.weight(f"{name}.bias", bias)
        return self.op("LayerNormalization", value, scale, shift, name=name, axis=-1, epsilon=epsilon)

    def unbiased_layer_norm(
        self, value: str, name: str, weight: NDArray[Any], bias: NDArray[Any], epsilon: float
    ) -> str:
        """Add layer normalization with the unbiased standard deviation (`fastbert.normalization.UnbiasedLayerNorm`).

        With c = x - mean, r = sqrt(n - 1) and std = |c| / r:  w c / (std + eps) + b = (w r) c / (|c| + eps r) + b.
        """
        root = math.sqrt(weight.shape[-1] - 1)
        scale = self.weight(f"{name}.weight", (weight * root).astype(weight.dtype))
        shift = self.weight(f"{name}.bias", bias)
        centered = self.op("Sub", value, self.op("ReduceMean", value, self.ints([-1]), keepdims=1), name=name)
        length = self.op("ReduceL2", centered, self.ints([-1]), keepdims=1)
        normalized = self.op("Div", centered, self.op("Add", length, self.floats(epsilon * root)), name=name)
        return self.op("Add", self.op("Mul", normalized, scale), shift, name=name)

    def model(self) -> ModelProto:
        """Return the finished model."""
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, list(self._weights.values()))
        opsets = [helper.make_opsetid("", _OPSET)]
        if any(node.domain == _ONNX_RUNTIME for node in self._nodes):
            opsets.append(helper.make_opsetid(_ONNX_RUNTIME, 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="fastbert")

    def _shared(self, array: NDArray[Any]) -> str:
        name = f"constant/{array.dtype}{'x'.join(map(str, array.shape))}/{','.join(map(str, array.ravel()))}"
        self._weights.setdefault(name, numpy_helper.from_array(array, name))
        return name

"""What the tests of exported graphs check: types, operators, and answers on the CPU."""

from collections import Counter

import onnx
import onnxruntime


def check_types(graph):
    """Check that all types fit, as a strongly typed engine requires; return operator -> number of nodes."""
    onnx.checker.check_model(graph, full_check=True)
    onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True, data_prop=True)
    return Counter(node.op_type for node in graph.graph.node)


def assert_standard(graph):
    """TensorRT parses standard operators, but not ONNX Runtime's own."""
    assert [opset.domain for opset in graph.opset_import] == [""]
    assert {node.domain for node in graph.graph.node} == {""}


def assert_no_product_repeats_an_operand(graph):
    """ONNX Runtime's CUDA provider multiplies [2, ...] by [batch, 1, ...] wrongly in a batch of two."""
    inferred = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph
    shapes = {weight.name: tuple(weight.dims) for weight in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        shapes[value.name] = tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
    products = [node for node in inferred.node if node.op_type == "MatMul"]
    for node in products:
        left, right = (shapes[name] for name in node.input)
        assert 0 not in (*left[:-2], *right[:-2])  # 0: unknown
        assert len(right) == 2 or left[:-2] == right[:-2], (node.name, left, right)
    assert len(products) >= 10


def type_of(value):
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def run(graph, feeds, names=None):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, feeds)

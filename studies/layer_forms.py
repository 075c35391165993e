"""Ways to write a transformer layer as a graph: ``python -m studies.layer_forms [--json]``.

The measurement behind `fastbert.export.graphs.encoder` and behind the fusion that the runtime disables. Every form
computes the same layer of random weights (``gelu tanh`` approximates it). Forms take turns in one process, with one
thread, at batch 1.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.timing import alternating_medians
from fastbert.export.graphs.writer import Graph
from fastbert.export.int8.cpu import Int8Graph
from fastbert.export.int8.rounding import Rounding
from fastbert.runtime.engines.cpu.sessions import DISABLED_OPTIMIZERS, session_options

_HEADS = 12

# form -> (arguments of `layer_graph`, disabled optimizers of ONNX Runtime)
FORMS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "as exported": ({}, DISABLED_OPTIMIZERS),
    "SkipLayerNormFusion on": ({}, ()),
    "one product for Q, K and V": ({"merged": True}, DISABLED_OPTIMIZERS),
    "K transposed by the product": ({"transposed_keys": False}, DISABLED_OPTIMIZERS),
    "MultiHeadAttention": ({"fused_attention": True}, DISABLED_OPTIMIZERS),
    "gelu tanh": ({"approximate": "tanh"}, DISABLED_OPTIMIZERS),
}


def compare_forms(hidden: int, tokens: int, precision: str, *, runs: int) -> dict[str, float]:
    """Return each form's median time / that of the first one.

    :param precision: ``"fp32"`` or ``"int8"``.
    """
    import onnxruntime as ort

    roundings: dict[str, Rounding] = defaultdict(lambda: Rounding(0.05, 128))
    graph_type: Callable[[str], Graph] = Graph if precision == "fp32" else partial(Int8Graph, roundings)
    value = np.random.default_rng(0).standard_normal((1, tokens, hidden)).astype(np.float32)
    systems = {}
    for name, (form, disabled) in FORMS.items():
        model = layer_graph(graph_type(name), hidden, **form)
        session = ort.InferenceSession(
            model, session_options(ort, threads=1), providers=["CPUExecutionProvider"], disabled_optimizers=disabled
        )
        wide = tokens if form.get("fused_attention") else 1  # that operator does not broadcast the mask over rows
        mask = np.zeros((1, 1, wide, tokens), np.float32)
        systems[name] = partial(session.run, None, {"hidden_states": value, "mask": mask})
    medians = alternating_medians(systems, runs, rest=False)
    return {name: median / medians["as exported"] for name, median in medians.items()}


def layer_graph(
    graph: Graph,
    hidden: int,
    *,
    merged: bool = False,
    transposed_keys: bool = True,
    fused_attention: bool = False,
    approximate: str = "none",
) -> bytes:
    """Return one layer of random weights in one form, as serialized ONNX."""
    random = np.random.default_rng(0)
    shape = ("batch", "sequence", hidden)
    value = graph.input("hidden_states", "float32", shape)
    mask = graph.input("mask", "float32", ("batch", 1, "sequence" if fused_attention else 1, "sequence"))
    graph.scope("layer_00")

    def weight(inputs: int, outputs: int) -> Any:
        return (random.standard_normal((inputs, outputs)) * 0.02).astype(np.float32)

    def linear(source: str, name: str, matrix: Any) -> str:
        return graph.linear(source, name, matrix, np.full(matrix.shape[1], 0.01, np.float32))

    def split(source: str, perm: list[int]) -> str:
        heads = graph.op("Reshape", source, graph.ints([0, 0, _HEADS, hidden // _HEADS]))
        return graph.op("Transpose", heads, perm=perm)

    def norm(source: str, name: str) -> str:
        return graph.layer_norm(source, name, np.ones(hidden, np.float32), np.zeros(hidden, np.float32), 1e-12)

    matrices = [weight(hidden, hidden) for _ in range(3)]
    if merged:
        joined = linear(value, "qkv", np.concatenate(matrices, axis=1))
        query, key, values = graph.split("Split", joined, outputs=3, axis=-1, num_outputs=3)
    else:
        query, key, values = (linear(value, name, matrix) for name, matrix in zip("qkv", matrices, strict=True))
    if fused_attention:
        context = graph.onnxruntime_op(
            "MultiHeadAttention", query, key, values, "", "", mask, name="attention", num_heads=_HEADS, scale=1.0
        )
    else:
        keys = split(key, [0, 2, 3, 1]) if transposed_keys else None
        keys = keys or graph.op("Transpose", split(key, [0, 2, 1, 3]), perm=[0, 1, 3, 2])
        scores = graph.op("Add", graph.op("MatMul", split(query, [0, 2, 1, 3]), keys), mask)
        context = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), split(values, [0, 2, 1, 3]))
        context = graph.op("Reshape", graph.op("Transpose", context, perm=[0, 2, 1, 3]), graph.ints([0, 0, hidden]))
    attended = norm(graph.op("Add", linear(context, "output", weight(hidden, hidden)), value), "norm")
    inner = graph.op("Gelu", linear(attended, "inner", weight(hidden, 4 * hidden)), approximate=approximate)
    result = norm(graph.op("Add", linear(inner, "outer", weight(4 * hidden, hidden)), attended), "norm_2")
    graph.output(result, "next_hidden_states", "float32", shape)
    model: bytes = graph.model().SerializeToString()
    return model


def main() -> None:
    """Print the comparison for MiniLM's and BERT-base's shapes."""
    parser = argparse.ArgumentParser(prog="python -m studies.layer_forms", description=__doc__.split(":")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    document: dict[str, Any] = {"environment": describe_environment(), "threads": 1, "batch": 1}
    for hidden, tokens, runs in ((384, 64, 150), (768, 64, 60), (768, 128, 30)):
        for precision in ("fp32", "int8"):
            name = f"{hidden} wide, {tokens} tokens, {precision}"
            document[name] = compare_forms(hidden, tokens, precision, runs=runs)
            if not arguments.json:
                for form, ratio in document[name].items():
                    sys.stdout.write(f"{name}  {form:<28} {ratio:.3f} x as exported\n")
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

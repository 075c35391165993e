"""What dropping samples by a row index would cost in every stage: ``python -m fastbert.benchmarks.row_index [--json]``.

A stage could begin with a gather of the rows that stay; it would then run at batch 1 too, where nobody can leave. The
bundle has a graph of its own for it instead (``compaction.onnx``), which runs when somebody left. Both are measured on
the CPU at batch 1, on a layer of random weights: the stage as it is, and the same with the gather at its head.
"""

import argparse
import json
import statistics
import sys
import time
from typing import Any

import numpy as np
import onnx
from onnx import helper
from transformers import BertConfig

from fastbert.benchmarks.environment import describe_environment
from fastbert.configuration import FastBertConfig
from fastbert.export.int8 import Int8Graph
from fastbert.export.stages import StagePlan, stage_graph
from fastbert.modeling import FastBertForSequenceClassification

__all__ = ["measure", "with_row_index"]

_TURNS, _RUNS = 30, 20
_GRAPHS: dict[str, Any] = {"fp32": {}, "int8": {"graph_type": Int8Graph}}


def with_row_index(stage: onnx.ModelProto) -> onnx.ModelProto:
    """Return the stage with ``rows``, int64 [kept], at its head: hidden_states and mask are gathered by it."""
    model = onnx.ModelProto()
    model.CopyFrom(stage)
    names = ("hidden_states", "extended_attention_mask")
    for node in model.graph.node:
        node.input[:] = [f"kept_{name}" if name in names else name for name in node.input]
    for name in names:
        model.graph.node.insert(0, helper.make_node("Gather", [name, "rows"], [f"kept_{name}"], axis=0))
    model.graph.input.append(helper.make_tensor_value_info("rows", onnx.TensorProto.INT64, ["kept"]))
    mask = helper.make_tensor_value_info("kept_extended_attention_mask", onnx.TensorProto.FLOAT, None)
    model.graph.output.append(mask)  # the next stage needs it
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


def measure(hidden: int, tokens: int, precision: str) -> dict[str, float]:
    """Time both on one thread, in turns.

    :returns: medians in ms, and how much longer the one with the row index takes, in percent.
    """
    import onnxruntime

    backbone = BertConfig(
        hidden_size=hidden, num_hidden_layers=1, num_attention_heads=12, intermediate_size=4 * hidden, vocab_size=10
    )
    model = FastBertForSequenceClassification(FastBertConfig(backbone)).eval()
    stage = stage_graph(model, StagePlan(0, 0), **_GRAPHS[precision])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    feeds = {
        "hidden_states": np.random.default_rng(0).normal(size=(1, tokens, hidden)).astype(np.float32),
        "extended_attention_mask": np.zeros((1, 1, 1, tokens), np.float32),
    }
    systems = {
        "stage": (stage, feeds),
        "with_row_index": (with_row_index(stage), {**feeds, "rows": np.zeros(1, np.int64)}),
    }
    sessions = {
        name: onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for name, (graph, _) in systems.items()
    }
    times: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(_TURNS):
        for name in list(systems)[:: 1 if turn % 2 else -1]:
            for run in range(_RUNS + 2):
                began = time.perf_counter()
                sessions[name].run(None, systems[name][1])
                if run >= 2:
                    times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    extra = 100 * (medians["with_row_index"] / medians["stage"] - 1)
    return {"stage_ms": medians["stage"], "with_row_index_ms": medians["with_row_index"], "extra_percent": extra}


def main() -> None:
    """Print a line for each shape and precision."""
    parser = argparse.ArgumentParser(prog="python -m fastbert.benchmarks.row_index", description=__doc__.split(":")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    command = " ".join(["python -m fastbert.benchmarks.row_index", *sys.argv[1:]])
    document: dict[str, Any] = {"environment": {**describe_environment(), "command": command}, "batch": 1, "threads": 1}
    for hidden, tokens in ((384, 64), (768, 64), (768, 128)):
        for precision in _GRAPHS:
            name = f"{hidden} wide, {tokens} tokens, {precision}"
            document[name] = found = measure(hidden, tokens, precision)
            if not arguments.json:
                sys.stdout.write(
                    f"{name:<32} {found['stage_ms']:.3f} ms, with a row index {found['extra_percent']:+.2f} %\n"
                )
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

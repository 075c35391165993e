"""Can one TensorRT engine hold the exits of a single row? ``python -m studies.inner_exits --output FILE``.

Builds the whole early exit of a single row with TensorRT for RTX, which needs no GPU, in the form of ``row.onnx`` and
in others, then the smallest graphs that fail and their nearest neighbours that build. Nothing runs: a build shows that
an engine exists, not how long it takes.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.export.joined.external_weights import embed_weights
from fastbert.export.joined.row_parts import short_name
from fastbert.export.joined.single_row import single_row_model
from fastbert.export.joined.single_row_engine import single_row_engine_model
from fastbert.runtime.tensors import LOGITS, NEXT_HIDDEN_STATES
from studies.random_bundle import make_bundle

SHAPES = ((6, 384), (12, 768))  # layers, hidden size: MiniLM's and BERT-base's
LONGEST = 128  # tokens
_NESTED = "every If in the one before"
_READ_ONLY, _EQUAL = "row.onnx without unread outputs", "row.onnx with the hidden states of a row that has exited"
FORMS = ("row.onnx", _READ_ONLY, _EQUAL, _NESTED)
READERS = ("the model gives", "nobody reads", "another If reads")
_ROWS, _WIDTH = 4, 8  # of the smallest graphs


@cache
def _library() -> tuple[Any, Any]:
    """Return the module and its logger, which TensorRT keeps for the whole process."""
    import tensorrt_rtx as trt

    class Logger(trt.ILogger):  # type: ignore[misc]  # TensorRT ships no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(msg)

    return trt, Logger()


def build(model: ModelProto, tokens: Sequence[int]) -> dict[str, Any]:
    """Build an engine; return whether it was built, and its size or TensorRT's reason.

    :param tokens: shortest and longest sequence, for inputs with a dynamic one.
    """
    trt, logger = _library()
    logger.errors.clear()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        return {"built": False, "stopped_in": "the parser", "reason": reasons}
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for place in range(network.num_inputs):
        value = network.get_input(place)
        if -1 in value.shape:
            shapes = [tuple(length if size == -1 else size for size in value.shape) for length in tokens]
            profile.set_shape(value.name, shapes[0], shapes[-1], shapes[-1])
    config.add_optimization_profile(profile)
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return {"built": False, "stopped_in": "the builder", "reason": " ".join(logger.errors)}
    seconds = round(time.perf_counter() - start, 1)
    return {"built": True, "layers": network.num_layers, "plan_bytes": plan.nbytes, "seconds": seconds}


def early_exit(folder: Path, form: str, *, tokens: int | None = None) -> ModelProto:
    """Return the whole early exit of a single row in one of `FORMS`.

    :param folder: of a variant's engines.
    :param tokens: a fixed sequence length; None: any.
    """
    embeddings, stages = folder / "embeddings.onnx", sorted(folder.glob("stage_*.onnx"))
    parts = embeddings, stages, range(len(stages))
    if form == _NESTED:
        model = single_row_engine_model(*parts)
    else:
        model = single_row_model(*parts)
        embed_weights(model, {file.name: file for file in (embeddings, *stages)})
        if form == _READ_ONLY:
            remove_unread_outputs(model.graph)
        elif form == _EQUAL:
            keep_hidden_states(model.graph)
    for value in model.graph.input:
        shape = value.type.tensor_type.shape.dim
        if tokens is not None and len(shape) == 2:
            shape[1].dim_value = tokens
    return model


def remove_unread_outputs(graph: GraphProto) -> None:
    """Remove what the branches of each ``If`` give and nobody reads."""
    for node in reversed(graph.node):  # what the last one gives decides what the others must give
        if node.op_type != "If":
            continue
        read = {value.name for value in graph.output} | set(_inputs(graph.node))
        for place in reversed(range(len(node.output))):
            if node.output[place] not in read:
                del node.output[place]
                for branch in _branches(node):
                    del branch.output[place]
        for branch in _branches(node):
            remove_unread_outputs(branch)


def keep_hidden_states(graph: GraphProto) -> None:
    """Let the branch of a row that has exited give its hidden states, not those of no token."""
    for node in graph.node:
        for branch in _branches(node):
            sources = {short_name(copy.output[0]): copy for copy in branch.node if copy.op_type == "Identity"}
            copy = sources.get(NEXT_HIDDEN_STATES)
            if copy is not None and short_name(copy.input[0]) == "no_tokens":
                copy.input[0] = f"{sources[LOGITS].input[0].removesuffix(LOGITS)}{NEXT_HIDDEN_STATES}"
            keep_hidden_states(branch)


def smallest_graph(*, rows: int, reader: str) -> ModelProto:
    """Return one ``If`` with two outputs: ``rows`` of zeros or the input, and the sum of the one or of the other.

    :param rows: of the zeros; the input has 4. Where they differ, the first output's shape depends on the condition.
    :param reader: who reads the first output, one of `READERS`.
    """
    condition = helper.make_tensor_value_info("condition", TensorProto.BOOL, [])
    value = helper.make_tensor_value_info("value", TensorProto.FLOAT, [_ROWS, _WIDTH])
    zeros = numpy_helper.from_array(np.zeros((rows, _WIDTH), np.float32), "zeros")
    branches = {}
    for branch, source, length in (("then_branch", "zeros", rows), ("else_branch", "value", _ROWS)):
        nodes = [
            helper.make_node("Identity", [source], [f"{branch}/first"]),
            helper.make_node("ReduceSum", [source], [f"{branch}/sum"], keepdims=0),
        ]
        first = helper.make_tensor_value_info(f"{branch}/first", TensorProto.FLOAT, [length, _WIDTH])
        branches[branch] = helper.make_graph(nodes, branch, [], [first, _scalar(f"{branch}/sum")])
    nodes, outputs = [helper.make_node("If", ["condition"], ["first", "sum"], **branches)], [_scalar("sum")]
    if reader == "the model gives":
        outputs.append(helper.make_tensor_value_info("first", TensorProto.FLOAT, ["rows", _WIDTH]))
    elif reader == "another If reads":
        largest = helper.make_node("ReduceMax", ["first"], ["read"], keepdims=0)
        other = helper.make_node("Identity", ["sum"], ["passed"])
        branches = {
            "then_branch": helper.make_graph([other], "pass", [], [_scalar("passed")]),
            "else_branch": helper.make_graph([largest], "read", [], [_scalar("read")]),
        }
        nodes.append(helper.make_node("If", ["condition"], ["next"], **branches))
        outputs.append(_scalar("next"))
    graph = helper.make_graph(nodes, "smallest", [condition, value], outputs, [zeros])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def _scalar(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [])


def _branches(node: NodeProto) -> list[GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _inputs(nodes: Sequence[NodeProto]) -> Iterator[str]:
    """Yield what these nodes read, those in their branches and the outputs of these included."""
    for node in nodes:
        yield from node.input
        for branch in _branches(node):
            yield from _inputs(branch.node)
            yield from (value.name for value in branch.output)


def _smallest() -> Iterator[tuple[str, dict[str, Any]]]:
    for rows, shape in ((_ROWS, "of one shape"), (1, "of a shape that depends on the condition")):
        for reader in READERS:
            yield f"{shape}, which {reader}", build(smallest_graph(rows=rows, reader=reader), (_ROWS, _ROWS))


def _forms(layers: int, hidden: int) -> Iterator[tuple[str, dict[str, Any]]]:
    with tempfile.TemporaryDirectory(prefix="fastbert-inner-exits-") as folder:
        make_bundle(layers, hidden, folder, precisions=("fp32", "fp16"))
        engines = Path(folder) / "bundle" / "fp16"
        for form in FORMS:
            for tokens, length in ((LONGEST, f"{LONGEST} tokens"), (None, f"1 to {LONGEST} tokens")):
                yield f"{form}, {length}", build(early_exit(engines, form, tokens=tokens), (1, LONGEST))


def main() -> None:
    """Build all graphs and write the report."""
    parser = argparse.ArgumentParser(prog="python -m studies.inner_exits", description=__doc__.split("?")[0])
    parser.add_argument("--output", type=Path, help="JSON file to write")
    asked = parser.parse_args()
    graphs = [("an If with an output", _smallest())]
    graphs += [(f"{layers} layers x {hidden}, fp16", _forms(layers, hidden)) for layers, hidden in SHAPES]
    report: dict[str, Any] = {"environment": describe_environment(), "tensorrt_rtx": _library()[0].__version__}
    for part, outcomes in graphs:
        report[part] = {}
        for name, outcome in outcomes:
            report[part][name] = outcome
            found = f"{outcome['plan_bytes'] / 1e6:.1f} MB in {outcome['seconds']} s" if outcome["built"] else "fails"
            sys.stdout.write(f"{part}: {name}: {found}\n")
            sys.stdout.flush()
    if asked.output is not None:
        asked.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Where the chain's time goes, and what its floor is: ``python -m studies.chain_profile``.

For each shape, models of random weights take turns at batch 1 with every exit evaluated, in three processes; their
medians are reported:

- the whole model in one session;
- the chain;
- the chain whose stages have no exit head: their logits are constants;
- the variant's own layers in one session that never exits, without a mask (like the chain of a single row): with only
  the last head, with all heads, and with all heads in the chain's order.

ONNX Runtime runs heads that nothing waits for last and together, with their code in the caches; a chain needs each
before the next layer. So ``in_order_times_last_head`` is a cost that only a better head could lower (four operators per
stage on single numbers make the session wait), and ``chain_times_in_order`` is what the chain adds to it. The
comparison is not with the whole model, which has a mask, and in int8 is ``quantize_dynamic`` with ONNX Runtime's
defaults. The chain's time beyond the whole model is then split:

    heads  = chain - chain without heads
    exits  = chain without heads - whole model      decisions after each stage, and Python's part
    floor of a head = its operators, run repeatedly with everything in the caches
                      + its weights, read once from memory by one thread

A head's time beyond that floor is code and ONNX Runtime's own data, which are no longer in the caches either. The
report includes ONNX Runtime's operator profile; the profiler slows operators down, so use its times as shares only.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.utils import Extractor

from fastbert.benchmarks.baselines.whole_model import join_stages
from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.timing import alternating_medians
from fastbert.export.graphs.writer import Graph
from fastbert.export.joined.external_weights import remove_mask
from fastbert.export.joined.single_row import single_row_model
from fastbert.runtime.chain import run_chain
from fastbert.runtime.engines.cpu import OnnxRuntimeEngine
from fastbert.runtime.engines.cpu.sessions import DISABLED_OPTIMIZERS, SessionPlan, session_options
from fastbert.runtime.exit_rule import ExitRule
from fastbert.runtime.inputs import Inputs
from fastbert.runtime.manifest import read_manifest
from studies.random_bundle import Bundles, in_child, int8_here, whole_session

_SHAPES = (
    # layers, hidden size, exit size, tokens, threads, precision, runs
    (6, 384, 128, 25, 1, "fp32", 80),
    (6, 384, 64, 25, 1, "fp32", 80),
    (6, 384, 128, 64, 1, "fp32", 60),
    (6, 384, 64, 64, 1, "fp32", 60),
    (6, 384, 128, 64, 2, "fp32", 60),
    (12, 768, 128, 64, 1, "fp32", 16),
    (12, 768, 128, 64, 2, "fp32", 24),
    (12, 768, 128, 128, 2, "fp32", 16),
    (6, 384, 128, 25, 1, "int8", 120),
    (12, 768, 128, 64, 2, "int8", 40),
)
_STAGE_INPUTS = ["hidden_states", "extended_attention_mask"]


def without_head(stage: onnx.ModelProto) -> onnx.ModelProto:
    """Return a stage whose logits and uncertainty are constants for a batch of one."""
    model = Extractor(stage).extract_model(_STAGE_INPUTS, ["next_hidden_states"])
    for output in stage.graph.output:
        if output.name != "next_hidden_states":
            sizes = [dim.dim_value or 1 for dim in output.type.tensor_type.shape.dim]
            constant = numpy_helper.from_array(np.ones(sizes, np.float32), f"constant/{output.name}")
            model.graph.initializer.append(constant)
            model.graph.node.append(helper.make_node("Identity", [constant.name], [output.name]))
            model.graph.output.append(output)
    return model


def head_of(stage: onnx.ModelProto) -> onnx.ModelProto:
    """Return only a stage's exit head, for rows without padding: next_hidden_states -> logits and uncertainty."""
    model = onnx.ModelProto()
    model.CopyFrom(stage)
    model.graph.input.extend(output for output in stage.graph.output if output.name == "next_hidden_states")
    remove_mask(model.graph)
    return Extractor(model).extract_model(["next_hidden_states"], ["logits", "uncertainty"])


def heads_in_order(model: onnx.ModelProto, stages: int) -> onnx.ModelProto:
    """Return a joined model in which every stage waits for the exit before it, as in a chain.

    :param model: of `join_stages`, with every exit.
    """
    waiting = onnx.ModelProto()
    waiting.CopyFrom(model)
    graph, nodes = waiting.graph, list(waiting.graph.node)
    graph.initializer.append(numpy_helper.from_array(np.array([0, 0, -1]), "order/shape"))
    graph.initializer.append(numpy_helper.from_array(np.array([0]), "order/factor"))
    for stage in range(1, stages):
        before, own = f"stage_{stage - 1:02d}", f"order/{stage:02d}"
        first = next(place for place, node in enumerate(nodes) if node.name.startswith(f"stage_{stage:02d}/"))
        for node in nodes[first:]:
            if node.name.startswith(f"stage_{stage:02d}/"):
                hidden_states = f"{before}/next_hidden_states"
                node.input[:] = [f"{own}/waited" if name == hidden_states else name for name in node.input]
        # the same hidden_states; their shape adds 0 x the uncertainty, which therefore must be known
        nodes[first:first] = [
            helper.make_node("Cast", [f"{before}/uncertainty"], [f"{own}/number"], to=onnx.TensorProto.INT64),
            helper.make_node("Mul", [f"{own}/number", "order/factor"], [f"{own}/zero"]),
            helper.make_node("Add", ["order/shape", f"{own}/zero"], [f"{own}/shape"]),
            helper.make_node("Reshape", [f"{before}/next_hidden_states", f"{own}/shape"], [f"{own}/waited"]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    return waiting


def profile_chain(directory: str, tokens: int, threads: int, precision: str, runs: int) -> str:
    """Measure one shape; return JSON: name -> figure, times in microseconds.

    :param directory: of `studies.random_bundle.make_bundle`.
    """
    bundle = Path(directory) / "bundle"
    variant = read_manifest(bundle).variant_for("cpu", int8_here() if precision == "int8" else precision)
    files = [bundle / name for name in variant.stages]
    stages = [onnx.load(path) for path in files]
    layers = [without_head(stage) for stage in stages]
    bare = [Path(directory) / f"bare-{number}.onnx" for number in range(len(layers))]
    for layer, path in zip(layers, bare, strict=True):
        onnx.save(layer, path)
    embeddings = Path(directory) / "embeddings.onnx"  # their joined model reads all of them from one folder
    shutil.copyfile(bundle / variant.embeddings, embeddings)
    bare_model = Path(directory) / "bare-row.onnx"
    onnx.save(single_row_model(embeddings, bare, range(len(bare))), bare_model)

    ids = np.random.default_rng(0).integers(3, 1000, (1, tokens))
    ones, zeros = np.ones_like(ids), np.zeros_like(ids)

    def chain(paths: list[Path], joined: Path) -> Callable[[], Any]:
        engine = OnnxRuntimeEngine(
            SessionPlan(embeddings=embeddings, stages=paths, row=joined, threads=threads, saturates=variant.saturates)
        )
        row = Inputs(ids, ones, zeros, single_row=True)
        exits = tuple(range(len(stages)))
        return lambda: run_chain(engine, exits, ExitRule(0.0), row)

    systems = {"chain": chain(files, bundle / str(variant.row)), "chain_without_heads": chain(bare, bare_model)}
    every_exit = join_stages(bundle, variant, every_exit=True, masked=False)
    last_head = join_stages(bundle, variant, masked=False)
    systems["one_session"] = _one_session(every_exit, threads, (ids, zeros))
    systems["in_order"] = _one_session(heads_in_order(every_exit, len(stages)), threads, (ids, zeros))
    systems["one_session_last_head"] = _one_session(last_head, threads, (ids, zeros))
    session = whole_session(directory, threads, precision)
    feeds = {"input_ids": ids, "attention_mask": ones, "token_type_ids": zeros}
    systems["whole_model"] = lambda: session.run(None, feeds)
    times = {name: 1e3 * value for name, value in alternating_medians(systems, runs, rest=threads > 1).items()}
    head = head_of(stages[0])
    operators = len(head.graph.node)
    speed = _cold_bytes_per_us()
    layer_size, size = _weights_bytes(layers[0]), _weights_bytes(head)
    hot, read = _hot_head(head, tokens, threads), size / speed
    count = len(stages)
    return json.dumps(
        {
            "whole_model_us": times["whole_model"],
            "chain_us": times["chain"],
            "chain_without_heads_us": times["chain_without_heads"],
            "one_session_us": times["one_session"],
            "in_order_us": times["in_order"],
            "one_session_last_head_us": times["one_session_last_head"],
            "chain_times_whole_model": times["chain"] / times["whole_model"],
            "chain_times_in_order": times["chain"] / times["in_order"],
            "in_order_times_last_head": times["in_order"] / times["one_session_last_head"],
            "heads_times_last_head": times["one_session"] / times["one_session_last_head"],
            "without_heads_times_whole_model": times["chain_without_heads"] / times["whole_model"],
            "one_session_times_whole_model": times["one_session"] / times["whole_model"],
            "layer_us": times["chain_without_heads"] / count,  # with its share of the embeddings
            "layer_weights_bytes": layer_size,
            "layer_weights_read_us": layer_size / speed,
            "head_us": (times["chain"] - times["chain_without_heads"]) / count,
            "head_operators": operators,
            "head_weights_bytes": size,
            "head_operators_in_cache_us": hot,
            "head_weights_read_us": read,
            "head_floor_us": hot + read,
            # the whole model has the last of the heads
            "floor_times_whole_model": 1 + (hot + read) * (count - 1) / times["whole_model"],
            "operators": _operator_profile(stages[0], tokens, threads),
        }
    )


def _one_session(model: onnx.ModelProto, threads: int, arrays: tuple[Any, ...]) -> Callable[[], Any]:
    """Return a function that runs a graph, with bound inputs as in the chain's engines."""
    session = _session(model, threads)
    binding = session.io_binding()
    for graph_input, array in zip(session.get_inputs(), arrays, strict=True):
        binding.bind_cpu_input(graph_input.name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    return lambda: session.run_with_iobinding(binding)


def _weights_bytes(model: onnx.ModelProto) -> int:
    return sum(weight.ByteSize() for weight in model.graph.initializer)


def _stage_feeds(model: onnx.ModelProto, tokens: int) -> dict[str, Any]:
    hidden = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    value = np.random.default_rng(0).standard_normal((1, tokens, hidden)).astype(np.float32)
    mask = np.zeros((1, 1, 1, tokens), np.float32)
    return {graph_input.name: (mask if "mask" in graph_input.name else value) for graph_input in model.graph.input}


def _session(model: onnx.ModelProto, threads: int, *, profile: Path | None = None) -> Any:
    """Make a session with the chain's options; ``profile``: prefix of ONNX Runtime's profile file, None: no profile."""
    import onnxruntime as ort

    options = session_options(ort, threads=threads, saturates=False)  # int8_here never saturates
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMIZERS
    )


def _hot_head(head: onnx.ModelProto, tokens: int, threads: int) -> float:
    """Return the microseconds of a head that runs repeatedly, without those of an empty call."""
    empty = Graph("empty")
    empty.output(empty.op("Relu", empty.input("x", "float32", (1,))), "y", "float32", (1,))
    call = _hot_us(_session(empty.model(), threads), {"x": np.zeros(1, np.float32)})
    return _hot_us(_session(head, threads), _stage_feeds(head, tokens)) - call


def _hot_us(session: Any, feeds: dict[str, Any]) -> float:
    times = []
    for _ in range(500):
        began = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def _cold_bytes_per_us() -> float:
    """Return how fast one thread reads memory that is not in its caches: pieces of 0.5 MB out of 64 MB."""
    pieces = np.ones((128, 1 << 17), np.float32)
    times = []
    for _ in range(5):
        for piece in pieces:
            began = time.perf_counter()
            piece.max()
            times.append(time.perf_counter() - began)
    return float(pieces[0].nbytes / statistics.median(times) / 1e6)


def _operator_profile(stage: onnx.ModelProto, tokens: int, threads: int) -> list[dict[str, Any]]:
    """Return ONNX Runtime's profile of one stage: its operators in the order of execution."""
    with tempfile.TemporaryDirectory() as folder:
        session = _session(stage, threads, profile=Path(folder) / "profile")
        feeds, others = _stage_feeds(stage, tokens), np.ones(1 << 22, np.float32)
        for _ in range(50):
            others.max()  # evicts the stage's weights from the caches, as the next stages would
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    times: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = (event["name"].removesuffix("_kernel_time"), event["args"]["op_name"])
            times.setdefault(key, []).append(event["dur"])
    return [
        {"operator": kind, "name": name, "us": statistics.median(values[10:])} for (name, kind), values in times.items()
    ]


def _medians(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return each figure's median over processes, and the first process's operators."""
    figures = {key: statistics.median(one[key] for one in found) for key in found[0] if key != "operators"}
    return {**figures, "operators": found[0]["operators"]}


def _describe(name: str, found: dict[str, Any]) -> str:
    return (
        f"{name}\n"
        f"  chain {found['chain_times_whole_model']:.3f} x whole model; without heads "
        f"{found['without_heads_times_whole_model']:.3f}\n"
        f"  one session, relative to the last head: all heads last {found['heads_times_last_head']:.3f}, in order "
        f"{found['in_order_times_last_head']:.3f}; chain / in order {found['chain_times_in_order']:.3f}\n"
        f"  layer {found['layer_us']:.0f} us; one thread reads its {found['layer_weights_bytes'] / 1e6:.2f} MB in "
        f"{found['layer_weights_read_us']:.0f} us\n"
        f"  head {found['head_us']:.0f} us; floor {found['head_floor_us']:.0f} us: {found['head_operators']} operators "
        f"in the caches {found['head_operators_in_cache_us']:.0f} us, {found['head_weights_bytes'] / 1e6:.2f} MB read "
        f"in {found['head_weights_read_us']:.0f} us\n"
    )


def main() -> None:
    """Print the split for each shape."""
    parser = argparse.ArgumentParser(prog="python -m studies.chain_profile", description=__doc__.split(":")[0])
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help="part of its name, such as '6x384'; none: all")
    parser.add_argument("--json", action="store_true", help="print JSON, with the operators")
    arguments = parser.parse_args()
    document: dict[str, Any] = {"environment": describe_environment(), "batch": 1, "shapes": {}}
    bundles = Bundles()
    for layers, hidden, exit_size, tokens, threads, precision, runs in _SHAPES:
        plural = "s" if threads > 1 else ""
        name = f"{layers}x{hidden}, exits of {exit_size}, {tokens} tokens, {threads} thread{plural}, {precision}"
        if arguments.shapes and not any(part in name for part in arguments.shapes):
            continue
        shape = (bundles.get(layers, hidden, exit_size), tokens, threads, precision, runs)
        texts = [in_child("chain_profile", "profile_chain", *shape) for _ in range(3)]
        found = document["shapes"][name] = _medians([json.loads(text) for text in texts])
        if not arguments.json:
            sys.stdout.write(_describe(name, found))
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

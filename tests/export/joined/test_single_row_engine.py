"""The early exit of a single row in the form of one TensorRT engine: it exits where it should, and it builds."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from support.factories import make_checkpoint
from support.single_rows import check_exits, write_engines
from support.tensorrt_rtx import build, parse

from fastbert.configuration import ExitHeadConfig
from fastbert.export import ExportOptions, export_bundle
from fastbert.export.golden import CHECKED_SPEEDS, GOLDEN, read_golden
from fastbert.export.graphs.float16 import Float16Graph
from fastbert.export.graphs.stages import embeddings_graph, plan_stages, stage_graph
from fastbert.export.joined import single_row_engine
from fastbert.export.joined.single_row_engine import MAX_STAGES, single_row_engine_model
from fastbert.runtime import Classifier
from fastbert.runtime.engines.gpu import onnxruntime as gpu_engine
from fastbert.runtime.errors import UsageError
from fastbert.runtime.manifest import read_manifest
from fastbert.runtime.tensors import ROW_INPUTS, ROW_OUTPUTS


@pytest.mark.parametrize("count", [1, 2, 3, 6, 13])
def test_it_exits_at_the_first_uncertainty_below_the_speed(tmp_path, count):
    files = write_engines(tmp_path, count)
    path = tmp_path / "engine.onnx"
    path.write_bytes(single_row_engine_model(files[0], files[1:], range(0, 2 * count, 2)).SerializeToString())
    check_exits(path, files, count)


def model_of(bundle, name, stages=3):
    """Return a variant and the model of its first stages."""
    manifest = read_manifest(bundle)
    variant = next(held for held in manifest.variants if held.name == name)
    files = [bundle / stage for stage in variant.stages[:stages]]
    return variant, single_row_engine_model(bundle / variant.embeddings, files, manifest.exits[:stages])


@pytest.fixture(scope="module")
def int8_bundle(checkpoint, tmp_path_factory):
    """One that is calibrated on more rows than `gpu_bundle`."""
    path = tmp_path_factory.mktemp("int8") / "bundle"
    export_bundle(checkpoint, path, ExportOptions(precisions=("int8-qdq",)))
    return path


@pytest.mark.parametrize(
    ("name", "bundle_of"), [("fp32", "gpu_bundle"), ("fp16", "gpu_bundle"), ("int8-qdq", "int8_bundle")]
)
def test_it_answers_golden_rows_as_the_chain_does(request, name, bundle_of):
    """At every speed that golden rows are checked at, by ONNX Runtime for both.

    On a CPU it computes half precision in float32 and rounds to float16 between stages, which a joined model does not.
    """
    tolerance = 0.0 if name == "fp32" else 5e-3
    bundle = request.getfixturevalue(bundle_of)
    variant, model = model_of(bundle, name)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    if name == "fp32":
        chain = Classifier.load(bundle, variant=name, threads=1)
    else:
        engine = gpu_engine.load(bundle, variant, provider=gpu_engine.CPU)
        chain = Classifier._from_engine(bundle, read_manifest(bundle), engine)
    golden, seen = read_golden(bundle / GOLDEN), set()
    for row in range(0, len(golden.texts), 2):
        length = golden.attention_mask[row].sum()
        ids, mask, types = (
            array[[row], :length] for array in (golden.input_ids, golden.attention_mask, golden.token_type_ids)
        )
        for speed in CHECKED_SPEEDS:
            expected = chain.run(ids, mask, types, speed=speed)
            feeds = dict(zip(ROW_INPUTS, (ids, types, np.array([speed], np.float32)), strict=True))
            logits, exit_layer, uncertainty = session.run(ROW_OUTPUTS, feeds)
            assert exit_layer == expected.exit_layer, (row, speed)
            differences = np.abs(logits - expected.logits).max(), np.abs(uncertainty - expected.uncertainty).max()
            assert max(differences) <= tolerance, (row, speed)
            seen.add(int(exit_layer[0]))
    assert seen == {0, 1, 2}


def test_more_stages_than_tensorrt_nests_are_refused(tmp_path, monkeypatch):
    files = write_engines(tmp_path, MAX_STAGES + 1)
    layers = range(MAX_STAGES + 1)
    with pytest.raises(
        UsageError, match=f"has {MAX_STAGES + 1} stages; .* at most {MAX_STAGES}.*`single_row` off.*--layers-per-stage"
    ):
        single_row_engine_model(files[0], files[1:], layers)
    *_, errors = parse(single_row_engine_model(files[0], files[1:-1], layers[:-1]))
    assert not errors
    monkeypatch.setattr(single_row_engine, "MAX_STAGES", MAX_STAGES + 1)
    *_, errors = parse(single_row_engine_model(files[0], files[1:], layers))
    assert "nested structures" in errors[0]


def describe(value):
    return value.name, value.dtype.name, tuple(value.shape)


def check_build(model, classes):
    network, plan = build(model)
    inputs = [describe(network.get_input(place)) for place in range(network.num_inputs)]
    outputs = [describe(network.get_output(place)) for place in range(network.num_outputs)]
    assert inputs == [(name, "INT64", (1, -1)) for name in ROW_INPUTS[:-1]] + [("speed", "FLOAT", (1,))]
    assert outputs == [("logits", "FLOAT", (1, classes)), ("exit_layer", "INT64", (1,)), ("uncertainty", "FLOAT", (1,))]
    assert plan.nbytes > 0


# every way in which embeddings and exits differ; families of one shape are built once
CASES = {
    "bert": {},
    "ernie, narrowed head": {"family": "ernie", "head": ExitHeadConfig.uer(size=16)},
    "roberta, 77 classes": {"family": "roberta", "labels": tuple(map(str, range(77)))},
    "electra, mlp head, one class": {
        "family": "electra",
        "head": ExitHeadConfig(kind="mlp", size=16),
        "labels": ("a",),
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_it_is_built_by_tensorrt_for_rtx(tmp_path, case):
    model = make_checkpoint(layers=2, **case).model
    plan = plan_stages(2, 1)
    files = [tmp_path / "embeddings.onnx", *(tmp_path / f"stage_{stage.last:02d}.onnx" for stage in plan)]
    graphs = [embeddings_graph(model, Float16Graph), *(stage_graph(model, stage, Float16Graph) for stage in plan)]
    for file, graph in zip(files, graphs, strict=True):
        file.write_bytes(graph.SerializeToString())
    check_build(single_row_engine_model(files[0], files[1:], [0, 1]), len(model.config.labels))


def test_int8_is_built_by_tensorrt_for_rtx(gpu_bundle):
    _, model = model_of(gpu_bundle, "int8-qdq", stages=2)
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    check_build(model, 3)


def test_its_weights_are_inside(gpu_bundle):
    """It is built from, not kept: no other file may be needed."""
    _, model = model_of(gpu_bundle, "fp16")
    assert "exit_layer" in {value.name for value in model.graph.output}
    onnx.checker.check_model(model.SerializeToString(), full_check=True)

    def weights(graph):
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                yield from weights(attribute.g)

    assert all(weight.data_location == TensorProto.DEFAULT for weight in weights(model.graph))

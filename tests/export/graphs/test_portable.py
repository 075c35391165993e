"""``fp32-portable``: float32 in standard operators, exact, for every engine that reads ONNX."""

import numpy as np
import pytest
from support.factories import make_checkpoint
from support.graph_checks import assert_no_product_repeats_an_operand, assert_standard, check_types, type_of

from fastbert.configuration import exit_head_named
from fastbert.export import ExportOptions, export_bundle, verify
from fastbert.export.golden import GOLDEN, read_golden
from fastbert.export.graphs.exit_heads import add_uncertainty
from fastbert.export.graphs.portable import PortableGraph
from fastbert.export.graphs.stages import StagePlan, compaction_graph, embeddings_graph, stage_graph
from fastbert.families import FAMILIES
from fastbert.runtime.manifest import check_files, read_manifest

HEADS = {name: exit_head_named(name, 16) for name in ("attention", "bitvoyage", "uer", "mlp")}


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("portable") / "bundle"
    rows = checkpoint.sample_rows[:20]
    export_bundle(checkpoint, path, ExportOptions(precisions=("fp32", "fp32-portable"), verify_data=rows))
    return path


@pytest.fixture(scope="module")
def variant(exported):
    return next(held for held in read_manifest(exported).variants if held.name == "fp32-portable")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_embeddings_and_compaction_are_standard_onnx_in_float32(family):
    model = make_checkpoint(family).model
    for graph in (embeddings_graph(model, PortableGraph), compaction_graph(model, PortableGraph)):
        check_types(graph)
        assert_standard(graph)
        assert {type_of(value) for value in graph.graph.output} == {np.dtype(np.float32)}


@pytest.mark.parametrize("head", HEADS)
def test_a_stage_is_standard_onnx_in_float32(head):
    graph = stage_graph(make_checkpoint(head=HEADS[head]).model, StagePlan(0, 0), PortableGraph)
    assert check_types(graph)["Cast"] == 0
    assert_standard(graph)
    assert_no_product_repeats_an_operand(graph)
    assert {type_of(value) for value in (*graph.graph.input, *graph.graph.output)} == {np.dtype(np.float32)}


def test_the_manifest_says_that_it_is_exact_and_for_a_gpu(exported, variant):
    assert (variant.precision, variant.exact, variant.saturates) == ("float32", True, False)
    assert (variant.devices, variant.engine) == (("cuda",), "onnxruntime_cuda")
    assert variant.compaction == "fp32-portable/compaction.onnx"
    manifest = read_manifest(exported)
    check_files(exported, manifest, variant.files, contents=True)
    assert manifest.variant_for("cuda") == variant
    assert manifest.variant_for("cpu").name == "fp32"


def test_it_answers_as_pytorch_does(exported):
    """On ONNX Runtime's CPU provider, with compaction: labels and exit layers are equal, not nearly all."""
    [found] = verify(exported, variant="fp32-portable")
    assert (found.exact, found.problems) == (True, [])
    assert max(found.largest_logit_difference) < 1e-5
    assert sum(found.answer_flips.values()) == 0


@pytest.fixture(scope="module")
def openvino():
    """Return a function that runs a model: (file, feeds) -> name of each output -> value."""
    pytest.importorskip("openvino", reason="the package openvino is not installed")
    from fastbert.benchmarks.baselines.openvino import _core  # the process's only Core, which is never deleted

    def run(file, feeds):
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        outputs = _core().compile_model(str(file), "CPU", config)(feeds)
        return {output.get_any_name(): value for output, value in outputs.items()}

    return run


def test_openvino_loads_it_and_answers_as_pytorch_does(openvino, exported, variant):
    golden = read_golden(exported / GOLDEN)
    names = ("input_ids", "attention_mask", "token_type_ids")
    state = openvino(exported / variant.embeddings, {name: getattr(golden, name) for name in names})
    for exit, stage in enumerate(variant.stages):
        found = openvino(exported / stage, state)
        assert np.abs(found["logits"] - golden.logits[:, exit]).max() < 1e-5
        assert np.abs(found["uncertainty"] - golden.uncertainty[:, exit]).max() < 1e-5
        state["hidden_states"] = found["next_hidden_states"]
    rows = np.array([7, 0, 3])
    kept = openvino(exported / variant.compaction, {**state, "rows": rows})
    assert np.array_equal(kept["kept_hidden_states"], state["hidden_states"][rows])
    assert np.array_equal(kept["kept_extended_attention_mask"], state["extended_attention_mask"][rows])


def test_no_text_exits_with_nan_in_openvino(openvino, tmp_path):
    graph = PortableGraph("uncertainty")
    logits = graph.input("logits", "float32", ("batch", 2))
    graph.output(add_uncertainty(graph, logits, 2), "uncertainty", "float32", ("batch",))
    values = np.array([[np.nan, 0.0], [1.0, np.inf], [50.0, 0.0], [1.0, 1.0]], np.float32)
    (tmp_path / "uncertainty.onnx").write_bytes(graph.model().SerializeToString())
    found = openvino(tmp_path / "uncertainty.onnx", {"logits": values})["uncertainty"]
    assert not (found[:2] < 1.0).any()
    assert found[2] < 1e-6
    assert abs(found[3] - 1) < 1e-6

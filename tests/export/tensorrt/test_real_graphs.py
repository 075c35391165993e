"""Every kind of graph that an export writes, parsed and built by the real TensorRT for RTX, which needs no GPU.

What was built is read back and compared with `CONTRACT`, written from docs/bundle-format.md.
"""

import logging
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.factories import make_checkpoint, make_rows

from fastbert.checkpoint import Checkpoint
from fastbert.configuration import exit_head_named
from fastbert.export.golden import Golden
from fastbert.export.graphs.stages import StagePlan, plan_stages
from fastbert.export.precisions import PRECISIONS
from fastbert.export.tensorrt.builder import EngineBuilder
from fastbert.families import ACTIVATIONS, FAMILIES
from fastbert.modeling import FastBertForSequenceClassification
from fastbert.reference import compute_reference
from fastbert.runtime.engines.gpu.tensorrt.libraries import TENSORRT_RTX
from fastbert.runtime.engines.gpu.tensorrt.profiles import Buckets
from fastbert.runtime.errors import EngineError

trt = pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 is not installed")

HIDDEN = 32
TWO = Buckets.from_sizes((1, 4), (16,))
FOUR = Buckets.from_sizes((1, 4), (16, 32))
FLOATS = {"fp16": "HALF", "int8-qdq": "HALF", "fp32-portable": "FLOAT"}
TOKENS = ("input_ids", "attention_mask", "token_type_ids")


def contract(graph, precision, classes):
    """Return the inputs and the outputs of an engine: name -> (type, shape), -1 for what is dynamic."""
    float_, tokens = FLOATS[precision], (-1, -1)
    hidden, mask = (float_, (-1, -1, HIDDEN)), (float_, (-1, 1, 1, -1))
    state = {"hidden_states": hidden, "extended_attention_mask": mask}
    if graph == "embeddings":
        return {name: ("INT64", tokens) for name in TOKENS}, state
    if graph == "compaction":
        kept = {"kept_hidden_states": hidden, "kept_extended_attention_mask": mask}
        return {**state, "rows": ("INT64", (-1,))}, kept
    answers = {"logits": ("FLOAT", (-1, classes)), "uncertainty": ("FLOAT", (-1,))}
    return state, {"next_hidden_states": hidden, **answers}


def runs(graph, smallest, largest, of_all, sequence):
    """Return the smallest and the largest shape of each input that the chain runs in a profile."""
    if graph == "embeddings":
        return dict.fromkeys(TOKENS, ((smallest, sequence), (largest, sequence)))
    low, high = (1, of_all) if graph == "compaction" else (smallest, largest)
    shapes = {
        "hidden_states": ((low, sequence, HIDDEN), (high, sequence, HIDDEN)),
        "extended_attention_mask": ((low, 1, 1, sequence), (high, 1, 1, sequence)),
    }
    return shapes | ({"rows": ((smallest,), (largest,))} if graph == "compaction" else {})


@dataclass(frozen=True)
class Case:
    """One export. The first four values are an orthogonal array: every pair of values of two columns occurs once."""

    precision: str
    head: str
    classes: int
    exits: str
    family: str
    activation: str
    norm: str = "standard"

    @property
    def plan(self) -> list[StagePlan]:
        return {"every": plan_stages(2, 1), "two layers": plan_stages(3, 2), "chosen": plan_stages(3, 1, [0])}[
            self.exits
        ]

    @property
    def graphs(self) -> tuple[str, ...]:
        """The graphs to build: without embeddings and compaction where they are those of another case."""
        stages = tuple(map("stage_{:02d}".format, range(len(self.plan))))
        embeddings = ("embeddings",) if self.exits == "every" or self.norm == "unbiased" else ()
        return (*embeddings, *stages, *(("compaction",) if self.head == "attention" else ()))

    @property
    def name(self) -> str:
        return f"{self.precision}-{self.head}-{self.classes}-{self.exits}-{self.family}"


CASES = [
    Case("fp16", "attention", 1, "every", "bert", "gelu"),
    Case("fp16", "uer", 2, "two layers", "roberta", "gelu_new"),
    Case("fp16", "mlp", 77, "chosen", "electra", "relu", "unbiased"),
    Case("int8-qdq", "attention", 2, "chosen", "ernie", "gelu", "unbiased"),
    Case("int8-qdq", "uer", 77, "every", "xlm-roberta", "tanh"),
    Case("int8-qdq", "mlp", 1, "two layers", "bert", "gelu_new"),
    Case("fp32-portable", "attention", 77, "two layers", "camembert", "gelu"),
    Case("fp32-portable", "uer", 1, "chosen", "electra", "gelu_pytorch_tanh", "unbiased"),
    Case("fp32-portable", "mlp", 2, "every", "roberta", "relu"),
]


def test_every_value_of_every_axis_occurs():
    assert {case.precision for case in CASES} == {
        name for name, precision in PRECISIONS.items() if precision.compaction is not None
    }
    assert {case.family for case in CASES} == set(FAMILIES)
    assert {case.activation for case in CASES} == set(ACTIVATIONS)
    first_four = [(case.precision, case.head, case.classes, case.exits) for case in CASES]
    for one in range(4):
        for other in range(one):
            assert len({(values[one], values[other]) for values in first_four}) == 9


def export(case, precision=None):
    """Return the checkpoint's graphs as an export writes them: name -> bytes."""
    plan = case.plan
    labels = [str(number) for number in range(case.classes)]
    made = make_checkpoint(case.family, layers=plan[-1].last + 1, head=exit_head_named(case.head, 16), labels=labels)
    config = made.model.config
    config.layer_norm, config.backbone_config.hidden_act = case.norm, case.activation
    loaded = Checkpoint(FastBertForSequenceClassification(config).eval(), made.tokenizer, made.sample_rows)
    rows = make_rows(4)
    golden = Golden.from_reference(rows, compute_reference(loaded, rows), [stage.last for stage in plan], labels)
    found = PRECISIONS[precision or case.precision]
    graphs = dict(
        zip(
            ["embeddings", *map("stage_{:02d}".format, range(len(plan)))],
            found.graphs(loaded.model, plan, golden),
            strict=True,
        )
    )
    if found.compaction is not None:
        graphs["compaction"] = found.compaction(loaded.model)
    return graphs


@pytest.fixture
def read_back(monkeypatch):
    """What the library was asked to build, read from its own objects during the last build."""
    found = SimpleNamespace(profiles=[])
    build, add = trt.Builder.build_serialized_network, trt.IBuilderConfig.add_optimization_profile

    def tensors(count, get):
        values = [get(index) for index in range(count)]
        return {value.name: (value.dtype.name, tuple(value.shape)) for value in values}

    def read(builder, network, config):
        found.inputs = tensors(network.num_inputs, network.get_input)
        found.outputs = tensors(network.num_outputs, network.get_output)
        found.kinds = {network.get_layer(index).type.name for index in range(network.num_layers)}
        found.tf32 = config.get_flag(trt.BuilderFlag.TF32)
        found.number_of_profiles = config.num_optimization_profiles
        return build(builder, network, config)

    def add_profile(config, profile):
        index = add(config, profile)
        del found.profiles[index:]  # of the build before
        found.profiles.append(profile)
        return index

    monkeypatch.setattr(trt.Builder, "build_serialized_network", read)
    monkeypatch.setattr(trt.IBuilderConfig, "add_optimization_profile", add_profile)
    return found


def builder_of(buckets):
    return EngineBuilder(TENSORRT_RTX, buckets, hidden_size=HIDDEN)


def check_profiles(found, graph, buckets):
    """Every shape that the chain runs in a bucket is within the profile of its number."""
    assert len(found.profiles) == found.number_of_profiles == len(buckets.all)
    for profile, bucket in zip(found.profiles, buckets.all, strict=True):
        shapes = runs(graph, bucket.min_batch, bucket.max_batch, buckets.max_batch, bucket.sequence)
        assert shapes.keys() == found.inputs.keys()
        for name, (smallest, largest) in shapes.items():
            low, tuned, high = map(tuple, profile.get_shape(name))
            assert (low, high) == (smallest, largest)
            assert all(a <= b <= c for a, b, c in zip(low, tuned, high, strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_graph_of_an_export_is_built_as_the_chain_needs_it(case, read_back, caplog):
    caplog.set_level(logging.WARNING, "fastbert.tensorrt")
    builder = builder_of(TWO if case.exits == "every" else Buckets(TWO.all[-1:]))
    graphs = export(case)
    for graph in case.graphs:
        plan = builder.build(graph, graphs[graph].SerializeToString())
        inputs, outputs = contract(graph, case.precision, case.classes)
        assert read_back.inputs == inputs
        assert read_back.outputs == outputs
        check_profiles(read_back, graph, builder._buckets)
        assert not read_back.tf32  # which is set by default
        in_stage = graph.startswith("stage")
        assert ("QUANTIZE" in read_back.kinds) == (case.precision == "int8-qdq" and in_stage)
        assert ("NORMALIZATION" in read_back.kinds) == (case.norm == "standard" and graph != "compaction")
        assert len(plan) > 10_000
    assert caplog.messages == []


@pytest.mark.parametrize("precision", ["fp16", "fp32-portable"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_embeddings_of_every_family_are_built(family, precision, read_back):
    """int8-qdq has those of fp16."""
    model = make_checkpoint(family).model
    graph = next(PRECISIONS[precision].graphs(model, [StagePlan(0, 2)], None))
    builder_of(Buckets(TWO.all[-1:])).build("embeddings", graph.SerializeToString())
    assert (read_back.inputs, read_back.outputs) == contract("embeddings", precision, 3)


def test_several_lengths_and_batches_are_profiles_in_their_order(read_back):
    graphs = export(CASES[0])
    builder = builder_of(FOUR)
    for graph in ("embeddings", "stage_00", "compaction"):
        builder.build(graph, graphs[graph].SerializeToString())
        check_profiles(read_back, graph, FOUR)


def refused(graph, content, buckets=TWO):
    with pytest.raises(EngineError) as raised:
        builder_of(buckets).build(graph, content)
    message = str(raised.value)
    assert "\n" not in message
    assert f"TensorRT for RTX {trt.__version__}" in message
    assert graph in message
    assert "catchCudaError" not in message
    return message


@pytest.fixture(scope="module")
def graphs():
    return export(CASES[0])


def changed(model, change):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    change(copy.graph)
    return copy.SerializeToString()


def replace_weight(graph, name, change):
    [weight] = [held for held in graph.initializer if held.name.endswith(name)]
    weight.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weight)), weight.name))


def test_an_operator_of_onnx_runtimes_own_is_refused_by_name():
    """As in the stages of fp32, which are for ONNX Runtime on a CPU."""
    message = refused("stage_00", export(CASES[0], "fp32")["stage_00"].SerializeToString())
    assert "cannot parse stage_00: FusedMatMul exit_00/widen" in message


def test_a_type_error_is_refused_with_its_node_and_both_types(graphs):
    def widen(graph):
        replace_weight(graph, "intermediate.dense.weight", lambda value: value.astype(np.float32))

    message = refused("stage_00", changed(graphs["stage_00"], widen))
    assert "MatMul layer_00/intermediate.dense" in message
    assert "must have same input types. `A` is of type Half and `B` is of type Float" in message


def test_shapes_that_do_not_fit_are_refused_with_their_node(graphs):
    def cut(graph):
        replace_weight(graph, "intermediate.dense.weight", lambda value: value[:-1])

    message = refused("stage_00", changed(graphs["stage_00"], cut))
    assert "MatMul layer_00/intermediate.dense" in message
    assert "last dimension of input0 = 32 and second to last dimension of input1 = 31" in message


@pytest.mark.parametrize("kept", [1, 10, 5_000, -1])
def test_a_graph_that_is_cut_off_is_refused(graphs, kept):
    message = refused("stage_00", graphs["stage_00"].SerializeToString()[:kept])
    assert "Failed to parse the ONNX model" in message


def test_a_graph_without_its_outputs_is_refused(graphs):
    message = refused("stage_00", changed(graphs["stage_00"], lambda graph: graph.output.pop()))
    assert "is not what the chain needs: its outputs are logits, next_hidden_states, not" in message
    assert "its inputs are none" in refused("stage_00", b"")


def test_a_graph_of_another_engine_is_refused(graphs):
    message = refused("stage_00", graphs["embeddings"].SerializeToString())
    assert "its inputs are attention_mask, input_ids, token_type_ids, not extended_attention_mask" in message


def test_a_profile_longer_than_the_models_positions_is_refused_with_the_reason(graphs):
    message = refused("embeddings", graphs["embeddings"].SerializeToString(), Buckets.from_sizes((4,), (128,)))
    assert "could not build embeddings" in message
    assert "broadcast dimensions must be conformable" in message

"""Half-precision graphs: their types, their casts, and how close they are to float32."""

import numpy as np
import onnx
import pytest
import torch
from support.factories import make_checkpoint
from support.graph_checks import assert_no_product_repeats_an_operand, assert_standard, check_types, run, type_of

from fastbert.configuration import ExitHeadConfig
from fastbert.export.graphs.float16 import Float16Graph
from fastbert.export.graphs.stages import StagePlan, compaction_graph, embeddings_graph, stage_graph
from fastbert.families import FAMILIES
from fastbert.runtime.errors import CheckpointError

HEADS = {
    "paper": ExitHeadConfig(size=16),
    "uer": ExitHeadConfig.uer(size=16),
    "bitvoyage": ExitHeadConfig.bitvoyage(size=16, heads=4),
    "mlp": ExitHeadConfig(kind="mlp", size=16),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_a_stage_has_one_cast_and_float16_between_engines(head):
    graph = stage_graph(make_checkpoint(head=head).model, StagePlan(0, 0), Float16Graph)
    assert check_types(graph)["Cast"] == 1
    assert_standard(graph)
    assert [type_of(value) for value in graph.graph.input] == [np.float16] * 2
    assert {value.name: type_of(value) for value in graph.graph.output} == {
        "next_hidden_states": np.float16,
        "logits": np.float32,
        "uncertainty": np.float32,
    }
    wide = [w.name for w in graph.graph.initializer if w.data_type == onnx.TensorProto.FLOAT]
    assert all("classifier" in name or name.startswith("constant/") for name in wide)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_no_product_repeats_an_operand_over_the_batch(head):
    assert_no_product_repeats_an_operand(stage_graph(make_checkpoint(head=head).model, StagePlan(0, 0), Float16Graph))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_embeddings_cast_only_ids(family):
    graph = embeddings_graph(make_checkpoint(family).model, Float16Graph)
    counts = check_types(graph)
    casts = [node for node in graph.graph.node if node.op_type == "Cast"]
    assert counts["Cast"] == len(casts) <= 2  # of the mask, and of positions that are counted from padding
    assert [type_of(value) for value in graph.graph.output] == [np.float16] * 2


def test_compaction_gathers_the_rows_in_its_input():
    graph = compaction_graph(make_checkpoint().model, Float16Graph)
    assert dict(check_types(graph)) == {"Gather": 2}
    hidden = np.random.default_rng(0).normal(size=(5, 7, 32)).astype(np.float16)
    mask = np.arange(35, dtype=np.float16).reshape(5, 1, 1, 7)
    rows = np.array([4, 0, 2])
    kept, kept_mask = run(graph, {"hidden_states": hidden, "extended_attention_mask": mask, "rows": rows})
    assert np.array_equal(kept, hidden[rows])
    assert np.array_equal(kept_mask, mask[rows])


def test_no_mask_makes_anything_infinite():
    """Not even one that hides every token."""
    model = make_checkpoint().model
    ids = np.full((4, 6), 5)
    mask = np.array([[1] * 6, [1] + [0] * 5, [0] * 6, [1, 0, 1, 0, 1, 0]])
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    hidden, extended = run(embeddings_graph(model, Float16Graph), feeds)
    assert extended.min() == -10000
    for layer in range(3):
        graph = stage_graph(model, StagePlan(layer, layer), Float16Graph)
        outputs = run(graph, {"hidden_states": hidden, "extended_attention_mask": extended})
        assert all(np.isfinite(output).all() for output in outputs)
        hidden = outputs[0]


def test_a_stage_agrees_with_pytorch_in_half_precision():
    """Compared with PyTorch's own half-precision model."""
    model = make_checkpoint(seed=4).model
    ids = torch.randint(4, 24, (6, 20), generator=torch.Generator().manual_seed(0))
    feeds = {
        "input_ids": ids.numpy(),
        "attention_mask": np.ones((6, 20), np.int64),
        "token_type_ids": np.zeros((6, 20), np.int64),
    }
    hidden, mask = run(embeddings_graph(model, Float16Graph), feeds)
    ours = []
    for layer in range(3):
        graph = stage_graph(model, StagePlan(layer, layer), Float16Graph)
        hidden, logits, _ = run(graph, {"hidden_states": hidden, "extended_attention_mask": mask})
        ours.append(logits)
    with torch.no_grad():
        theirs = make_checkpoint(seed=4).model.half()(ids).exit_logits.float().numpy()
    assert np.abs(np.stack(ours, axis=1) - theirs).max() < 0.02


def test_the_unbiased_layer_norm_is_computed_in_float32():
    """The sum of squares of a wide layer exceeds float16: 768 values of 20 give 307,200."""
    graph = Float16Graph("norm")
    value = graph.input("value", "float16", ("rows", 768))
    ones = np.ones(768, np.float32)
    graph.output(graph.unbiased_layer_norm(value, "norm", ones, 0 * ones, 1e-12), "out", "float16", ("rows", 768))
    model = graph.model()
    assert check_types(model)["Cast"] == 2
    values = np.where(np.arange(768) % 2, 20.0, -20.0)[None].astype(np.float16)
    [found] = run(model, {"value": values})
    assert np.allclose(np.abs(found), 1.0, atol=1e-3)


def test_a_weight_beyond_float16_is_refused_by_name():
    model = make_checkpoint().model
    with torch.no_grad():
        model.backbone.encoder.layer[1].output.dense.weight[3, 4] = 7e4
    with pytest.raises(CheckpointError, match=r"layer_01/output\.dense\.weight is 7e\+04; the largest float16 is"):
        stage_graph(model, StagePlan(1, 1), Float16Graph)

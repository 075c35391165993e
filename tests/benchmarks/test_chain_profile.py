import json

import numpy as np
import onnx
import onnxruntime
import pytest

from fastbert.benchmarks import targets
from fastbert.benchmarks.chain_profile import head_of, without_head


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("profile")
    targets.make_bundle(2, 48, str(path), ("fp32", "int8"), 32)
    return path


def test_a_stage_is_its_layer_and_its_head(directory):
    stage = onnx.load(directory / "bundle" / "fp32" / "stage_00.onnx")
    value = np.random.default_rng(0).standard_normal((1, 5, 48)).astype(np.float32)
    feeds = {"hidden_states": value, "extended_attention_mask": np.zeros((1, 1, 1, 5), np.float32)}
    bare, head, whole = (
        onnxruntime.InferenceSession(model.SerializeToString())
        for model in (without_head(stage), head_of(stage), stage)
    )
    names = ["next_hidden_states", "logits", "uncertainty"]
    expected = dict(zip(names, whole.run(names, feeds), strict=True))
    found, logits, _ = bare.run(names, feeds)
    assert np.array_equal(found, expected["next_hidden_states"])
    assert not np.array_equal(logits, expected["logits"])
    mask = feeds["extended_attention_mask"]
    logits, uncertainty = head.run(names[1:], {"next_hidden_states": found, "extended_attention_mask": mask})
    assert np.allclose(logits, expected["logits"], atol=1e-6)
    assert np.allclose(uncertainty, expected["uncertainty"], atol=1e-6)
    assert len(without_head(stage).graph.node) - 2 + len(head_of(stage).graph.node) == len(stage.graph.node)


@pytest.mark.parametrize(("precision", "threads"), [("fp32", 1), ("fp32", 2), ("int8", 1)])
def test_the_chains_time_is_split(directory, precision, threads):
    text = targets.in_child("profile_chain", str(directory), 5, threads, precision, 3, module="chain_profile")
    found = json.loads(text)
    assert found["head_floor_us"] == pytest.approx(found["head_operators_in_cache_us"] + found["head_weights_read_us"])
    assert found["head_us"] * 2 == pytest.approx(found["chain_us"] - found["chain_without_heads_us"])
    assert found["one_session_times_whole_model"] == pytest.approx(found["one_session_us"] / found["whole_model_us"])
    size = 48 * 32 + 2 * 2 * 32 * 32  # narrow, and two matrices for each of two attention heads
    assert found["head_weights_bytes"] == pytest.approx(4 * size, rel=0.2)  # and names, biases, shapes
    names = [operator["name"] for operator in found["operators"]]
    assert any("layer_00" in name for name in names)
    assert any("exit_00" in name for name in names)

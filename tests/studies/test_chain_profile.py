import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from fastbert.benchmarks.baselines.whole_model import join_stages
from fastbert.runtime.manifest import read_manifest
from studies import targets
from studies.chain_profile import head_of, heads_in_order, without_head


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("profile")
    targets.make_bundle(2, 48, str(path), ("fp32", targets.int8_here()), 32)
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
    logits, uncertainty = head.run(names[1:], {"next_hidden_states": found})
    assert np.allclose(logits, expected["logits"], atol=1e-6)
    assert np.allclose(uncertainty, expected["uncertainty"], atol=1e-6)
    masks = 1  # of the head
    assert len(without_head(stage).graph.node) - 2 + len(head_of(stage).graph.node) == len(stage.graph.node) - masks


def test_in_order_every_stage_waits_for_the_exit_before_it_and_answers_the_same(directory, tmp_path):
    bundle = directory / "bundle"
    variant = read_manifest(bundle).variant_for("cpu", "fp32")
    plain = join_stages(bundle, variant, every_exit=True)
    feeds = {
        value.name: np.full((1, 5), 1 if value.name == "attention_mask" else 0)
        for value in onnxruntime.InferenceSession(plain.SerializeToString()).get_inputs()
    }
    expected = onnxruntime.InferenceSession(plain.SerializeToString()).run(None, feeds)
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(heads_in_order(plain, 2).SerializeToString(), options)
    for found, wanted in zip(session.run(None, feeds), expected, strict=True):
        assert np.allclose(found, wanted, atol=1e-5)
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = [event["name"] for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    last_of_head = max(place for place, name in enumerate(ran) if "exit_00" in name)
    first_of_next = min(place for place, name in enumerate(ran) if "layer_01" in name)
    assert last_of_head < first_of_next


@pytest.mark.parametrize(("precision", "threads"), [("fp32", 1), ("fp32", 2), ("int8", 1)])
def test_the_chains_time_is_split(directory, precision, threads):
    text = targets.in_child("profile_chain", str(directory), 5, threads, precision, 3, module="chain_profile")
    found = json.loads(text)
    assert found["head_floor_us"] == pytest.approx(found["head_operators_in_cache_us"] + found["head_weights_read_us"])
    assert found["head_us"] * 2 == pytest.approx(found["chain_us"] - found["chain_without_heads_us"])
    assert found["one_session_times_whole_model"] == pytest.approx(found["one_session_us"] / found["whole_model_us"])
    in_order = found["in_order_times_last_head"] * found["one_session_last_head_us"]
    assert found["chain_times_in_order"] == pytest.approx(found["chain_us"] / in_order)
    size = 48 * 32 + 2 * 2 * 32 * 32  # narrow, and two matrices for each of two attention heads
    assert found["head_weights_bytes"] == pytest.approx(4 * size, rel=0.2)  # and names, biases, shapes
    names = [operator["name"] for operator in found["operators"]]
    assert any("layer_00" in name for name in names)
    assert any("exit_00" in name for name in names)

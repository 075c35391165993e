import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from fastbert.benchmarks.baselines.whole_model import join_stages
from fastbert.runtime.manifest import read_manifest
from studies import chain_profile
from studies.chain_profile import head_of, heads_in_order, without_head
from studies.random_bundle import in_child, int8_here, make_bundle


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("profile")
    make_bundle(2, 48, str(path), ("fp32", int8_here()), 32)
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


TIMES_MS = {
    "whole_model": 10.0, "chain": 12.0, "chain_without_heads": 11.0, "one_session": 10.8, "in_order": 11.4,
    "one_session_last_head": 10.0,
}  # fmt: skip


def test_the_chains_time_is_split(directory, monkeypatch):
    answers = {}

    def medians(systems, runs, rest):
        answers.update({name: system() for name, system in systems.items()})
        return TIMES_MS

    monkeypatch.setattr(chain_profile, "alternating_medians", medians)
    monkeypatch.setattr(chain_profile, "_hot_head", lambda *_: 30.0)
    monkeypatch.setattr(chain_profile, "_cold_bytes_per_us", lambda: 1000.0)
    found = json.loads(chain_profile.profile_chain(str(directory), 5, 1, "fp32", 3))
    assert set(answers) == set(TIMES_MS)
    assert np.allclose(answers["chain"].logits, answers["whole_model"][0], atol=1e-5)
    assert (found["chain_us"], found["layer_us"], found["head_us"]) == (12_000.0, 5500.0, 500.0)  # two stages
    assert (found["chain_times_whole_model"], found["without_heads_times_whole_model"]) == (1.2, 1.1)
    assert found["in_order_times_last_head"] == pytest.approx(1.14)
    assert found["chain_times_in_order"] == pytest.approx(12 / 11.4)
    weights = found["head_weights_bytes"]
    assert weights > 4 * 48 * 32  # at least the matrix from hidden states to the head, in float32
    assert found["head_floor_us"] == pytest.approx(30 + weights / 1000)
    assert found["floor_times_whole_model"] == pytest.approx(1 + (30 + weights / 1000) / 10_000)
    assert "MatMul" in {one["operator"] for one in found["operators"]}


def test_a_profile_is_made_in_a_child(directory):
    found = json.loads(in_child("chain_profile", "profile_chain", str(directory), 5, 2, "int8", 2))
    names = [one["name"] for one in found["operators"]]
    assert any("layer_00" in name for name in names)
    assert any("exit_00" in name for name in names)
    assert chain_profile._describe("tiny", found).startswith("tiny\n  chain ")

"""The CPU engine. Thread pools belong to a process, so each of their cases runs in a fresh one."""

import gc
import subprocess
import sys
import textwrap
import weakref
from dataclasses import replace
from functools import cache

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.factories import make_rows

from fastbert.runtime import Classifier, EngineError, MissingDependencyError, UsageError
from fastbert.runtime.chain import run_all_exits
from fastbert.runtime.engines.cpu import engine as cpu_engine
from fastbert.runtime.engines.cpu import load
from fastbert.runtime.engines.cpu.binding import bind
from fastbert.runtime.engines.cpu.row import RowSession
from fastbert.runtime.inputs import Inputs


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_idle_threads_sleep(bundle):
    script = """
        import sys, time
        from fastbert.runtime import Classifier, EngineError, MissingDependencyError, UsageError
        classifier = Classifier.load(sys.argv[1], threads=2)
        classifier.predict(["good"] * 8)
        spent = []
        for _ in range(5):
            classifier.predict(["good"] * 8)
            before = time.process_time()
            time.sleep(0.1)
            spent.append(time.process_time() - before)
        print(sorted(spent)[2])
    """
    assert float(run(script, bundle)) < 0.02  # ONNX Runtime's own default spins for 0.045 s


def test_one_pool_serves_the_whole_chain_and_other_sessions_are_left_alone(bundle):
    script = """
        import os, sys, time
        import onnxruntime
        from fastbert.runtime import Classifier, EngineError
        file = sys.argv[1] + "/fp32/stage_00.onnx"
        mine = onnxruntime.InferenceSession(file)
        before = len(os.listdir("/proc/self/task"))
        classifier = Classifier.load(sys.argv[1], threads=4)
        classifier.run([[1, 2]])
        for _ in range(500):  # a thread that loaded an engine is listed for a moment after it was joined
            if (count := len(os.listdir("/proc/self/task")) - before) <= 4:
                break
            time.sleep(0.01)
        print(count <= 4, flush=True)  # a pool per session would add 3 threads each
        onnxruntime.InferenceSession(file)
        assert Classifier.load(sys.argv[1], threads=1).predict(["good"]) == classifier.predict(["good"])
        try:
            Classifier.load(sys.argv[1], thread_pool="host")
        except EngineError as error:
            print("'separate'" in str(error))
    """
    assert run(script, bundle).split() == ["True", "True"]


def test_a_pool_that_the_host_made_is_used(bundle):
    script = """
        import sys
        import onnxruntime
        from fastbert.runtime import Classifier, EngineError
        onnxruntime.set_global_thread_pool_sizes(3, 1)
        classifiers = [Classifier.load(sys.argv[1], thread_pool="host") for _ in range(2)]
        print(classifiers[0].predict(["good"])[0].label)
        try:
            Classifier.load(sys.argv[1])
        except EngineError as error:
            print("'host'" in str(error))
    """
    label, refused = run(script, bundle).split("\n")[-2:]
    assert label in ("negative", "neutral", "positive")
    assert refused == "True"


def test_the_size_of_the_hosts_pool_is_not_ours_to_choose(bundle):
    with pytest.raises(UsageError, match="`threads` is 2, but `thread_pool` is 'host'"):
        Classifier.load(bundle, threads=2, thread_pool="host")


def test_a_missing_onnxruntime_names_the_command(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fastbert-deploy\[cpu\]'"):
        Classifier.load(bundle)


def test_a_missing_provider_is_named(bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(EngineError, match="device='cpu' needs CPUExecutionProvider.* has CUDAExecutionProvider"):
        Classifier.load(bundle)


class _PublicSession:
    """A session without the private attribute in which `InferenceSession` keeps its inner session."""

    def __init__(self, session):
        self.io_binding = session.io_binding
        self.run = session.run
        self.run_with_iobinding = session.run_with_iobinding


def test_an_onnxruntime_with_other_private_names_answers_the_same(bundle, classifier):
    session = load(bundle, classifier.manifest.variant_for("cpu"), threads=1).load_batches().embeddings
    assert hasattr(session, "_sess"), "renamed: the shortcut for running a session is gone"
    assert hasattr(session.io_binding(), "_iobinding"), "renamed as well"
    encoded = classifier.encode(["good film"])
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: getattr(encoded, name) for name in names}
    found = []
    for one in (session, _PublicSession(session)):
        outputs = {"hidden_states": np.zeros((*encoded.input_ids.shape, classifier.manifest.hidden_size), np.float32)}
        bind(one, inputs, outputs, onnxruntime.RunOptions())()
        found.append(outputs["hidden_states"])
    assert np.array_equal(*found)
    assert found[0].any()
    session = onnxruntime.InferenceSession(bundle / "fp32" / "row.onnx")
    rows = [RowSession(one, onnxruntime.RunOptions(), lambda: None) for one in (session, _PublicSession(session))]
    short, public = (row.run(inputs["input_ids"], inputs["token_type_ids"], np.zeros(1, np.float32)) for row in rows)
    assert short[1].tolist() == public[1].tolist() == [2]
    assert np.array_equal(short[0], public[0])


def test_several_threads_run_all_stages_in_one_session_and_answer_the_same(bundle, classifier):
    """One thread, and a bundle without that model, have one session per stage."""
    variant = classifier.manifest.variant_for("cpu")
    assert variant.chain == "fp32/chain.onnx"
    one = load(bundle, variant, threads=2)
    assert len({id(stage.session) for stage in one.load_batches().stages}) == 1
    others = load(bundle, variant, threads=1), load(bundle, replace(variant, chain=None), threads=2)
    for many in others:
        assert len({id(stage.session) for stage in many.load_batches().stages}) == one.stages == many.stages == 3
    encoded = classifier.encode(["good film", "bad " * 9])
    inputs = Inputs(encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    for many in others:
        for expected, found in zip(run_all_exits(many, inputs), run_all_exits(one, inputs), strict=True):
            assert np.array_equal(expected, found)


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), speed=st.floats(0.0, 1.0))
def test_a_row_in_one_call_is_answered_as_stage_by_stage(bundle, seed, speed):
    for one, many in _both_ways(bundle):
        [row] = make_rows(1, seed=seed)
        encoded = one.encode([row.text])
        arrays = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
        found, expected = one.run(*arrays, speed=speed), many.run(*arrays, speed=speed)
        assert found.exit_layer.tolist() == expected.exit_layer.tolist()
        assert np.array_equal(found.logits, expected.logits)
        assert np.array_equal(found.uncertainty, expected.uncertainty)


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), speed=st.floats(0.0, 1.0), data=st.data())
def test_a_row_with_hidden_tokens_is_answered_as_in_a_batch(bundle, seed, speed, data):
    for one, many in _both_ways(bundle):
        [row] = make_rows(1, seed=seed)
        encoded = one.encode([row.text])
        ids, mask, types = encoded.input_ids, encoded.attention_mask.copy(), encoded.token_type_ids
        mask[0, 1:] = data.draw(st.lists(st.integers(0, 1), min_size=mask.size - 1, max_size=mask.size - 1))
        found, expected = one.run(ids, mask, types, speed=speed), many.run(ids, mask, types, speed=speed)
        assert np.allclose(found.logits, expected.logits, atol=1e-5)
        assert np.allclose(found.uncertainty, expected.uncertainty, atol=1e-5)
        borderline = np.abs(many.run_all_exits(ids, mask, types)[1] - speed).min() < 1e-5
        assert borderline or found.exit_layer.tolist() == expected.exit_layer.tolist()


def test_a_padded_row_runs_without_the_sessions_of_batches(bundle, classifier):
    engine = load(bundle, classifier.manifest.variant_for("cpu"), threads=1)
    alone = Classifier._from_engine(bundle, classifier.manifest, engine)
    ids = classifier.encode(["good film"]).input_ids
    wide, mask = np.pad(ids, ((0, 0), (0, 3))), np.pad(np.ones_like(ids), ((0, 0), (0, 3)))
    assert np.array_equal(alone.run(wide, mask, speed=0.0).logits, alone.run(ids, speed=0.0).logits)
    assert engine._sessions is None
    mask[0, 1] = 0  # between two tokens, so it cannot be cut off
    assert not np.array_equal(alone.run(wide, mask, speed=0.0).logits, alone.run(ids, speed=0.0).logits)
    assert engine._sessions is not None


@cache
def _both_ways(bundle):
    return [
        [Classifier.load(bundle, threads=threads, batches=batches) for batches in (False, True)] for threads in (1, 2)
    ]


def test_the_sessions_of_batches_are_made_with_the_first_batch(bundle, classifier):
    engine = load(bundle, classifier.manifest.variant_for("cpu"), threads=1)
    alone = Classifier._from_engine(bundle, classifier.manifest, engine)
    alone.predict(["good film"])
    assert engine._sessions is None
    alone.predict(["good film", "bad film"], batch_size=2)
    assert engine._sessions is not None


def test_a_bundle_without_a_row_model_runs_a_row_stage_by_stage(bundle, classifier):
    variant = classifier.manifest.variant_for("cpu")
    assert variant.row == "fp32/row.onnx"
    engine = load(bundle, replace(variant, row=None), threads=1)
    old = Classifier._from_engine(bundle, classifier.manifest, engine)
    assert engine._sessions is not None
    assert old.predict(["good film"], speed=0.3) == classifier.predict(["good film"], speed=0.3)


def test_more_batch_shapes_than_are_kept(bundle, classifier, monkeypatch):
    monkeypatch.setattr(cpu_engine, "_SHAPES_KEPT", 2)
    engine = load(bundle, classifier.manifest.variant_for("cpu"), threads=1, batches=True)
    batches = Classifier._from_engine(bundle, classifier.manifest, engine)
    for count in (4, 3, 2, 1, 4, 3):  # the longest first, as buffers that grow discard the shapes too
        assert batches.predict(["good " * count] * 2) == classifier.predict(["good " * count] * 2)
    assert len(engine._threads.workspace._states) <= 3


def test_a_row_may_be_a_strided_read_only_view(classifier):
    encoded = classifier.encode(["good film bad plot"])
    arrays = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    expected = classifier.run(*arrays, speed=0.0)
    for step, views in (
        (2, [np.repeat(array, 2, axis=1)[:, ::2] for array in arrays]),
        (-1, [np.ascontiguousarray(array[:, ::-1])[:, ::-1] for array in arrays]),
    ):
        assert [view.strides[1] for view in views] == [8 * step] * 3
        for view in views:
            view.flags.writeable = False
        assert np.array_equal(classifier.run(*views, speed=0.0).logits, expected.logits)


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_bundle_of_links_answers_the_same(bundle, classifier, tmp_path, link):
    """As in a Hugging Face cache."""
    for path in sorted(bundle.rglob("*")):
        copy = tmp_path / "kept" / path.relative_to(bundle)
        linked = tmp_path / "bundle" / path.relative_to(bundle)
        if path.is_dir():
            copy.mkdir(parents=True)
            linked.mkdir(parents=True)
        else:
            copy.parent.mkdir(exist_ok=True)
            linked.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
            getattr(linked, link)(copy)
    found = Classifier.load(tmp_path / "bundle", threads=2).predict(["good film"], speed=0.0)
    assert found[0].probabilities == pytest.approx(classifier.predict(["good film"], speed=0.0)[0].probabilities)


def test_an_engine_is_freed_without_the_garbage_collector(bundle, classifier):
    engine = load(bundle, classifier.manifest.variant_for("cpu"), threads=1)
    run_all_exits(engine, Inputs(*(np.ones((1, 3), np.int64) for _ in range(3))))
    buffers = weakref.ref(engine._threads.workspace)  # and the bindings to them, which hold the weights
    gc.disable()
    try:
        del engine
        assert buffers() is None
    finally:
        gc.enable()

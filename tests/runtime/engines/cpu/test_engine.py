"""Thread pools belong to a process, so each case of theirs runs in a fresh one."""

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
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_rows

from fastbert.runtime import Classifier
from fastbert.runtime.chain import run_all_exits
from fastbert.runtime.engines.cpu import engine as onnxruntime_engine
from fastbert.runtime.engines.cpu.binding import bound
from fastbert.runtime.engines.cpu.engine import load
from fastbert.runtime.engines.cpu.row import RowSession


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_idle_threads_do_not_burn_the_processor(bundle):
    script = """
        import sys, time
        from fastbert.runtime import Classifier
        classifier = Classifier.load(sys.argv[1], threads=2)
        classifier.predict(["good"] * 8)
        spent = 0.0
        for _ in range(5):
            classifier.predict(["good"] * 8)
            before = time.process_time()
            time.sleep(0.1)
            spent += time.process_time() - before
        print(spent / 5)
    """
    assert float(run(script, bundle)) < 0.01  # ONNX Runtime's own default spins for 0.045 s


def test_other_sessions_of_the_process_are_left_alone(bundle):
    script = """
        import sys
        import onnxruntime
        from fastbert.runtime import Classifier
        mine = onnxruntime.InferenceSession(sys.argv[1] + "/fp32/stage_00.onnx")
        classifiers = [Classifier.load(sys.argv[1], threads=threads) for threads in (1, 2)]
        onnxruntime.InferenceSession(sys.argv[1] + "/fp32/stage_00.onnx")
        print(len({classifier.predict(["good"])[0].label for classifier in classifiers}))
    """
    assert run(script, bundle) == "1"


@pytest.mark.parametrize("thread_pool", ["separate", "shared"])
def test_a_chain_has_one_set_of_threads(bundle, thread_pool):
    script = """
        import os, sys, time
        from fastbert.runtime import Classifier
        before = len(os.listdir("/proc/self/task"))
        classifier = Classifier.load(sys.argv[1], threads=4, thread_pool=sys.argv[2])
        classifier.run([[1, 2]])
        time.sleep(0.5)  # a thread that loaded an engine is listed for a moment after it was joined
        print(len(os.listdir("/proc/self/task")) - before)
    """
    assert int(run(script, bundle, thread_pool)) <= 4  # one pool; a pool for each session would add 3 each


def test_a_pool_that_the_host_made_is_used(bundle):
    script = """
        import sys
        import onnxruntime
        from fastbert.runtime import Classifier, EngineError
        onnxruntime.set_global_thread_pool_sizes(2, 1)
        print(Classifier.load(sys.argv[1], thread_pool="host").predict(["good"])[0].label)
        try:
            Classifier.load(sys.argv[1])
        except EngineError as error:
            print("'host'" in str(error))
    """
    label, refused = run(script, bundle).split("\n")[-2:]
    assert label in ("negative", "neutral", "positive")
    assert refused == "True"


def test_a_host_pool_that_is_not_there_is_an_error_that_says_so(bundle):
    script = """
        import sys
        import onnxruntime
        from fastbert.runtime import Classifier, EngineError
        mine = onnxruntime.InferenceSession(sys.argv[1] + "/fp32/stage_00.onnx")
        try:
            Classifier.load(sys.argv[1], thread_pool="host")
        except EngineError as error:
            print("'separate'" in str(error))
    """
    assert run(script, bundle) == "True"


def test_the_shared_pool_is_sized_once(bundle):
    script = """
        import sys
        from fastbert.runtime import Classifier, EngineError
        Classifier.load(sys.argv[1], threads=2, thread_pool="shared")
        Classifier.load(sys.argv[1], threads=2, thread_pool="shared")
        try:
            Classifier.load(sys.argv[1], threads=3, thread_pool="shared")
        except EngineError as error:
            print("already has 2" in str(error))
    """
    assert run(script, bundle) == "True"


def test_a_missing_onnxruntime_names_the_command(bundle):
    script = """
        import sys
        sys.modules["onnxruntime"] = None
        from fastbert.runtime import Classifier, MissingDependencyError
        try:
            Classifier.load(sys.argv[1])
        except MissingDependencyError as error:
            print("pip install 'fastbert-deploy[cpu]'" in str(error))
    """
    assert run(script, bundle) == "True"


def test_a_provider_that_is_not_there_is_named(bundle):
    script = """
        import sys
        import onnxruntime
        from fastbert.runtime import Classifier, EngineError
        onnxruntime.get_available_providers = lambda: ["CUDAExecutionProvider"]
        try:
            Classifier.load(sys.argv[1])
        except EngineError as error:
            print("CPUExecutionProvider was asked for" in str(error))
    """
    assert run(script, bundle) == "True"


class _PublicSession:
    """A session without the name that `InferenceSession` keeps its inner one under."""

    def __init__(self, session):
        self.io_binding = session.io_binding
        self.run = session.run
        self.run_with_iobinding = session.run_with_iobinding


def test_an_onnxruntime_of_other_inner_names_answers_the_same(bundle, classifier):
    session = load(bundle, classifier.manifest.variant_for("cpu"), threads=1).load_batches().embeddings
    assert hasattr(session, "_sess"), "renamed: the short way to run a session is gone"
    assert hasattr(session.io_binding(), "_iobinding"), "renamed as well"
    encoded = classifier.encode(["good film"])
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: getattr(encoded, name) for name in names}
    found = []
    for one in (session, _PublicSession(session)):
        outputs = {"hidden_states": np.zeros((*encoded.input_ids.shape, classifier.manifest.hidden_size), np.float32)}
        bound(one, inputs, outputs, onnxruntime.RunOptions())()
        found.append(outputs["hidden_states"])
    assert np.array_equal(*found)
    assert found[0].any()
    session = onnxruntime.InferenceSession(bundle / "fp32" / "row.onnx")
    rows = [RowSession(one, onnxruntime.RunOptions(), lambda: None) for one in (session, _PublicSession(session))]
    short, public = (row.run(inputs["input_ids"], inputs["token_type_ids"], np.zeros(1, np.float32)) for row in rows)
    assert short[1].tolist() == public[1].tolist() == [2]
    assert np.array_equal(short[0], public[0])


def test_several_threads_run_all_stages_in_one_session_and_answer_the_same(bundle, classifier):
    """One thread, and a bundle written before there was such a model, have a session a stage."""
    variant = classifier.manifest.variant_for("cpu")
    assert variant.chain == "fp32/chain.onnx"
    one = load(bundle, variant, threads=2)
    assert len({id(stage.session) for stage in one.load_batches().stages}) == 1
    others = load(bundle, variant, threads=1), load(bundle, replace(variant, chain=None), threads=2)
    for many in others:
        assert len({id(stage.session) for stage in many.load_batches().stages}) == one.stages == many.stages == 3
    encoded = classifier.encode(["good film", "bad " * 9])
    arrays = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    for many in others:
        for expected, found in zip(run_all_exits(many, *arrays), run_all_exits(one, *arrays), strict=True):
            assert np.array_equal(expected, found)


@given(seed=st.integers(0, 10**6), speed=st.floats(0.0, 1.0))
def test_a_row_in_one_call_is_answered_as_stage_by_stage(bundle, seed, speed):
    for one, many in _ways(bundle):
        [row] = make_rows(1, seed=seed)
        encoded = one.encode([row.text])
        arrays = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
        found, expected = one.run(*arrays, speed=speed), many.run(*arrays, speed=speed)
        assert found.exit_layer.tolist() == expected.exit_layer.tolist()
        assert np.array_equal(found.logits, expected.logits)
        assert np.array_equal(found.uncertainty, expected.uncertainty)


@given(seed=st.integers(0, 10**6), speed=st.floats(0.0, 1.0), data=st.data())
def test_a_row_with_hidden_tokens_is_answered_as_in_a_batch(bundle, seed, speed, data):
    for one, many in _ways(bundle):
        [row] = make_rows(1, seed=seed)
        encoded = one.encode([row.text])
        ids, mask, types = encoded.input_ids, encoded.attention_mask.copy(), encoded.token_type_ids
        mask[0, 1:] = data.draw(st.lists(st.integers(0, 1), min_size=mask.size - 1, max_size=mask.size - 1))
        found, expected = one.run(ids, mask, types, speed=speed), many.run(ids, mask, types, speed=speed)
        assert np.allclose(found.logits, expected.logits, atol=1e-5)
        assert np.allclose(found.uncertainty, expected.uncertainty, atol=1e-5)
        borderline = np.abs(many.run_all_exits(ids, mask, types)[1] - speed).min() < 1e-5
        assert borderline or found.exit_layer.tolist() == expected.exit_layer.tolist()


def test_a_padded_row_needs_no_batches(bundle, classifier):
    engine = load(bundle, classifier.manifest.variant_for("cpu"), threads=1)
    alone = Classifier.from_engine(bundle, classifier.manifest, engine)
    ids = classifier.encode(["good film"]).input_ids
    wide, mask = np.pad(ids, ((0, 0), (0, 3))), np.pad(np.ones_like(ids), ((0, 0), (0, 3)))
    assert np.array_equal(alone.run(wide, mask, speed=0.0).logits, alone.run(ids, speed=0.0).logits)
    assert engine._sessions is None
    mask[0, 1] = 0  # between others: it cannot be cut off
    assert not np.array_equal(alone.run(wide, mask, speed=0.0).logits, alone.run(ids, speed=0.0).logits)
    assert engine._sessions is not None


@cache
def _ways(bundle):
    return [
        [Classifier.load(bundle, threads=threads, batches=batches) for batches in (False, True)] for threads in (1, 2)
    ]


def test_what_runs_batches_is_loaded_with_the_first_one(bundle, classifier):
    engine = load(bundle, classifier.manifest.variant_for("cpu"), threads=1)
    alone = Classifier.from_engine(bundle, classifier.manifest, engine)
    alone.predict(["good film"])
    assert engine._sessions is None
    alone.predict(["good film", "bad film"], batch_size=2)
    assert engine._sessions is not None


def test_a_bundle_written_before_a_row_had_a_model_runs_it_stage_by_stage(bundle, classifier):
    variant = classifier.manifest.variant_for("cpu")
    assert variant.row == "fp32/row.onnx"
    engine = load(bundle, replace(variant, row=None), threads=1)
    old = Classifier.from_engine(bundle, classifier.manifest, engine)
    assert engine._sessions is not None
    assert old.predict(["good film"], speed=0.3) == classifier.predict(["good film"], speed=0.3)


def test_batches_of_more_shapes_than_are_kept(bundle, classifier, monkeypatch):
    monkeypatch.setattr(onnxruntime_engine, "_SHAPES_KEPT", 2)
    engine = load(bundle, classifier.manifest.variant_for("cpu"), threads=1, batches=True)
    batches = Classifier.from_engine(bundle, classifier.manifest, engine)
    for count in (4, 3, 2, 1, 4, 3):  # the longest first: more room than there is would start anew as well
        assert batches.predict(["good " * count] * 2) == classifier.predict(["good " * count] * 2)
    assert len(engine._threads.workspace._states) <= 3


def test_a_row_that_is_a_view_is_read_as_it_looks(classifier):
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
    """As in a cache of the Hugging Face hub."""
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


def test_an_engine_that_nobody_holds_is_gone_at_once(bundle, classifier):
    engine = load(bundle, classifier.manifest.variant_for("cpu"), threads=1)
    run_all_exits(engine, *(np.ones((1, 3), np.int64) for _ in range(3)))
    buffers = weakref.ref(engine._threads.workspace)  # with what is bound to them, which holds the weights
    gc.disable()
    try:
        del engine
        assert buffers() is None
    finally:
        gc.enable()

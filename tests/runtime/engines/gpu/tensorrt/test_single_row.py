"""A single row in one TensorRT engine, through stand-ins that compute real answers."""

import gc
import weakref

import numpy as np
import pytest

from fastbert.export import BuildOptions
from fastbert.export.golden import CHECKED_SPEEDS, GOLDEN, read_golden
from fastbert.runtime import Classifier, UsageError

LIBRARIES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}  # name -> the fixture of its stand-in


@pytest.fixture(params=LIBRARIES)
def library(request):
    """A library's name and its stand-in."""
    return request.param, request.getfixturevalue(LIBRARIES[request.param])


@pytest.fixture
def with_row(library, built_with):
    """A bundle with a single row's engine, for up to 48 tokens; only read it."""
    return built_with(BuildOptions(engine=library[0], batches=(1, 4), sequences=(16, 48), single_row=True))


def rows_of(bundle, most=48):
    """The golden rows of at most so many tokens, each without padding."""
    golden = read_golden(bundle / GOLDEN)
    lengths = golden.attention_mask.sum(axis=1)
    for ids, types, length in zip(golden.input_ids, golden.token_type_ids, lengths, strict=True):
        if length <= most:
            yield ids[None, :length], np.ones((1, length), np.int64), types[None, :length]


@pytest.mark.parametrize("graphs", [False, True], ids=["streams", "graphs"])
def test_golden_rows_exit_where_the_chain_exits(library, with_row, graphs):
    classifier = Classifier.load(with_row, device=library[0], cuda_graphs=graphs)
    stages = Classifier.load(with_row, device=library[0])
    stages._engine._executor.has_row = False
    exits = set()
    for row in rows_of(with_row):
        for speed in CHECKED_SPEEDS:
            found, expected = classifier.run(*row, speed=speed), stages.run(*row, speed=speed)
            assert np.array_equal(found.exit_layer, expected.exit_layer)
            assert np.allclose(found.logits, expected.logits, atol=0.02)
            assert np.allclose(found.uncertainty, expected.uncertainty, atol=0.02)
            exits.update(found.exit_layer.tolist())
    assert exits == {0, 1, 2}


def test_a_classifier_that_is_dropped_goes_at_once(library, with_row):
    """Not in a later collection, which may come while another classifier captures a CUDA graph."""
    gc.collect()
    gc.disable()
    try:
        classifier = Classifier.load(with_row, device=library[0])
        classifier.run(*next(rows_of(with_row)), speed=0.5)
        engine = weakref.ref(classifier._engine)
        del classifier
        assert engine() is None
    finally:
        gc.enable()


def test_a_row_is_one_run_and_one_wait_for_its_answer(library, with_row, request):
    cuda = request.getfixturevalue("cuda" if library[0] == "tensorrt" else "rtx_cuda")
    classifier = Classifier.load(with_row, device=library[0])
    [row, *_] = rows_of(with_row)
    classifier.run(*row, speed=0.0)
    library[1].recorder.calls.clear()
    cuda.calls.clear()
    classifier.run(*row, speed=0.0)
    assert library[1].recorder.names() == ["IExecutionContext.execute_async_v3"]
    inputs, outputs = 3, 3
    assert cuda.calls.count("cudaMemcpyAsync") == inputs + outputs
    assert cuda.calls.count("cudaStreamSynchronize") == 2  # before the buffers are written, and for the answer


def test_rows_run_at_their_own_length(library, with_row):
    classifier = Classifier.load(with_row, device=library[0])
    for length in (1, 7, 48):
        ids = np.full((1, length), 5)
        classifier.run(ids, np.ones_like(ids), np.zeros_like(ids), speed=0.5)
    shapes = library[1].recorder.of("IExecutionContext.set_input_shape")
    assert {tuple(call["shape"]) for call in shapes if call["name"] == "input_ids"} == {(1, 1), (1, 7), (1, 48)}


def test_a_batch_runs_stage_by_stage_between_two_rows(library, with_row):
    classifier, expected = Classifier.load(with_row, device=library[0]), Classifier.load(with_row, variant="fp32")
    [row, *_] = rows_of(with_row)
    batch = [np.repeat(array, 3, axis=0) for array in row]
    for inputs in (row, batch, row):
        found, wanted = classifier.run(*inputs, speed=0.6), expected.run(*inputs, speed=0.6)
        assert np.array_equal(found.exit_layer, wanted.exit_layer)
        assert np.allclose(found.logits, wanted.logits, atol=0.02)


def test_a_row_longer_than_every_profile_is_refused(library, with_row):
    classifier = Classifier.load(with_row, device=library[0])
    ids = np.full((1, 49), 5)
    with pytest.raises(UsageError, match="no profile for 1 x 49 tokens"):
        classifier.run(ids, np.ones_like(ids), np.zeros_like(ids), speed=0.5)

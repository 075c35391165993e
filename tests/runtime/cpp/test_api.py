"""What fastbert.h does with wrong arguments: a status, a message that names the thing, and a process that goes on."""

import ctypes
import os
from ctypes import byref, c_void_p

import numpy as np
import pytest

from fastbert.runtime import UsageError
from fastbert.runtime.cpp.binding import ABI_VERSION, Answers, Batch, Encoding, ModelInfo, ModelOptions
from fastbert.version import __version__

USAGE, UNSUPPORTED, OUT_OF_MEMORY = 1, 4, 5
IDS = np.array([[1, 5, 2]])


@pytest.fixture(scope="module")
def session(family_bundle, open_session):
    return open_session(family_bundle("bert"))


@pytest.fixture
def call(libfastbert):
    """Call a function that must fail: name and arguments -> (status, message)."""

    def run(name, *arguments):
        status = getattr(libfastbert, name)(*arguments)
        return status, libfastbert.fastbert_last_error().decode()

    return run


@pytest.fixture(autouse=True)
def works_afterwards(session):
    yield
    assert session.run(IDS).exit_layer.shape == (1,)


def batch(**changes):
    fields = {"rows": 1, "sequence": 3, "type": 0, "input_ids": IDS.ctypes.data}
    made = Batch(**fields | changes)
    made.struct_size = changes.get("struct_size", made.struct_size)
    return made


def test_versions(libfastbert):
    assert libfastbert.fastbert_abi_version() == ABI_VERSION
    assert libfastbert.fastbert_version().decode() == __version__


def test_null_pointers(libfastbert, family_bundle, session, call):
    bundle = os.fsencode(family_bundle("bert"))
    made = c_void_p(1)
    assert call("fastbert_model_load", bundle, None, None) == (USAGE, "`model` is null.")
    assert call("fastbert_model_load", None, None, byref(made)) == (USAGE, "`bundle` is null.")
    assert made.value is None  # no handle that could be freed
    assert call("fastbert_model_get_info", None, byref(ModelInfo())) == (USAGE, "`model` is null.")
    assert call("fastbert_model_get_info", session._model, None) == (USAGE, "`info` is null.")
    assert call("fastbert_session_create", None, byref(made)) == (USAGE, "`model` is null.")
    assert call("fastbert_session_create", session._model, None) == (USAGE, "`session` is null.")
    assert call("fastbert_classify", None, byref(batch()), 0.5, byref(Answers())) == (USAGE, "`session` is null.")
    assert call("fastbert_classify", session._session, None, 0.5, byref(Answers())) == (USAGE, "`batch` is null.")
    assert call("fastbert_classify", session._session, byref(batch()), 0.5, None) == (USAGE, "`answers` is null.")
    assert call("fastbert_encode", session._session, None, None, 0, None) == (USAGE, "`encoding` is null.")
    assert call("fastbert_classify_text", None, None, None, 0, 0.5, byref(Answers())) == (USAGE, "`session` is null.")
    libfastbert.fastbert_model_free(None)
    libfastbert.fastbert_session_free(None)
    assert libfastbert.fastbert_model_label(None, 0) is None
    assert libfastbert.fastbert_model_exit_layer(None, 0) == -1


def test_null_arrays(session, call):
    status, message = call("fastbert_classify", session._session, byref(batch(input_ids=None)), 0.5, byref(Answers()))
    assert status == USAGE
    assert message.startswith("`input_ids` is null")


def test_no_answers_are_asked_for(libfastbert, session):
    assert libfastbert.fastbert_classify(session._session, byref(batch()), 0.5, byref(Answers())) == 0


def test_what_does_not_exist(libfastbert, session):
    assert libfastbert.fastbert_model_label(session._model, session.info.classes) is None
    assert libfastbert.fastbert_model_exit_layer(session._model, session.info.exits) == -1
    assert libfastbert.fastbert_model_exit_layer(session._model, 2**63) == -1


@pytest.mark.parametrize("size", [0, 8, -1])
def test_struct_size_too_small(family_bundle, session, call, size):
    bundle, made = os.fsencode(family_bundle("bert")), c_void_p()
    for struct, name, arguments in (
        (batch(), "batch", ("fastbert_classify", session._session, None, 0.5, byref(Answers()))),
        (Answers(), "answers", ("fastbert_classify", session._session, byref(batch()), 0.5, None)),
        (ModelInfo(), "info", ("fastbert_model_get_info", session._model, None)),
        (ModelOptions(), "options", ("fastbert_model_load", bundle, None, byref(made))),
        (Encoding(), "encoding", ("fastbert_encode", session._session, None, None, 0, None)),
    ):
        struct.struct_size = size if size >= 0 else ctypes.sizeof(struct) - 1
        place = max(index for index, argument in enumerate(arguments) if argument is None)
        status, message = call(*arguments[:place], byref(struct), *arguments[place + 1 :])
        assert status == USAGE
        assert message.startswith(f"The struct_size of `{name}` is {struct.struct_size}; it must be at least")


def test_struct_of_a_later_release(libfastbert, session):
    """Fields that this library does not know are ignored, and not written to."""

    class LaterInfo(ctypes.Structure):
        _fields_ = (("known", ModelInfo), ("later", ctypes.c_uint8 * 64))

    info = LaterInfo(later=(ctypes.c_uint8 * 64)(*[7] * 64))
    info.known.struct_size = ctypes.sizeof(LaterInfo)
    assert libfastbert.fastbert_model_get_info(session._model, byref(info.known)) == 0
    assert info.known.classes == 3
    assert info.known.struct_size == ctypes.sizeof(LaterInfo)
    assert bytes(info.later) == bytes([7] * 64)


@pytest.mark.parametrize("speed", [float("nan"), 2.0, -0.5, float("inf"), 1.0000001])
def test_speed_out_of_range(session, speed):
    with pytest.raises(UsageError, match=r"^`speed` is .*; it must be a number from 0 \(never exit early\) to 1"):
        session.run(IDS, speed=speed)
    with pytest.raises(UsageError, match="^`speed` is"):
        session.run(IDS[:0], speed=speed)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("input_ids", 24, "`input_ids` holds 24; the model knows 0 to 23."),
        ("input_ids", -1, "`input_ids` holds -1; the model knows 0 to 23."),
        ("input_ids", 2**31 - 1, "`input_ids` holds 2147483647; the model knows 0 to 23."),
        ("attention_mask", 2, "`attention_mask` holds 2; the model knows 0 to 1."),
        ("token_type_ids", 2, "`token_type_ids` holds 2; the model knows 0 to 1."),
        ("token_type_ids", -3, "`token_type_ids` holds -3; the model knows 0 to 1."),
    ],
)
def test_values_out_of_range(session, dtype, name, value, message):
    for rows in (1, 2):
        arrays = {
            "input_ids": np.full((rows, 3), 5, dtype),
            "attention_mask": np.ones((rows, 3), dtype),
            "token_type_ids": np.zeros((rows, 3), dtype),
        }
        arrays[name][-1, -1] = value
        with pytest.raises(UsageError) as caught:
            session.run(*arrays.values())
        assert str(caught.value) == message


def test_too_long(session):
    with pytest.raises(UsageError, match="^`input_ids` has sequences of 67 tokens; the model has 66 positions"):
        session.run(np.ones((1, 67), np.int64))


def test_no_token(session, call):
    with pytest.raises(UsageError, match="^`attention_mask` hides the first token of row 1, which exits classify from"):
        session.run(np.ones((2, 3), np.int64), np.array([[1, 1, 1], [0, 1, 1]]))
    status, message = call("fastbert_classify", session._session, byref(batch(sequence=0)), 0.5, byref(Answers()))
    assert (status, message) == (USAGE, "`sequence` is 0; a row has at least one token.")


def test_unknown_type_and_impossible_sizes(session, call):
    for wrong, start in (
        ({"type": 2}, "`type` is 2; it must be FASTBERT_INT64 (0) or FASTBERT_INT32 (1)."),
        ({"rows": 2**63}, f"`rows` is {2**63}"),
        ({"sequence": 2**63}, f"`input_ids` has sequences of {2**63} tokens"),
        ({"rows": 2**61, "sequence": 8}, f"`rows` is {2**61}"),
    ):
        status, message = call("fastbert_classify", session._session, byref(batch(**wrong)), 0.5, byref(Answers()))
        assert status == USAGE
        assert message.startswith(start)


@pytest.mark.parametrize("rows", [2**57, 2**50])
def test_more_rows_than_memory(session, call, rows):
    status, message = call("fastbert_classify", session._session, byref(batch(rows=rows)), 0.5, byref(Answers()))
    assert status == OUT_OF_MEMORY
    assert message.startswith("There is not enough memory")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "fp64"}, 'The bundle has no variant "fp64" for device "cpu". It has: fp32 for cpu; int8 for cpu.'),
        ({"threads": -1}, "`threads` is -1; it must be a number from 1 to 4096, or 0"),
        ({"threads": 5000}, "`threads` is 5000"),
        ({"onnxruntime_library": None, "host_thread_pool": 1}, "`host_thread_pool` is set, but `ort_env` is null"),
        ({"onnxruntime_library": None, "ort_api": 8}, "`ort_api` and `ort_env` belong together, but only `ort_api`"),
        ({"onnxruntime_library": None, "ort_env": 8}, "`ort_api` and `ort_env` belong together, but only `ort_env`"),
        ({"ort_api": 8, "ort_env": 8}, "`onnxruntime_library` and `ort_api` are both given"),
    ],
)
def test_wrong_options(family_bundle, open_session, options, message):
    with pytest.raises(UsageError) as caught:
        open_session(family_bundle("bert"), **options)
    assert str(caught.value).startswith(message)


def test_free_in_any_order(libfastbert, family_bundle, onnxruntime_path):
    options = ModelOptions(threads=1, onnxruntime_library=os.fsencode(onnxruntime_path))
    model, session = c_void_p(), c_void_p()
    assert libfastbert.fastbert_model_load(os.fsencode(family_bundle("bert")), byref(options), byref(model)) == 0
    assert libfastbert.fastbert_session_create(model, byref(session)) == 0
    libfastbert.fastbert_model_free(model)
    layer = ctypes.c_int32(-1)
    answers = Answers(exit_layer=ctypes.pointer(layer))
    assert libfastbert.fastbert_classify(session, byref(batch()), 0.0, byref(answers)) == 0
    assert layer.value == 2
    libfastbert.fastbert_session_free(session)


def test_labels_and_probabilities(libfastbert, session):
    """The label is the lowest index of the highest logit; probabilities are the softmax."""
    ids = np.array([[1, 5, 2], [1, 9, 2]])
    logits, probabilities = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    labels, truncated = np.zeros(2, np.int32), np.ones(2, np.uint8)
    answers = Answers(
        logits=logits.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
        probabilities=probabilities.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
        label=labels.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
        truncated=truncated.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)),
    )
    given = batch(rows=2, input_ids=ids.ctypes.data)
    assert libfastbert.fastbert_classify(session._session, byref(given), 0.0, byref(answers)) == 0
    np.testing.assert_array_equal(labels, logits.argmax(axis=1))
    scaled = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(probabilities, scaled / scaled.sum(axis=1, keepdims=True), rtol=1e-6)
    assert not truncated.any()


def test_text_is_not_in_this_build(session, call):
    if session.info.has_text:
        pytest.skip("this build tokenizes")
    status, message = call("fastbert_classify_text", session._session, None, None, 0, 0.5, byref(Answers()))
    assert status == UNSUPPORTED
    assert message == session.info.text_problem.decode()
    status, _ = call("fastbert_encode", session._session, None, None, 0, byref(Encoding(capacity=48)))
    assert status == UNSUPPORTED


def test_messages_belong_to_a_thread(libfastbert, session, call):
    import threading

    call("fastbert_classify", session._session, None, 0.5, byref(Answers()))
    seen = []
    thread = threading.Thread(target=lambda: seen.append(libfastbert.fastbert_last_error()))
    thread.start()
    thread.join()
    assert seen == [b""]
    assert libfastbert.fastbert_last_error() == b"`batch` is null."

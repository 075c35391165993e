"""The TensorRT engine through stand-ins that are held to the real interface and compute real answers (`doubles`)."""

import gc
import json
import sys
import threading

import numpy as np
import pytest
from support.doubles.cuda import FakeCuda

from fastbert.runtime import Classifier, EngineError, UsageError
from fastbert.runtime.engines.gpu.tensorrt.libraries import log_of
from fastbert.runtime.errors import BundleError


def random_batch(rows, length, seed=0):
    generator = np.random.default_rng(seed)
    ids = generator.integers(4, 24, (rows, length))
    mask = (np.arange(length) < generator.integers(1, length + 1, rows)[:, None]).astype(np.int64)
    return ids * mask, mask, np.zeros_like(ids)


def assert_same(found, expected):
    assert np.array_equal(found.exit_layer, expected.exit_layer)
    assert np.allclose(found.logits, expected.logits, atol=0.02)


@pytest.fixture
def expected(gpu_bundle):
    return Classifier.load(gpu_bundle, variant="fp32")


@pytest.mark.parametrize("graphs", [False, True], ids=["streams", "graphs"])
@pytest.mark.parametrize("speed", [0.0, 0.6, 1.0])
def test_answers_and_exits_are_those_of_the_cpu(built, expected, graphs, speed):
    classifier = Classifier.load(built, device="tensorrt", cuda_graphs=graphs)
    for seed in range(6):  # several runs, as graphs are captured on the second run of a shape
        batch = random_batch(13, 20, seed % 2)
        assert_same(classifier.run(*batch, speed=speed), expected.run(*batch, speed=speed))


def test_a_larger_batch_is_run_in_parts(built, expected):
    batch = random_batch(40, 20)
    classifier = Classifier.load(built, device="tensorrt")
    assert_same(classifier.run(*batch, speed=0.6), expected.run(*batch, speed=0.6))
    assert np.allclose(classifier.run_all_exits(*batch)[0], expected.run_all_exits(*batch)[0], atol=0.02)


def test_a_run_makes_the_calls_of_the_design_in_their_order(built, tensorrt, cuda):
    classifier = Classifier.load(built, device="tensorrt")
    tensorrt.recorder.calls.clear()
    cuda.calls.clear()
    classifier.run(*random_batch(1, 10), speed=0.0)
    run = ["IExecutionContext.execute_async_v3"]
    context = [
        "ICudaEngine.create_execution_context",
        "IExecutionContext.set_device_memory",
        "IExecutionContext.set_optimization_profile_async",
    ]
    embeddings = [*context, *["IExecutionContext.set_input_shape"] * 3, *["IExecutionContext.set_tensor_address"] * 5]
    stage = [*context, *["IExecutionContext.set_input_shape"] * 2, *["IExecutionContext.set_tensor_address"] * 5]
    assert tensorrt.recorder.names() == [*embeddings, *run, *[*stage, *run] * 3]
    tensorrt.recorder.calls.clear()
    cuda.calls.clear()
    classifier.run(*random_batch(1, 12), speed=0.0)  # the same bucket: only runs, copies and waits remain
    addresses = tensorrt.recorder.of("IExecutionContext.set_tensor_address")
    assert addresses == []
    assert tensorrt.recorder.names() == run * 4
    copies_in, exits = 3, 3
    assert cuda.calls.count("cudaMemcpyAsync") == copies_in + exits + 1  # one uncertainty per exit, the logits once
    assert cuda.calls.count("cudaStreamSynchronize") == 1 + exits + 1
    assert set(cuda.calls) == {"cudaMemcpyAsync", "cudaStreamSynchronize"}


def test_hidden_states_never_come_to_the_host(built, cuda, monkeypatch):
    classifier = Classifier.load(built, device="tensorrt")
    sizes = []
    copy = FakeCuda._cudaMemcpyAsync

    def record(self, target, source, count, kind, stream):
        if kind == self.real.cudaMemcpyKind.cudaMemcpyDeviceToHost:
            sizes.append(count)
        return copy(self, target, source, count, kind, stream)

    monkeypatch.setattr(FakeCuda, "_cudaMemcpyAsync", record)
    found = classifier.run(*random_batch(13, 20), speed=0.6)
    assert len(set(found.exit_layer.tolist())) > 1
    assert max(sizes) == 13 * 3 * 4  # logits


def test_with_graphs_a_known_shape_is_one_launch_between_two_exits(built, tensorrt, cuda):
    classifier = Classifier.load(built, device="tensorrt", cuda_graphs=True)
    batch = random_batch(3, 10)
    for _ in range(2):
        classifier.run(*batch, speed=0.0)
    tensorrt.recorder.calls.clear()
    cuda.calls.clear()
    classifier.run(*batch, speed=0.0)
    assert tensorrt.recorder.names() == ["IExecutionContext.execute_async_v3"]  # the embeddings
    assert cuda.calls.count("cudaGraphLaunch") == 3


def test_all_contexts_of_a_thread_share_one_block_of_memory(built, tensorrt):
    classifier = Classifier.load(built, device="tensorrt")
    classifier.run(*random_batch(13, 40), speed=0.0)
    blocks = tensorrt.recorder.of("IExecutionContext.set_device_memory")
    assert len(blocks) == 4
    assert len({(call["memory"], call["size"]) for call in blocks}) == 1


def test_each_thread_has_its_own_contexts_and_stream(built, tensorrt, expected):
    classifier = Classifier.load(built, device="tensorrt")
    tensorrt.recorder.calls.clear()
    batches = [random_batch(9, 25, seed) for seed in range(3)]
    wanted = [expected.run(*batch, speed=0.6) for batch in batches]
    failed = []
    all_at_work = threading.Barrier(3)  # a new thread would reuse the stream of one that ended

    def work(index):
        try:
            for _ in range(3):
                assert_same(classifier.run(*batches[index], speed=0.6), wanted[index])
                all_at_work.wait(60)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len({call["stream_handle"] for call in tensorrt.recorder.of("IExecutionContext.execute_async_v3")}) == 3
    assert "Runtime.deserialize_cuda_engine" not in tensorrt.recorder.names()  # engines are shared


def test_a_classifier_frees_its_memory(built, cuda):
    gc.collect()
    before = len(cuda.live), len(cuda.pinned), len(cuda.streams)
    classifier = Classifier.load(built, device="tensorrt")
    classifier.predict(["good plot"])
    assert len(cuda.live) > before[0]
    del classifier
    gc.collect()
    assert (len(cuda.live), len(cuda.pinned), len(cuda.streams)) == before


def test_a_text_longer_than_every_profile_names_them(built):
    classifier = Classifier.load(built, device="tensorrt")
    with pytest.raises(UsageError, match=r"for 1 x 60 tokens.*1-1 x 16, 2-4 x 16, 5-16 x 16.*fastbert build"):
        classifier.run(np.full((1, 60), 5))


def rewrite(bundle, **details):
    document = json.loads((bundle / "manifest.json").read_text())
    document["variants"]["tensorrt-fp16-sm90"]["tensorrt"] |= details
    (bundle / "manifest.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"version": "11.2.1.2"}, "TensorRT 11.2.1.2; here it is 11."),
        ({"sm": "sm89"}, "architecture sm89; here it is sm90"),
    ],
)
def test_engines_of_another_version_or_gpu_name_the_command_that_builds_them(built, tensorrt, details, message):
    rewrite(built, **details)
    with pytest.raises(EngineError, match=message) as raised:
        Classifier.load(built, device="tensorrt")
    command = f"fastbert build {built} --variant fp16 --batch 1,4,16 --sequence 16,32,48 --overwrite"
    assert command in str(raised.value)
    assert tensorrt.recorder.calls == []  # compared before anything is read


def test_a_plan_that_cannot_be_read_says_why(built, tensorrt):
    (built / "tensorrt-fp16-sm90" / "stage_01.engine").write_bytes(b"vtrt, as plans of TensorRT for RTX begin")
    with pytest.raises(BundleError, match="stage_01"):
        Classifier.load(built, device="tensorrt")  # by its sha256
    document = json.loads((built / "manifest.json").read_text())
    from fastbert.runtime.manifest import file_record

    name = "tensorrt-fp16-sm90/stage_01.engine"
    document["files"][name] = file_record(built / name)
    (built / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match="stage_01.engine.*magic tag does not match"):
        Classifier.load(built, device="tensorrt")


def test_too_little_memory_says_what_was_needed(built, cuda):
    cuda._total = sum(array.nbytes for array in cuda.live.values()) + 20_000
    with pytest.raises(EngineError, match="MiB were needed for"):
        Classifier.load(built, device="tensorrt").predict(["good"])


def test_no_gpu_and_no_tensorrt_are_errors(built, cuda, monkeypatch):
    cuda._devices = 0
    with pytest.raises(EngineError, match="No GPU"):
        Classifier.load(built, device="tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match=r"fastbert-deploy\[tensorrt\]"):
        Classifier.load(built, device="tensorrt")


def test_a_bundle_without_engines_says_what_it_has(gpu_bundle, tensorrt):
    with pytest.raises(UsageError, match="fp16 for cuda; int8-qdq for fastbert build"):
        Classifier.load(gpu_bundle, device="tensorrt")


def test_a_call_that_tensorrt_refuses_is_an_error_with_its_reason(built, tensorrt, monkeypatch):
    classifier = Classifier.load(built, device="tensorrt")
    engines = classifier._engine._executor
    monkeypatch.setattr(tensorrt.IExecutionContext, "execute_async_v3", lambda self, stream_handle: False)
    engines.log.trt_logger.log(tensorrt.ILogger.Severity.ERROR, "illegal memory access")
    with pytest.raises(EngineError, match="refused a run for engine 'embeddings': illegal memory access"):
        classifier.predict(["good"])


def test_tensorrts_warnings_go_to_the_log_and_its_errors_are_kept(tensorrt, caplog):
    log = log_of(tensorrt)
    log.trt_logger.log(tensorrt.ILogger.Severity.WARNING, "slow")
    log.trt_logger.log(tensorrt.ILogger.Severity.INFO, "chatter")
    log.trt_logger.log(tensorrt.ILogger.Severity.ERROR, "broken")
    assert "slow" in caplog.text
    assert "chatter" not in caplog.text
    assert log.take_errors() == "broken"
    assert log.take_errors() == "it gave no reason"

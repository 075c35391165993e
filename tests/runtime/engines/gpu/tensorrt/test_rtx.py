"""TensorRT for RTX through stand-ins that are held to the real library's classes and compute real answers."""

import gc
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fastbert.runtime import Classifier, EngineError, UsageError
from fastbert.runtime.errors import BundleError, MissingDependencyError
from fastbert.runtime.manifest import file_record

NAME = "tensorrt-rtx-fp16"


def random_batch(rows, length, seed=0):
    generator = np.random.default_rng(seed)
    ids = generator.integers(4, 24, (rows, length))
    mask = (np.arange(length) < generator.integers(1, length + 1, rows)[:, None]).astype(np.int64)
    return ids * mask, mask, np.zeros_like(ids)


def load(bundle, **options):
    return Classifier.load(bundle, device="tensorrt-rtx", **options)


def rewrite(bundle, **details):
    document = json.loads((bundle / "manifest.json").read_text())
    document["variants"][NAME]["tensorrt"] |= details
    (bundle / "manifest.json").write_text(json.dumps(document))


@pytest.mark.parametrize("graphs", [False, True], ids=["streams", "graphs"])
@pytest.mark.parametrize("speed", [0.0, 0.6])
def test_answers_and_exits_are_those_of_the_cpu(rtx_built, gpu_bundle, graphs, speed):
    expected, classifier = Classifier.load(gpu_bundle, variant="fp32"), load(rtx_built, cuda_graphs=graphs)
    for seed in range(6):  # several runs, as graphs are captured on the second run of a shape
        batch = random_batch(13, 20, seed % 2)
        found, wanted = classifier.run(*batch, speed=speed), expected.run(*batch, speed=speed)
        assert np.array_equal(found.exit_layer, wanted.exit_layer)
        assert np.allclose(found.logits, wanted.logits, atol=0.02)


@pytest.mark.parametrize(("graphs", "strategy"), [(False, "LAZY"), (True, "EAGER")])
def test_kernels_are_compiled_so_that_a_capture_never_sees_it(rtx_built, tensorrt_rtx, graphs, strategy):
    load(rtx_built, cuda_graphs=graphs)
    set_to = tensorrt_rtx.recorder.of("IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy=")
    *others, row = [call["value"].name for call in set_to]
    assert set(others) == {strategy}
    assert row == "LAZY"  # never captured, and each length is a new shape
    ours = tensorrt_rtx.recorder.of("IRuntimeConfig.cuda_graph_strategy=")
    assert {call["value"].name for call in ours} == {"DISABLED"}


def test_a_context_is_made_with_our_memory_and_its_engines_config(rtx_built, tensorrt_rtx):
    classifier = load(rtx_built)
    tensorrt_rtx.recorder.calls.clear()
    classifier.run(*random_batch(1, 10), speed=1.0)
    assert tensorrt_rtx.recorder.names()[:4] == [
        "ICudaEngine.create_execution_context",
        "IExecutionContext.set_device_memory",
        "IExecutionContext.set_optimization_profile_async",
        "IExecutionContext.set_input_shape",
    ]
    [first, *_] = tensorrt_rtx.recorder.of("ICudaEngine.create_execution_context")
    assert type(first["runtime_config"]).__name__ == "IRuntimeConfig"


def test_threads_share_engines_and_have_their_own_contexts(rtx_built, gpu_bundle):
    expected, classifier = Classifier.load(gpu_bundle, variant="fp32"), load(rtx_built)
    batches = [random_batch(9, 25, seed) for seed in range(3)]
    wrong = []

    def work(batch):
        found, wanted = classifier.run(*batch, speed=0.6), expected.run(*batch, speed=0.6)
        wrong.extend(np.flatnonzero(found.exit_layer != wanted.exit_layer))

    threads = [threading.Thread(target=work, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_classifier_frees_its_memory(rtx_built, rtx_cuda):
    gc.collect()
    before = len(rtx_cuda.live), len(rtx_cuda.pinned), len(rtx_cuda.streams)
    classifier = load(rtx_built)
    classifier.predict(["good plot"])
    assert len(rtx_cuda.live) > before[0]
    del classifier
    gc.collect()
    assert (len(rtx_cuda.live), len(rtx_cuda.pinned), len(rtx_cuda.streams)) == before


COMMAND = "fastbert build {bundle} --engine tensorrt-rtx --variant fp16 --batch 1,4,16 --sequence 16,32,48"


@pytest.mark.parametrize(
    ("details", "gpu", "message"),
    [
        ({"version": "1.6.0.7"}, (8, 9), "TensorRT for RTX 1.6.0.7; here it is 1.*" + COMMAND + " --overwrite"),
        (
            {"version": "1.6.0.7", "compute_capabilities": ["8.6", "12.0"], "optimization_level": 5},
            (8, 9),
            COMMAND + " --compute-capability 8.6,12.0 --level 5 --overwrite",
        ),
        (
            {"compute_capabilities": ["8.6", "12.0"]},
            (8, 9),
            "compute capability 8.6, 12.0; this one is Fake RTX, compute capability 8.9.*" + COMMAND + " --overwrite",
        ),
        ({}, (7, 5), "does not support this GPU: Fake RTX has compute capability 7.5; supported are 8.0.*'cuda'"),
        ({}, (9, 0), "does not support this GPU: Fake RTX has compute capability 9.0; supported are 8.0.*'cuda'"),
        ({}, (10, 0), "does not support this GPU"),
    ],
    ids=["version", "version of others", "built for others", "Turing", "H200", "B200"],
)
def test_what_does_not_fit_is_refused_before_a_plan_is_read(rtx_built, tensorrt_rtx, rtx_cuda, details, gpu, message):
    rewrite(rtx_built, **details)
    rtx_cuda._sm = gpu
    with pytest.raises(EngineError, match=message.format(bundle=rtx_built)):
        load(rtx_built)
    assert tensorrt_rtx.recorder.calls == []


@pytest.mark.parametrize("gpu", [(8, 0), (8, 6), (12, 0), (12, 1), (13, 0)])
def test_one_set_of_engines_is_for_every_gpu_of_the_default_set(rtx_built, rtx_cuda, gpu):
    rtx_cuda._sm = gpu
    assert load(rtx_built).predict(["good"])


@pytest.mark.parametrize(
    "error",
    [
        "OSError('libcudart.so.13: cannot open shared object file')",
        "ImportError('libcudart.so.13: cannot open shared object file')",
        "ModuleNotFoundError('no libcudart.so.13 at all', name='nvidia')",
    ],
)
def test_a_library_that_is_installed_in_part_is_an_error(rtx_built, monkeypatch, tmp_path, error):
    (tmp_path / "tensorrt_rtx.py").write_text(f"raise {error}")
    monkeypatch.delitem(sys.modules, "tensorrt_rtx")
    monkeypatch.syspath_prepend(tmp_path)
    message = r"is installed, but cannot be loaded: .*libcudart.* --force-reinstall"
    with pytest.raises(EngineError, match=message) as found:
        load(rtx_built)
    assert not isinstance(found.value, MissingDependencyError)


def test_no_gpu_and_no_library_are_errors(rtx_built, rtx_cuda, monkeypatch):
    rtx_cuda._devices = 0
    with pytest.raises(EngineError, match="No GPU"):
        load(rtx_built)
    rewrite(rtx_built, version="1.6.0.7")  # which needs no GPU to tell
    with pytest.raises(EngineError, match=r"built for TensorRT for RTX 1\.6\.0\.7; here it is 1"):
        load(rtx_built)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(EngineError, match=r"fastbert-deploy\[tensorrt-rtx\]"):
        load(rtx_built)


def test_another_major_version_is_refused(rtx_built, tensorrt_rtx):
    tensorrt_rtx.__version__ = "2.0.0.1"
    with pytest.raises(EngineError, match=r"TensorRT for RTX 2\.0\.0\.1 is installed; this fastbert uses .* 1"):
        load(rtx_built)


def test_a_text_longer_than_every_profile_names_them(rtx_built):
    with pytest.raises(UsageError, match="for 1 x 60 tokens.*1-1 x 16, 2-4 x 16"):
        load(rtx_built).run(np.full((1, 60), 5))


def test_a_larger_batch_than_every_profile_is_run_in_parts(rtx_built):
    assert len(load(rtx_built).run(np.full((40, 20), 5)).exit_layer) == 40


def swap_engine(bundle, variant, plan):
    """Put another plan into a variant, with a manifest that agrees."""
    document = json.loads((bundle / "manifest.json").read_text())
    name = f"{variant}/stage_01.engine"
    (bundle / name).write_bytes(plan)
    document["files"][name] = file_record(bundle / name)
    (bundle / "manifest.json").write_text(json.dumps(document))


def test_a_plan_of_the_other_library_is_an_error_with_the_librarys_reason(rtx_built):
    swap_engine(rtx_built, NAME, b"ptrt, as plans of TensorRT begin")
    with pytest.raises(BundleError, match=r"TensorRT for RTX 1.* could not read .*stage_01.engine.*magic tag"):
        load(rtx_built)


def test_a_variant_that_names_the_other_engine_is_refused(rtx_built):
    document = json.loads((rtx_built / "manifest.json").read_text())
    document["variants"][NAME]["devices"] = ["tensorrt"]
    (rtx_built / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=r"engine is \"tensorrt-rtx\"; expected the same as in devices"):
        Classifier.load(rtx_built, device="tensorrt")


def cache_files(folder):
    return sorted(folder.rglob("*.cache"))


def test_what_was_compiled_is_kept_for_the_next_process(rtx_built, tensorrt_rtx, tmp_path):
    classifier = load(rtx_built)
    classifier.run(*random_batch(3, 10), speed=0.0)
    del classifier
    gc.collect()
    [path] = cache_files(tmp_path / "cache" / "fastbert" / "tensorrt-rtx")
    before = path.read_bytes()
    tensorrt_rtx.recorder.calls.clear()
    load(rtx_built).run(*random_batch(3, 10), speed=0.0)
    assert tensorrt_rtx.recorder.of("IRuntimeCache.deserialize") == [{"blob": before}]
    gc.collect()
    assert path.read_bytes() == before  # nothing new was compiled
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_all_engines_share_one_cache(rtx_built, tensorrt_rtx):
    load(rtx_built)
    given = [id(call["cache"]) for call in tensorrt_rtx.recorder.of("IRuntimeConfig.set_runtime_cache")]
    assert len(given) == 6
    assert len(set(given)) == 1


@pytest.mark.parametrize("other", ["gpu", "engines"])
def test_another_gpu_and_other_engines_have_their_own_files(rtx_built, rtx_cuda, tmp_path, other):
    load(rtx_built, runtime_cache=tmp_path / "kept").predict(["good"])
    if other == "gpu":
        rtx_cuda._name = b"Another RTX"
    else:
        swap_engine(rtx_built, NAME, (rtx_built / NAME / "stage_02.engine").read_bytes())
    load(rtx_built, runtime_cache=str(tmp_path / "kept")).predict(["good"])
    gc.collect()
    assert len(cache_files(tmp_path / "kept")) == 2


def test_without_a_cache_no_file_is_read_or_written(rtx_built, tensorrt_rtx, tmp_path):
    load(rtx_built, runtime_cache=False).predict(["good"])
    gc.collect()
    assert not (tmp_path / "cache").exists()
    assert not tensorrt_rtx.recorder.of("IRuntimeConfig.set_runtime_cache")


def test_a_damaged_file_is_replaced_with_a_warning(rtx_built, tmp_path, caplog):
    load(rtx_built).predict(["good"])
    gc.collect()
    [path] = cache_files(tmp_path / "cache")
    path.write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        load(rtx_built).predict(["good"])
    assert "is ignored and will be replaced" in caplog.text
    gc.collect()
    assert path.read_bytes() != b"damaged"


def test_a_named_folder_that_cannot_be_written_is_an_error_at_load(rtx_built, tensorrt_rtx, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"`runtime_cache` is .*file/kept.*cannot be written: Not a directory"):
        load(rtx_built, runtime_cache=tmp_path / "file" / "kept")
    assert tensorrt_rtx.recorder.calls == []


def test_a_default_folder_that_cannot_be_written_is_one_warning(rtx_built, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert load(rtx_built).predict(["good"])
    [warning] = [record for record in caplog.records if "cannot be written" in record.getMessage()]
    assert "`runtime_cache`" in warning.getMessage()


_AT_EXIT = """
import sys
sys.path.insert(0, sys.argv[1])
from types import SimpleNamespace
from support.doubles.cuda import FakeCuda
from fastbert.runtime.engines.gpu.cuda import Gpu
from fastbert.runtime.engines.gpu.tensorrt.engines import _Contexts

class Named:
    def __init__(self, name):
        self.name = name

    def __del__(self, write=sys.stdout.write):
        write(self.name + " ")

engine = SimpleNamespace(device_memory_size_v2=8)
engines = SimpleNamespace(memory=Gpu(FakeCuda()), engines={0: engine}, configs={0: Named("config")}, cache=None)
contexts = _Contexts(engines)
contexts._contexts[0, 0] = Named("context")
del engines
"""


def test_contexts_go_before_their_configs_when_the_process_ends():
    tests = Path(__file__).parents[4]
    found = subprocess.run([sys.executable, "-P", "-c", _AT_EXIT, tests], capture_output=True, text=True, check=True)
    assert found.stdout == "context config "

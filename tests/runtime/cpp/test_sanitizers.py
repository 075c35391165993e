"""The stress program under sanitizers and valgrind, and short runs of the fuzzers.

They take minutes to build: FASTBERT_SANITIZERS=1 runs them. FASTBERT_FUZZ_SECONDS: time of each fuzzer.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("FASTBERT_SANITIZERS"), reason="FASTBERT_SANITIZERS is not set"),
]


@pytest.fixture
def environment(onnxruntime_path):
    supplied = {"FASTBERT_ONNXRUNTIME": str(onnxruntime_path), "ORT_DISABLE_TELEMETRY": "1"}
    sanitizers = {"UBSAN_OPTIONS": "print_stacktrace=1", "TSAN_OPTIONS": f"suppressions={HERE / 'tsan.supp'}"}
    return os.environ | supplied | sanitizers


@pytest.mark.parametrize("sanitizer", ["thread", "address", "undefined"])
def test_stress(sanitizer, environment, family_bundle, request):
    """Eight threads on one model, with one and with two threads of ONNX Runtime for each call."""
    if shutil.which("clang++") is None:
        pytest.skip("needs clang++")
    folder = request.config.cache.mkdir(f"libfastbert-{sanitizer}")
    options = ["-DFASTBERT_TEXT=OFF", "-DFASTBERT_TESTS=ON", f"-DFASTBERT_SANITIZE={sanitizer}"]
    configure = ["cmake", "-S", ROOT / "runtime" / "cpp", "-B", folder, "-DCMAKE_CXX_COMPILER=clang++", *options]
    subprocess.run(configure, check=True)
    subprocess.run(["cmake", "--build", folder, "--parallel", "2", "--target", "fastbert_stress"], check=True)
    for variant in ("fp32", "int8"):
        for threads in ("1", "2"):
            command = [folder / "tests" / "fastbert_stress", family_bundle("bert"), "8", "300", variant, threads]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", ""), done.stderr


def test_valgrind(cpp_build, environment, family_bundle):
    """Nothing is lost in load, classify and free, and no error has a frame of the library's."""
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind")
    program = [cpp_build / "tests" / "fastbert_stress", family_bundle("bert"), "2", "10"]
    options = ["--leak-check=full", "--num-callers=40", f"--suppressions={HERE / 'valgrind.supp'}"]
    done = subprocess.run(["valgrind", *options, *program], capture_output=True, text=True, env=environment)
    assert done.stdout == "ok\n"
    for kind in ("definitely", "indirectly", "possibly"):
        assert re.search(rf"{kind} lost: 0 bytes", done.stderr), done.stderr
    assert "ERROR SUMMARY: 0 errors" in done.stderr, done.stderr


def test_fuzzers(request, tmp_path):
    """Every fuzzer runs from its seeds and finds nothing."""
    if shutil.which("clang++") is None:
        pytest.skip("needs clang++")
    sources = ROOT / "runtime" / "cpp"
    folder = request.config.cache.mkdir("libfastbert-fuzz")
    text = "ON" if list((sources / "src" / "tokenizer").glob("*.cpp")) else "OFF"
    options = [f"-DFASTBERT_TEXT={text}", "-DFASTBERT_FUZZERS=ON", "-DCMAKE_CXX_COMPILER=clang++"]
    options += ["-DCMAKE_BUILD_TYPE=Debug"]  # compiles in less time
    subprocess.run(["cmake", "-S", sources, "-B", folder, *options], check=True)
    subprocess.run(["cmake", "--build", folder, "--parallel", "2"], check=True)
    programs = sorted(path for path in (folder / "fuzz").glob("fuzz_*") if path.is_file())
    assert programs
    for program in programs:
        corpus, seeds = tmp_path / program.name, sources / "fuzz" / "seeds" / program.name.removeprefix("fuzz_")
        corpus.mkdir()
        seconds = os.environ.get("FASTBERT_FUZZ_SECONDS", "20")
        command = [program, f"-max_total_time={seconds}", "-max_len=8192", corpus, *([seeds] if seeds.is_dir() else [])]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]

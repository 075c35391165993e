"""What a single row costs in C, against Python and against ONNX Runtime alone: ``python -m studies.embedding``.

Token ids in, a MiniLM of random weights. Two comparisons, each with calls that take turns in one process:

- ``fastbert_classify`` and the bare call of ONNX Runtime that it makes, on the same session, in a C++ program;
- ``fastbert_classify``, called through ctypes, and `fastbert.runtime.Classifier.run`. The time of ctypes counts as C's.

Needs CMake and a C++ compiler.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from ctypes import byref
from pathlib import Path
from typing import Any

import numpy as np

from fastbert.benchmarks.machine.environment import describe_environment
from studies.random_bundle import Bundles, in_child, int8_here

_SOURCES = Path(__file__).resolve().parents[1] / "runtime" / "cpp"
_LAYERS, _HIDDEN, _TOKENS = 6, 384, 25
_SPEEDS = (0.0, 1.0)  # all layers, and the first exit
_WARM_UP = 50


def build_programs(folder: Path) -> tuple[Path, Path]:
    """Build the library and the program that times it; return both."""
    for command in (
        ["cmake", "-S", _SOURCES, "-B", folder, "-DFASTBERT_TEXT=OFF", "-DFASTBERT_TESTS=ON"],
        ["cmake", "--build", folder, "--parallel", "2", "--target", "fastbert", "fastbert_timer"],
    ):
        subprocess.run(command, check=True, stdout=sys.stderr)
    return folder / "libfastbert.so.1", folder / "tests" / "fastbert_timer"


def onnxruntime_library() -> Path:
    """Return the shared library of the installed ONNX Runtime."""
    import onnxruntime

    return next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))


def against_bare(timer: Path, bundle: str, variant: str, speed: float, threads: int, rounds: int) -> dict[str, Any]:
    """Return p50 of the bare call and of fastbert_classify, and the median of their difference, in microseconds."""
    command = [timer, bundle, variant, str(_TOKENS), str(threads), str(speed), str(rounds)]
    environment = os.environ | {"FASTBERT_ONNXRUNTIME": str(onnxruntime_library()), "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    bare, classify = zip(*(map(int, line.split()) for line in done.stdout.splitlines()), strict=True)
    more = statistics.median(c - b for b, c in zip(bare, classify, strict=True))
    return {
        "bare_p50_us": statistics.median(bare) / 1000,
        "c_p50_us": statistics.median(classify) / 1000,
        "c_minus_bare_p50_us": more / 1000,
        "overhead_percent": 100 * more / statistics.median(bare),
    }


def against_python(library: str, bundle: str, variant: str, speed: float, threads: int, rounds: int) -> str:
    """Return p50 of Python's and of C's call in this process, as JSON."""
    from fastbert.runtime import Classifier
    from fastbert.runtime.cpp.binding import Answers, Batch, Session, load_library

    classifier = Classifier.load(bundle, variant=variant, threads=threads)
    named = os.fsencode(onnxruntime_library())
    loaded = load_library(library)
    session = Session(loaded, bundle, variant=variant.encode(), threads=threads, onnxruntime_library=named)
    ids, mask, types = (np.full((1, _TOKENS), value, np.int64) for value in (2, 1, 0))
    logits, layer, uncertainty = (ctypes.c_float * 2)(), ctypes.c_int32(), ctypes.c_float()
    pointers = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    batch = byref(Batch(rows=1, sequence=_TOKENS, **{name: array.ctypes.data for name, array in pointers.items()}))
    answers = byref(Answers(logits=logits, exit_layer=ctypes.pointer(layer), uncertainty=ctypes.pointer(uncertainty)))
    classify, handle = loaded.fastbert_classify, session._session

    def in_python() -> None:
        classifier.run(ids, mask, types, speed=speed)

    def in_c() -> None:
        assert classify(handle, batch, speed, answers) == 0

    taken: dict[Any, list[float]] = {in_python: [], in_c: []}
    for number in range(-_WARM_UP, rounds):
        for call in (in_python, in_c) if number % 2 else (in_c, in_python):
            start = time.perf_counter_ns()
            call()
            if number >= 0:
                taken[call].append((time.perf_counter_ns() - start) / 1000)
    expected = classifier.run(ids, mask, types, speed=speed)
    assert expected.exit_layer[0] == layer.value
    assert expected.logits[0].tolist() == list(logits)
    python, c = (statistics.median(values) for values in taken.values())
    return json.dumps({"python_p50_us": python, "c_p50_us": c, "c_by_python": c / python, "exit_layer": layer.value})


def main() -> None:
    """Measure both precisions and print the report as JSON."""
    parser = argparse.ArgumentParser(prog="python -m studies.embedding", description=__doc__.split(":")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    bundles, found = Bundles(), []
    with tempfile.TemporaryDirectory(prefix="fastbert-study-") as folder:
        library, timer = build_programs(Path(folder))
        bundle = f"{bundles.get(_LAYERS, _HIDDEN)}/bundle"
        for variant in ("fp32", int8_here()):
            for speed in _SPEEDS:
                settings = (bundle, variant, speed, asked.threads, asked.rounds)
                python = json.loads(in_child("embedding", "against_python", str(library), *settings))
                found.append(
                    {"variant": variant, "speed": speed, "bare": against_bare(timer, *settings), "python": python}
                )
                print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    report = {
        "environment": describe_environment(),
        "model": {"layers": _LAYERS, "hidden_size": _HIDDEN, "tokens": _TOKENS},
        "threads": asked.threads,
        "rounds": asked.rounds,
        "single_rows": found,
    }
    text = json.dumps(report, indent=2) + "\n"
    if asked.output:
        asked.output.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()

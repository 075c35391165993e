"""Everything that needs a GPU, in one run: ``python -m studies.gpu --output FOLDER`` (``make test-gpu``).

It finds the GPU and what is installed, then runs the tests marked gpu and, for each device, a build, a verification and
the comparison of the whole model with the chain. A part that cannot run says why, and the others go on. The reports and
``run.json``, which has each part's outcome, are written to the folder. Exits 1 if a part failed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.machine.gpu import describe_gpu
from fastbert.runtime.engines.gpu.cuda import open_gpu
from fastbert.runtime.engines.gpu.onnxruntime import CUDA, require_onnxruntime
from fastbert.runtime.engines.gpu.tensorrt.engines import require_supported
from fastbert.runtime.engines.gpu.tensorrt.libraries import LIBRARIES, TENSORRT_RTX
from fastbert.runtime.errors import FastBertError
from fastbert.runtime.manifest import read_manifest

SCHEMA = "fastbert-gpu-run/1"
PASSED, FAILED, LEFT_OUT = "passed", "failed", "left out"
_FASTBERT = (sys.executable, "-m", "fastbert.cli")
_REFUSAL = "does not support this GPU"


@dataclass(frozen=True)
class Part:
    """One command.

    :param limit_s: most seconds that it may take.
    :param refusal: text of the error that it must end with; empty: it must succeed.
    """

    name: str
    command: tuple[str, ...]
    limit_s: float
    refusal: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a part.

    :param outcome: `PASSED`, `FAILED` or `LEFT_OUT`.
    :param reason: why, unless it passed.
    """

    name: str
    outcome: str
    reason: str
    seconds: float


Run = Callable[[Sequence[str], float], tuple[int, str]]


def run_part(part: Part, run: Run, left_s: float) -> Outcome:
    """Run a part within the time that is left.

    :param run: (command, most seconds) -> (exit status, the end of its output).
    """
    if left_s <= 0:
        return Outcome(part.name, FAILED, "no time is left", 0.0)
    began = time.perf_counter()
    try:
        status, output = run(part.command, min(part.limit_s, left_s))
    except subprocess.TimeoutExpired as error:
        return Outcome(part.name, FAILED, f"it took more than {error.timeout:.0f} s", time.perf_counter() - began)
    seconds = time.perf_counter() - began
    if part.refusal:
        refused = status != 0 and part.refusal in output
        return Outcome(part.name, PASSED if refused else FAILED, "" if refused else f"not refused: {output}", seconds)
    return Outcome(part.name, PASSED if status == 0 else FAILED, "" if status == 0 else output, seconds)


def obstacle(device: str) -> str:
    """Return why a device cannot be measured here; empty: it can."""
    try:
        if device == "cuda":
            require_onnxruntime(CUDA)
            open_gpu("gpu")
            return ""
        library = LIBRARIES[device]
        trt, gpu = library.load(), open_gpu(library.extra)
        if library.portable:
            require_supported(library, trt, gpu)
    except FastBertError as error:
        return str(error)
    return ""


def parts_of(device: str, reason: str, bundle: Path, output: Path) -> Iterator[Part]:
    """Yield the parts of a device.

    :param reason: of `obstacle`.
    """
    sizes = ("--batch", "1,32", "--sequence", str(min(128, read_manifest(bundle).max_length)))
    build = (*_FASTBERT, "build", str(bundle), "--engine", device, *sizes, "--overwrite")
    random_weights = ("--max-label-flips", "1")  # they are sure of no label
    if device == TENSORRT_RTX.name and _REFUSAL in reason:
        yield Part(f"{device}: refusal of this GPU", (*build, "--compute-capability", "current"), 60, _REFUSAL)
    if reason:
        return
    if device in LIBRARIES:
        yield Part(f"{device}: build", (*build, *random_weights, "--no-single-row"), 150)
        yield Part(f"{device}: reload", (*_FASTBERT, "verify", str(bundle), "--device", device, *random_weights), 60)
    report = str(output / f"depths-{device}.json")
    study = (sys.executable, "-m", "studies.depths", str(bundle), "--device", device, "--runs", "50")
    yield Part(f"{device}: whole model against the chain", (*study, "--output", report), 100)
    if device in LIBRARIES:  # last: it may fail, and what is above must not depend on it
        yield Part(f"{device}: a single row in one engine", (*build, *random_weights, "--single-row"), 100)
        again = (*study, "--output", str(output / f"single-row-{device}.json"))
        yield Part(f"{device}: one call against the chain", again, 60)
    if device == "cuda":
        full = ("studies.full_batches", str(bundle), "--output", str(output / "full-batches.json"))
        yield Part(f"{device}: full batches", (sys.executable, "-m", *full), 60)


def measure(output: Path, bundle: Path, run: Run, *, limit_s: float) -> list[Outcome]:
    """Run all parts, one after another, and print what becomes of each.

    :param bundle: with a variant for a GPU, to build in.
    :param limit_s: most seconds for all.
    """
    ends = time.perf_counter() + limit_s
    outcomes = []

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        print(f"{outcome.outcome}: {outcome.name}, {outcome.seconds:.0f} s {outcome.reason}".rstrip(), flush=True)

    tests = Part("tests", (sys.executable, "-m", "pytest", "-m", "gpu", "-rs"), 150)
    note(run_part(tests, run, ends - time.perf_counter()))
    for device in ("cuda", *LIBRARIES):
        reason = obstacle(device)
        if reason:
            note(Outcome(device, LEFT_OUT, reason, 0.0))
        for part in parts_of(device, reason, bundle, output):
            note(run_part(part, run, ends - time.perf_counter()))
    return outcomes


def survey() -> dict[str, Any]:
    """Return the GPU's name, compute capability and driver, and the packages; or why there is none."""
    try:
        gpu = open_gpu("gpu")
    except FastBertError as error:
        return {"gpu": None, "reason": str(error)}
    return {"gpu": gpu.name, "compute_capability": gpu.compute_capability, **describe_gpu()}


def _run(command: Sequence[str], limit_s: float) -> tuple[int, str]:
    print("$", " ".join(command), flush=True)
    try:
        done = subprocess.run(command, timeout=limit_s, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except subprocess.TimeoutExpired as error:
        written = error.stdout or b""  # bytes, even with text=True (cpython#87597)
        print(written.decode(errors="replace") if isinstance(written, bytes) else written, flush=True)
        raise
    print(done.stdout, flush=True)
    return done.returncode, done.stdout.strip()[-500:]


def main() -> None:
    """Run everything and write the reports; exit 1 if a part failed, or if there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m studies.gpu", description=__doc__.split(":")[0])
    parser.add_argument("bundle", nargs="?", type=Path, help="with a variant for a GPU; default: random weights")
    parser.add_argument("--output", type=Path, required=True, help="folder of the reports")
    parser.add_argument("--layers", type=int, default=6, help="of the random model")
    parser.add_argument("--hidden-size", type=int, default=384, help="of the random model")
    parser.add_argument("--minutes", type=float, default=6, help="most time for all parts")
    arguments = parser.parse_args()
    began, found = time.perf_counter(), survey()
    print(json.dumps(found, indent=2), flush=True)
    if found["gpu"] is None:
        sys.exit(f"Error: {found['reason']}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fastbert-gpu-") as folder:
        bundle = arguments.bundle
        if bundle is None:
            from studies.random_bundle import make_bundle

            make_bundle(arguments.layers, arguments.hidden_size, folder, precisions=("fp32", "fp16"))
            bundle = Path(folder) / "bundle"
        left = 60 * arguments.minutes - (time.perf_counter() - began)
        outcomes = measure(arguments.output, bundle, _run, limit_s=left)
    document = {
        "schema": SCHEMA,
        "survey": found,
        "parts": [asdict(outcome) for outcome in outcomes],
        "seconds": time.perf_counter() - began,
        "environment": describe_environment(),
    }
    (arguments.output / "run.json").write_text(json.dumps(document, indent=2) + "\n")
    failed = [outcome.name for outcome in outcomes if outcome.outcome == FAILED]
    if failed:
        sys.exit(f"Error: failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()

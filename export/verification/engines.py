"""TensorRT engines against ONNX Runtime, one by one on the same inputs, with NVIDIA's Polygraphy.

`fastbert.export.verification.compare` checks the answers of the chain; this finds the engine that is to blame. Both
sides run the same graph on golden rows. A stage reads what ONNX Runtime computed for the stage before.

Polygraphy finds the CUDA runtime through ``LD_LIBRARY_PATH``. Its engine builder is not used because it sets and clears
builder flags (not reported upstream).
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.export.golden import GOLDEN, read_golden
from fastbert.runtime.engines.gpu.tensorrt.libraries import TENSORRT, log_of
from fastbert.runtime.engines.gpu.tensorrt.profiles import Buckets
from fastbert.runtime.errors import MissingDependencyError, UsageError
from fastbert.runtime.manifest import Variant, check_files, read_manifest

# Precision of the variant -> estimate of one stage's rounding, absolute and relative; not yet confirmed on a GPU.
_TOLERANCES = {"float32": (1e-4, 1e-4)}
_HALF = (5e-2, 2e-2)
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class EngineComparison:
    """One engine compared with its graph.

    :param rows: golden rows that both ran on.
    :param largest_difference: output -> largest absolute difference.
    :param failed: outputs beyond the tolerance.
    """

    variant: str
    engine: str
    rows: int
    largest_difference: dict[str, float]
    failed: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """What failed, one sentence each; empty: they agree."""
        return [
            f"{self.variant}, {self.engine}: {name} differs by up to {self.largest_difference[name]:.2e}"
            for name in self.failed
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON, with ``passed``."""
        return {**asdict(self), "passed": not self.problems}


def compare_engines(
    bundle: Path, *, variant: str | None = None, runner: Callable[[Path, int], Any] | None = None
) -> list[EngineComparison]:
    """Check a bundle's files, then compare every engine of a TensorRT variant with the graph that it was built from.

    :param variant: a variant's name; None: the first one for TensorRT.
    :param runner: (engine file, number of a profile) -> runner; None: Polygraphy's for TensorRT.
    :raises MissingDependencyError: Polygraphy is not installed.
    :raises BundleError: a file is missing or altered.
    :raises UsageError: the variant does not exist, or the bundle no longer has its graphs.
    """
    manifest = read_manifest(bundle)
    built = manifest.variant_for("tensorrt", variant)
    source = next((held for held in manifest.variants if held.name == built.tensorrt_build.source), None)
    if source is None:
        raise UsageError(
            f"The bundle no longer has the graphs that {built.name} was built from. Export and build it again."
        )
    check_files(bundle, manifest, (*built.files, *source.files, GOLDEN), contents=True)
    return list(_compare(bundle, built, source, runner or _tensorrt_runner))


def _compare(
    bundle: Path, variant: Variant, source: Variant, make: Callable[[Path, int], Any]
) -> Iterator[EngineComparison]:
    try:
        from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
        from polygraphy.comparator import Comparator, SimpleCompareFunc
        from polygraphy.logger import G_LOGGER
    except ImportError as error:
        raise MissingDependencyError("polygraphy", "build") from error
    G_LOGGER.module_severity = G_LOGGER.ERROR  # Polygraphy would print to stdout
    feeds, profile = _first_feeds(bundle, Buckets(variant.tensorrt_build.profiles))
    rows = len(feeds["input_ids"])
    absolute, relative = _TOLERANCES.get(source.precision, _HALF)
    compare = SimpleCompareFunc(atol=absolute, rtol=relative)
    for file, engine in zip((source.embeddings, *source.stages), (variant.embeddings, *variant.stages), strict=True):
        onnx = OnnxrtRunner(SessionFromOnnx(str(bundle / file), providers=["cpu"]), name="onnxruntime")
        results = Comparator.run([onnx, make(bundle / engine, profile)], data_loader=[feeds])
        [accuracy] = Comparator.compare_accuracy(results, compare_func=compare)
        [(_, [outputs])] = accuracy.items()  # one pair of runners, one set of inputs
        yield EngineComparison(
            variant.name,
            Path(engine).stem,
            rows,
            {name: float(result.max_absdiff) for name, result in outputs.items()},
            tuple(name for name, result in outputs.items() if not result),
        )
        feeds = _next_feeds(feeds, results["onnxruntime"][0])


def _first_feeds(bundle: Path, buckets: Buckets) -> tuple[_Feeds, int]:
    """Return golden rows padded to the sequence of a profile, and the number of that profile."""
    golden = read_golden(bundle / GOLDEN)
    lengths = golden.attention_mask.sum(axis=1)
    chosen = np.flatnonzero(lengths <= buckets.max_sequence)[: buckets.max_batch]
    if not len(chosen):
        raise UsageError(f"None of the bundle's golden rows fits the profiles: {buckets}.")
    profile = buckets.find(len(chosen), int(lengths[chosen].max()))
    width = buckets.all[profile].sequence
    feeds = {}
    for name in _INPUTS:
        rows = getattr(golden, name)[chosen][:, :width]
        feeds[name] = np.pad(rows, ((0, 0), (0, width - rows.shape[1])))
    return feeds, profile


def _next_feeds(feeds: _Feeds, outputs: Any) -> _Feeds:
    hidden = "next_hidden_states" if "next_hidden_states" in outputs else "hidden_states"
    mask = outputs if "extended_attention_mask" in outputs else feeds
    return {
        "hidden_states": np.array(outputs[hidden]),
        "extended_attention_mask": np.array(mask["extended_attention_mask"]),
    }


def _tensorrt_runner(engine: Path, profile: int) -> Any:
    from polygraphy.backend.trt import TrtRunner

    trt = TENSORRT.load()
    runtime = trt.Runtime(log_of(trt).trt_logger)

    def load() -> Any:
        return runtime.deserialize_cuda_engine(engine.read_bytes())

    return TrtRunner(load, name="tensorrt", optimization_profile=profile)

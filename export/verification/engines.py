"""TensorRT engines against ONNX Runtime, each on the same inputs, with NVIDIA's Polygraphy.

`fastbert.export.verification.compare` checks the chain's answers; this finds the engine that is to blame. Both run the
same graph: what a stage reads is what ONNX Runtime gave for the stage before, from the bundle's golden rows.

Polygraphy finds the CUDA runtime by ``LD_LIBRARY_PATH``. Its own engine builder is not used: it clears and sets flags.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.export.golden import GOLDEN, read_golden
from fastbert.runtime.engines.gpu import tensorrt
from fastbert.runtime.engines.gpu.profiles import Buckets
from fastbert.runtime.errors import MissingDependencyError, UsageError
from fastbert.runtime.manifest import Variant, check_files, read_manifest

__all__ = ["EngineComparison", "compare_engines"]

# A first guess that no GPU has confirmed: a layer's rounding in float16, where hidden states reach some tens.
ABSOLUTE, RELATIVE = 5e-2, 2e-2
_IDS = ("input_ids", "attention_mask", "token_type_ids")
Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class EngineComparison:
    """What Polygraphy's comparison of one engine found.

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
        """What failed; empty: they agree."""
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

    :param variant: its name; None: the first one of TensorRT.
    :param runner: makes the runner of an engine file and a profile; None: Polygraphy's for TensorRT.
    :raises MissingDependencyError: Polygraphy is not installed.
    :raises BundleError: a file is missing or altered.
    :raises UsageError: there is no such variant, or the graphs are gone from the bundle.
    """
    manifest = read_manifest(bundle)
    built = manifest.variant_for("tensorrt", variant)
    source = next((held for held in manifest.variants if held.name == built.tensorrt_build.source), None)
    if source is None:
        raise UsageError(f"The bundle no longer has the graphs that {built.name} was built from. Export it again.")
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
    G_LOGGER.module_severity = G_LOGGER.ERROR  # its report goes to stdout, which is ours
    feeds, profile = _first_feeds(bundle, Buckets(variant.tensorrt_build.profiles))
    rows = len(feeds["input_ids"])
    compare = SimpleCompareFunc(atol=ABSOLUTE, rtol=RELATIVE)
    for file, engine in zip((source.embeddings, *source.stages), (variant.embeddings, *variant.stages), strict=True):
        onnx = OnnxrtRunner(SessionFromOnnx(str(bundle / file), providers=["cpu"]), name="onnxruntime")
        results = Comparator.run([onnx, make(bundle / engine, profile)], data_loader=[feeds])
        [result] = Comparator.compare_accuracy(results, compare_func=compare)
        [(_, [outputs])] = result.items()  # one pair of runners, one set of inputs
        yield EngineComparison(
            variant.name,
            Path(engine).stem,
            rows,
            {name: float(found.max_absdiff) for name, found in outputs.items()},
            tuple(name for name, found in outputs.items() if not found),
        )
        feeds = _next_feeds(feeds, results["onnxruntime"][0])


def _first_feeds(bundle: Path, buckets: Buckets) -> tuple[Feeds, int]:
    """Return golden rows in the shape of a profile, and its number."""
    golden = read_golden(bundle / GOLDEN)
    lengths = golden.attention_mask.sum(axis=1)
    chosen = np.flatnonzero(lengths <= buckets.max_sequence)[: buckets.max_batch]
    if not len(chosen):
        raise UsageError(f"None of the bundle's golden rows fits the profiles: {buckets}.")
    profile = buckets.find(len(chosen), int(lengths[chosen].max()))
    width = buckets.all[profile].sequence
    feeds = {}
    for name in _IDS:
        rows = getattr(golden, name)[chosen][:, :width]
        feeds[name] = np.pad(rows, ((0, 0), (0, width - rows.shape[1])))
    return feeds, profile


def _next_feeds(feeds: Feeds, outputs: Any) -> Feeds:
    hidden = "next_hidden_states" if "next_hidden_states" in outputs else "hidden_states"
    mask = outputs if "extended_attention_mask" in outputs else feeds
    return {
        "hidden_states": np.array(outputs[hidden]),
        "extended_attention_mask": np.array(mask["extended_attention_mask"]),
    }


def _tensorrt_runner(engine: Path, profile: int) -> Any:
    from polygraphy.backend.trt import TrtRunner

    trt = tensorrt.require_tensorrt()
    log = tensorrt.make_log(trt)
    runtime = trt.Runtime(log.trt_logger)

    def load() -> Any:
        return runtime.deserialize_cuda_engine(engine.read_bytes())

    return TrtRunner(load, name="tensorrt", optimization_profile=profile)

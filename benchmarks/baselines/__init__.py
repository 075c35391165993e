"""What the chain is compared with: one entry of `BASELINES` per baseline, whose module loads it."""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastbert.benchmarks.systems import Budget, Runner, Skipped, Sources, System
from fastbert.runtime.errors import FastBertError, UsageError
from fastbert.runtime.manifest import read_manifest

__all__ = ["ALL", "BASELINES", "Baseline", "baseline_system", "check_names", "prepare_baselines"]

ALL = "all"
_HERE = "fastbert.benchmarks.baselines"


@dataclass(frozen=True)
class Baseline:
    """One entry of `BASELINES`.

    :param kind: ``"whole"`` or ``"early-exit"``, see `fastbert.benchmarks.systems.System`.
    :param precision: ``"float32"``, ``"int8"``, ``"bfloat16"`` ...; None: that of `Sources.variant`.
    :param module: has ``prepare(sources, **arguments)``, which writes files or raises a `FastBertError` that says why
        the baseline is not available, and ``load(sources, budget, **arguments) -> Runner``.
    :param needs: modules that must be importable.
    :param extra: the extra that installs them.
    """

    title: str
    kind: str
    precision: str | None
    module: str
    needs: tuple[str, ...]
    extra: str
    devices: tuple[str, ...] = ("cpu",)
    needs_checkpoint: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _onnxruntime(title: str, precision: str) -> Baseline:
    needs = ("onnx", "onnxruntime")
    arguments = {"precision": precision}
    return Baseline(title, "whole", precision, f"{_HERE}.onnxruntime", needs, "bench", arguments=arguments)


def _openvino(title: str, precision: str) -> Baseline:
    needs = ("onnx", "openvino", "nncf") if precision == "int8" else ("onnx", "openvino")
    arguments = {"precision": precision}
    return Baseline(title, "whole", precision, f"{_HERE}.openvino", needs, "openvino", arguments=arguments)


def _pytorch(title: str, kind: str) -> Baseline:
    needs = ("torch", "transformers")
    arguments = {"early_exit": kind == "early-exit"}
    return Baseline(
        title, kind, "float32", f"{_HERE}.pytorch", needs, "train", needs_checkpoint=True, arguments=arguments
    )


def _gpu(title: str, device: str, needs: tuple[str, ...], extra: str) -> Baseline:
    return Baseline(title, "whole", None, f"{_HERE}.gpu", needs, extra, devices=(device,))


# The first whole model in a chain's precision is the one that its speed-ups are against.
BASELINES: dict[str, Baseline] = {
    "onnxruntime": _onnxruntime("whole model, ONNX Runtime fp32", "float32"),
    "onnxruntime-int8": _onnxruntime("whole model, ONNX Runtime int8", "int8"),
    "pytorch": _pytorch("whole model, PyTorch", "whole"),
    "pytorch-early-exit": _pytorch("early exit, PyTorch", "early-exit"),
    "openvino": _openvino("whole model, OpenVINO fp32", "float32"),
    "openvino-bf16": _openvino("whole model, OpenVINO bf16", "bfloat16"),
    "openvino-int8": _openvino("whole model, OpenVINO int8", "int8"),
    "onnxruntime-cuda": _gpu("whole model, ONNX Runtime CUDA", "cuda", ("onnx", "onnxruntime"), "gpu,bench"),
    "tensorrt": _gpu("whole model, TensorRT", "tensorrt", ("onnx", "tensorrt"), "build,bench"),
    "tensorrt-rtx": _gpu(
        "whole model, TensorRT for RTX", "tensorrt-rtx", ("onnx", "tensorrt_rtx"), "tensorrt-rtx,bench"
    ),
}


def check_names(names: Sequence[str], *, has_checkpoint: bool) -> None:
    """Check names of baselines before anything is loaded. Without a checkpoint, `ALL` omits those that need one.

    :raises UsageError: a name is unknown, or the baseline needs a checkpoint and there is none.
    """
    for name in names:
        if name not in BASELINES and name != ALL:
            raise UsageError(f"`baselines`: {name!r} is unknown; use {', '.join(BASELINES)}, or {ALL}.")
        if name != ALL and BASELINES[name].needs_checkpoint and not has_checkpoint:
            raise UsageError(
                f"The baseline {name} needs the checkpoint that the bundle was exported from: set `checkpoint`."
            )


def prepare_baselines(names: Sequence[str], sources: Sources) -> tuple[list[System], list[Skipped]]:
    """Write the files that the baselines need. Baselines that are not available here are skipped, with the reason.

    :param names: of `BASELINES`, or `ALL`; see `check_names`.
    """
    wanted = list(BASELINES) if ALL in names else list(names)
    systems, skipped = [], []
    for name in wanted:
        baseline = BASELINES[name]
        reason = _obstacle(baseline, sources)
        if reason is None:
            try:
                importlib.import_module(baseline.module).prepare(sources, **baseline.arguments)
            except FastBertError as error:
                reason = str(error)
        if reason is None:
            systems.append(baseline_system(name, sources))
        else:
            skipped.append(Skipped(name, reason))
    return systems, skipped


def baseline_system(name: str, sources: Sources) -> System:
    """Return a baseline whose files `prepare_baselines` wrote, as a system."""
    baseline = BASELINES[name]
    precision = baseline.precision
    if precision is None:
        precision = read_manifest(sources.bundle).variant_for(sources.device, sources.variant).precision

    def load(budget: Budget) -> Runner:
        runner: Runner = importlib.import_module(baseline.module).load(sources, budget, **baseline.arguments)
        return runner

    return System(name, baseline.title, baseline.kind, precision, load)


def _obstacle(baseline: Baseline, sources: Sources) -> str | None:
    """Return why a baseline is not available, or None."""
    missing = [module for module in baseline.needs if importlib.util.find_spec(module) is None]
    if missing:
        return f"{missing[0]} is not installed. Install it with: pip install 'fastbert-deploy[{baseline.extra}]'"
    if sources.device not in baseline.devices:
        return f"it runs on {', '.join(baseline.devices)}, not on {sources.device}"
    if baseline.needs_checkpoint and sources.checkpoint is None:
        return "it needs the checkpoint that the bundle was exported from: set `checkpoint`"
    return None

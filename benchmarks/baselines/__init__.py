"""What the chain is compared with: `BASELINES`, a row each; the module that a row names loads it."""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastbert.benchmarks.systems import Budget, Family, Runner, Sources
from fastbert.runtime.errors import FastBertError, UsageError

__all__ = ["ALL", "BASELINES", "Baseline", "Skipped", "baseline_family", "check_names", "prepare_baselines"]

ALL = "all"
_HERE = "fastbert.benchmarks.baselines"


@dataclass(frozen=True)
class Baseline:
    """One row of the table.

    :param kind: ``"whole"`` or ``"early-exit"``, see `fastbert.benchmarks.systems.Family`.
    :param precision: ``"float32"``, ``"int8"``, ``"bfloat16"`` ...
    :param module: has ``prepare(sources, **arguments)``, which writes files or raises why it cannot be had here, and
        ``load(sources, budget, **arguments) -> Runner``.
    :param needs: modules that must be importable.
    :param extra: the extra that brings them.
    """

    title: str
    kind: str
    precision: str
    module: str
    needs: tuple[str, ...]
    extra: str
    devices: tuple[str, ...] = ("cpu",)
    needs_checkpoint: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """A baseline that was asked for and not run."""

    name: str
    reason: str


def _onnxruntime(title: str, precision: str) -> Baseline:
    needs = ("onnx", "onnxruntime")
    arguments = {"precision": precision}
    return Baseline(title, "whole", precision, f"{_HERE}.onnxruntime", needs, "bench", arguments=arguments)


def _openvino(title: str, precision: str) -> Baseline:
    needs = ("onnx", "openvino")
    arguments = {"precision": precision}
    return Baseline(title, "whole", precision, f"{_HERE}.openvino", needs, "openvino", arguments=arguments)


def _pytorch(title: str, kind: str) -> Baseline:
    needs = ("torch", "transformers")
    arguments = {"early_exit": kind == "early-exit"}
    return Baseline(
        title, kind, "float32", f"{_HERE}.pytorch", needs, "train", needs_checkpoint=True, arguments=arguments
    )


def _gpu(title: str, device: str, needs: tuple[str, ...], extra: str) -> Baseline:
    return Baseline(title, "whole", "float16", f"{_HERE}.gpu", needs, extra, devices=(device,))


# In the order in which `fastbert.benchmarks.report.analysis` looks for the whole model to compare a chain with.
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
}


def check_names(names: Sequence[str], *, has_checkpoint: bool) -> None:
    """Refuse names that are not in the table, or that need a checkpoint where there is none.

    `ALL` leaves those out that need one.

    :raises UsageError: a name is one of these.
    """
    for name in names:
        if name not in BASELINES and name != ALL:
            raise UsageError(f"The baseline {name!r} is unknown; use {', '.join(BASELINES)}, {ALL} or none.")
        if name != ALL and BASELINES[name].needs_checkpoint and not has_checkpoint:
            raise UsageError(
                f"The baseline {name} needs the checkpoint that the bundle was exported from: --checkpoint DIR"
            )


def prepare_baselines(names: Sequence[str], sources: Sources) -> tuple[list[Family], list[Skipped]]:
    """Make what the baselines need; one that cannot be had here is skipped, with the reason.

    :param names: of `BASELINES`, or `ALL`.
    :raises UsageError: a name is unknown; or a baseline that was named, not only meant by `ALL`, needs a checkpoint.
    """
    check_names(names, has_checkpoint=sources.checkpoint is not None)
    wanted = list(BASELINES) if ALL in names else list(names)
    families, skipped = [], []
    for name in wanted:
        baseline = BASELINES[name]
        reason = _obstacle(baseline, sources)
        if reason is None:
            try:
                importlib.import_module(baseline.module).prepare(sources, **baseline.arguments)
            except FastBertError as error:
                reason = str(error)
        if reason is None:
            families.append(baseline_family(name, sources))
        else:
            skipped.append(Skipped(name, reason))
    return families, skipped


def baseline_family(name: str, sources: Sources) -> Family:
    """Return the family of a baseline whose files were prepared."""
    baseline = BASELINES[name]

    def load(budget: Budget) -> Runner:
        runner: Runner = importlib.import_module(baseline.module).load(sources, budget, **baseline.arguments)
        return runner

    return Family(name, baseline.title, baseline.kind, baseline.precision, load)


def _obstacle(baseline: Baseline, sources: Sources) -> str | None:
    """Return why a baseline cannot be had here, or None."""
    missing = [module for module in baseline.needs if importlib.util.find_spec(module) is None]
    if missing:
        return f"{missing[0]} is not installed here. Install it with: pip install 'fastbert-deploy[{baseline.extra}]'"
    if sources.device not in baseline.devices:
        return f"it runs on {', '.join(baseline.devices)}, not on {sources.device}"
    if baseline.needs_checkpoint and sources.checkpoint is None:
        return "it needs the checkpoint that the bundle was exported from: --checkpoint DIR"
    return None

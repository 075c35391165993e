"""What is measured: engines that answer, loaded with a budget of processor threads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime import Classifier
from fastbert.runtime.manifest import Manifest, Variant

Answer = tuple[NDArray[np.float32], NDArray[np.int64]]  # logits [batch, classes], layers run [batch]


@dataclass(frozen=True)
class Budget:
    """Processor threads of one system. threads x calls is the same for every system of a scenario.

    :param threads: threads of one call.
    :param calls: calls that run at the same time.
    """

    threads: int
    calls: int = 1


@dataclass(frozen=True)
class Sources:
    """What systems are made from.

    :param checkpoint: the one that the bundle was exported from, if known.
    :param folder: for the files that baselines need.
    :param cuda_graphs: for the chain and the whole model on a GPU.
    :param variant: the variant whose graphs the whole model on a GPU is made of; None: the device's first.
    """

    bundle: Path
    checkpoint: Path | None
    device: str
    folder: Path
    cuda_graphs: bool = False
    variant: str | None = None


class Runner(Protocol):
    """A loaded engine. As many threads may share it as its budget has calls."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the engine reports about itself: provider, precision, threads."""

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: float | None,
    ) -> Answer:
        """Classify a padded batch: int64 [batch, sequence] each; ``speed`` is None for a system without exits."""


@dataclass(frozen=True)
class System:
    """An engine with all its speeds. In ``report.json`` it is called a family.

    :param kind: ``"chain"``: a variant of the bundle; ``"whole"``: always runs all layers; ``"early-exit"``: another
        implementation of early exit.
    :param precision: of weights and hidden states, such as ``"float32"``.
    :param load: budget -> runner. Imports only what the engine needs.
    """

    name: str
    title: str
    kind: str
    precision: str
    load: Callable[[Budget], Runner]

    def speeds(self, speeds: Sequence[float]) -> Sequence[float | None]:
        """Return the speeds that this system runs at; (None,) if it has no exits."""
        return (None,) if self.kind == "whole" else speeds


@dataclass(frozen=True)
class SystemAtSpeed:
    """A system at one of its speeds: what a scenario times."""

    system: System
    speed: float | None

    @property
    def name(self) -> str:
        """Its name in the report, such as ``"fp32 speed 0.5"``."""
        return self.system.name if self.speed is None else f"{self.system.name} speed {self.speed:g}"


@dataclass(frozen=True)
class Skipped:
    """A system that was requested but not measured."""

    name: str
    reason: str


class ChainRunner:
    """A variant of the bundle, run by `fastbert.runtime.Classifier`."""

    def __init__(self, classifier: Classifier, settings: Mapping[str, Any]) -> None:
        self.classifier = classifier
        self.settings = settings

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: float | None,
    ) -> Answer:
        """Classify a padded batch."""
        output = self.classifier.run(input_ids, attention_mask, token_type_ids, speed=speed)
        return output.logits, output.layers_run


def variants_on(device: str, manifest: Manifest, names: Sequence[str] | None = None) -> list[Variant]:
    """Return the variants of these names, or all that a device can run.

    :raises UsageError: the bundle has no such variant for the device, or none at all.
    """
    supported = [variant.name for variant in manifest.variants if variant.runs_on(device)]
    asked: Sequence[str | None] = names or supported or [None]  # None: the manifest's error lists what it has
    return [manifest.variant_for(device, name) for name in asked]


def chain_systems(sources: Sources, manifest: Manifest, variants: Sequence[str] | None) -> list[System]:
    """Return one system per variant: those named, or all that the device can run.

    :raises UsageError: the bundle has no such variant for the device.
    """
    chosen = variants_on(sources.device, manifest, variants)

    def loader(name: str, engine: str) -> Callable[[Budget], Runner]:
        def load(budget: Budget) -> Runner:
            classifier = Classifier.load(
                sources.bundle,
                device=sources.device,
                variant=name,
                threads=budget.threads if sources.device == "cpu" else None,
                cuda_graphs=sources.cuda_graphs,
            )
            settings = {"engine": engine, "device": sources.device, "calls": budget.calls}
            if sources.device == "cpu":
                settings["threads"] = budget.threads
            return ChainRunner(classifier, settings | ({"cuda_graphs": True} if sources.cuda_graphs else {}))

        return load

    return [System(v.name, f"fastbert {v.name}", "chain", v.precision, loader(v.name, v.engine)) for v in chosen]


def reference_for(system: System, systems: Sequence[System]) -> System | None:
    """Return the whole model that a system's speed-ups are against.

    The first whole model in its precision; otherwise the first whole model. A whole model itself has none.
    """
    whole = [other for other in systems if other.kind == "whole"]
    if system.kind == "whole" or not whole:
        return None
    return next((other for other in whole if other.precision == system.precision), whole[0])

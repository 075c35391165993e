"""What is measured: engines that answer, loaded with a budget of processor threads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime import Classifier

__all__ = ["Answer", "Budget", "ChainRunner", "Family", "Runner", "Sources", "chain_families"]

Answer = tuple[NDArray[np.float32], NDArray[np.int64]]  # logits [batch, classes], layers run [batch]


@dataclass(frozen=True)
class Budget:
    """Processor threads of a system.

    :param threads: that one call may use.
    :param calls: calls that run at once; threads x calls is the same for every system of a scenario.
    """

    threads: int
    calls: int = 1


@dataclass(frozen=True)
class Sources:
    """What systems are made from.

    :param checkpoint: what the bundle was exported from, if it was named.
    :param folder: where files that are made for baselines go.
    :param cuda_graphs: of the chain and of the whole model on a GPU.
    """

    bundle: Path
    checkpoint: Path | None
    device: str
    folder: Path
    cuda_graphs: bool = False


class Runner(Protocol):
    """A loaded engine. May be shared by as many threads as its budget has calls."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the engine says that it runs with: provider, precision, threads."""

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
        speed: float | None,
    ) -> Answer:
        """Classify a padded batch: int64 [batch, sequence] each; ``speed`` is None where there are no exits."""


@dataclass(frozen=True)
class Family:
    """One engine with all its speeds.

    :param kind: ``"chain"``: a variant of the bundle; ``"whole"``: all layers always; ``"early-exit"``: another
        implementation of early exit.
    :param precision: such as ``"float32"``, of weights and hidden states.
    :param load: budget -> runner. Only imports what the engine needs.
    """

    name: str
    title: str
    kind: str
    precision: str
    load: Callable[[Budget], Runner]

    def speeds(self, speeds: Sequence[float]) -> Sequence[float | None]:
        """Return the speeds that this family runs at; (None,) where it has no exits."""
        return (None,) if self.kind == "whole" else speeds


class ChainRunner:
    """A bundle's variant: what this project ships."""

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
        return output.logits, output.exit_layer + 1


def chain_families(sources: Sources, variants: Sequence[str] | None) -> list[Family]:
    """Return a family for each variant named, or for all that are for the device.

    :raises UsageError: the bundle has no such variant for the device.
    """
    from fastbert.runtime.manifest import read_manifest

    manifest = read_manifest(sources.bundle)
    fitting = [variant.name for variant in manifest.variants if sources.device in variant.devices]
    names: Sequence[str | None] = variants or fitting or [None]  # None: the manifest says what it has instead
    chosen = [manifest.variant_for(sources.device, name) for name in names]

    def loader(name: str, engine: str) -> Callable[[Budget], Runner]:
        def load(budget: Budget) -> Runner:
            classifier = Classifier.load(
                sources.bundle,
                device=sources.device,
                variant=name,
                threads=budget.threads if sources.device == "cpu" else None,
                cuda_graphs=sources.cuda_graphs,
            )
            settings = {"engine": engine, "device": sources.device, "threads": budget.threads}
            return ChainRunner(classifier, settings | ({"cuda_graphs": True} if sources.cuda_graphs else {}))

        return load

    return [Family(v.name, f"fastbert {v.name}", "chain", v.precision, loader(v.name, v.engine)) for v in chosen]

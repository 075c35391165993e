"""What training is asked to do, and what it reports."""

import math
from dataclasses import dataclass
from pathlib import Path

from fastbert.configuration import ExitHeadConfig
from fastbert.runtime.errors import UsageError
from fastbert.training.losses import KL_DIRECTIONS
from fastbert.uncertainty import check_measure

PHASES = ("finetune", "distill", "both")
_PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class PhaseOptions:
    """How long one phase trains, and at which peak learning rate."""

    epochs: float
    learning_rate: float


@dataclass(frozen=True)
class TrainOptions:
    """What `train` is asked to do.

    :param model: directory or hub name of a Hugging Face encoder, a Hugging Face classifier or a FastBERT checkpoint.
    :param output: directory of the checkpoint to write.
    :param train: labelled file; may be None when only distilling with ``unlabeled``.
    :param dev: file that picks the best epoch; None holds out a tenth of the training rows, at most 2000.
    :param unlabeled: more texts to distil on; labels in these files are ignored.
    :param phase: one of `PHASES`.
    :param layers: keep only the backbone's first layers; None: all. With ``phase="finetune"`` the result is a shallow
        model with one exit.
    :param kl: direction of the divergence in distillation (`fastbert.training.losses.KL_DIRECTIONS`).
    :param label_share: share of cross-entropy on labelled rows in the distillation loss, in [0, 1].
    :param max_length: longest text in tokens; None: 128, or the checkpoint's own.
    :param max_train_rows: draw this many training rows at random.
    :param batch_size: rows per step on each device.
    :param warmup: share of the steps over which the learning rate rises, in [0, 1).
    :param exit_head: head of every exit but the last; None: the paper's, or the checkpoint's own.
    :param uncertainty: what the exits measure (`fastbert.uncertainty.MEASURES`); None: entropy, or the checkpoint's
        own. Training does not depend on it; it is written to the checkpoint.
    :param tokenizer: directory or hub name of the tokenizer; None: the one of ``model``.
    :param precision: ``fp32``, or the Trainer's mixed precision ``fp16`` or ``bf16``.
    :raises UsageError: a value is out of range, or there is nothing to train on.
    """

    model: str
    output: Path
    train: Path | None = None
    dev: Path | None = None
    unlabeled: tuple[Path, ...] = ()
    phase: str = "both"
    layers: int | None = None
    kl: str = "forward"
    label_share: float = 0.5
    max_length: int | None = None
    max_train_rows: int | None = None
    batch_size: int = 32
    finetune: PhaseOptions = PhaseOptions(epochs=3, learning_rate=5e-5)
    distill: PhaseOptions = PhaseOptions(epochs=5, learning_rate=1e-3)
    warmup: float = 0.1
    weight_decay: float = 0.01
    exit_head: ExitHeadConfig | None = None
    uncertainty: str | None = None
    tokenizer: str | None = None
    precision: str = "fp32"
    seed: int = 42

    def __post_init__(self) -> None:
        for name, known in (("phase", PHASES), ("precision", _PRECISIONS), ("kl", KL_DIRECTIONS)):
            if getattr(self, name) not in known:
                raise UsageError(f"`{name}` is {getattr(self, name)!r}; use {', '.join(known)}.")
        if self.uncertainty is not None:
            check_measure(self.uncertainty)
        if self.layers is not None and self.phase == "distill":
            raise UsageError(
                "`layers` cuts the last exit off, from which `phase` distill learns. Use `phase` finetune or both."
            )
        if not 0.0 <= self.label_share <= 1.0:
            raise UsageError(f"`label_share` is {self.label_share}; it must be from 0 to 1.")
        if self.train is None and (self.phase != "distill" or not self.unlabeled):
            raise UsageError("`train` is missing: it is needed, unless `unlabeled` texts are distilled.")
        for name, value in (
            ("layers", self.layers),
            ("batch_size", self.batch_size),
            ("max_length", self.max_length),
            ("epochs", self.finetune.epochs),
            ("learning_rate", self.finetune.learning_rate),
            ("distill_epochs", self.distill.epochs),
            ("distill_learning_rate", self.distill.learning_rate),
        ):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"`{name}` is {value:g}; it must be greater than 0.")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"`seed` is {self.seed}; it must be from 0 to {2**32 - 1}.")


@dataclass(frozen=True)
class PhaseReport:
    """How a phase ended.

    :param phase: ``finetune`` or ``distill``.
    :param steps: optimizer steps, including those before a resume.
    :param exit_accuracy: of every exit on the dev rows, first layer first; None: the dev rows have no labels.
    :param exit_divergence: mean KL(teacher || exit) of every exit but the last on the dev rows, in nats.
    """

    phase: str
    steps: int
    exit_accuracy: tuple[float, ...] | None
    exit_divergence: tuple[float, ...]


@dataclass(frozen=True)
class TrainReport:
    """What `train` did: the checkpoint, its class names by index, the rows used and the phases in order."""

    output: Path
    labels: tuple[str, ...]
    train_rows: int
    unlabeled_rows: int
    dev_rows: int
    phases: tuple[PhaseReport, ...]

"""The options of ``fastbert tune``."""

from dataclasses import dataclass
from pathlib import Path

from fastbert.benchmarks.tuning.targets import TARGETS, Target
from fastbert.runtime.errors import UsageError
from fastbert.runtime.operating_points import POINT_NAME

_NUMBERS = ("nan", "inf", "infinity")  # to float(); no other number begins with a letter


@dataclass(frozen=True)
class TuneOptions:
    """What to tune for, and on which rows. Exactly one of the five targets is given.

    :param data: rows like those of production, not those that the model was trained on.
    :param max_drop: points of accuracy that may be lost against full depth; needs labels.
    :param min_agreement: share of rows, in (0, 1], that must get full depth's answer; needs no labels.
    :param speedup: how many times fewer layers to run.
    :param max_latency_ms: largest median latency of a single row on this machine, from token ids to logits.
    :param min_accuracy: share of right answers, in (0, 1]; needs labels.
    :param confidence: makes ``max_drop`` or ``min_agreement`` a guarantee, which holds with this probability, in
        [0.5, 1); None: no guarantee.
    :param name: of the operating point to write into the bundle; None: nothing is written.
    :param test: other rows to measure the speed on; None: a third of ``data``, where enough rows remain to decide.
    :param ignore_labels: treat the rows as unlabelled.
    :param variant: a variant's name; None: the bundle's first for the device.
    :param device: one of `fastbert.runtime.engines.DEVICES`.
    :param threads: processor threads; None: the cores that this process may use.
    :param seed: of the draw of the rows that decide.
    :raises UsageError: a value is out of range, or the targets are not exactly one.
    """

    data: Path
    max_drop: float | None = None
    min_agreement: float | None = None
    speedup: float | None = None
    max_latency_ms: float | None = None
    min_accuracy: float | None = None
    confidence: float | None = None
    name: str | None = None
    test: Path | None = None
    ignore_labels: bool = False
    variant: str | None = None
    device: str = "cpu"
    threads: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        given = [f"`{name}`" for name in TARGETS if getattr(self, name) is not None]
        if len(given) != 1:
            every = ", ".join(f"`{name}`" for name in TARGETS)
            found = f"{' and '.join(given)} were given" if given else "none was given"
            raise UsageError(f"Tuning is for exactly one target, and {found}. Name one of {every}.")
        target = self.target
        target.kind.check(target.value)
        if self.confidence is not None:
            if not target.kind.guaranteed:
                able = " and ".join(f"`{name}`" for name, kind in TARGETS.items() if kind.guaranteed)
                raise UsageError(
                    f"`confidence` makes {able} a guarantee; there is none for `{target.kind.name}`. Omit `confidence`."
                )
            if not 0.5 <= self.confidence < 1:
                raise UsageError(
                    f"`confidence` is {self.confidence:g}; it must be at least 0.5 and less than 1, such as 0.95."
                )
            target.check_guarantee()
        if self.ignore_labels and target.kind.labels:
            raise UsageError(
                f"`{target.kind.name}` needs labels, and `ignore_labels` takes them away. Omit one of them."
            )
        if self.name is not None and POINT_NAME.fullmatch(self.name) is None:
            raise UsageError(
                f"`name` is {self.name!r}; it must be a letter, then at most 63 letters, digits, _ or -, such as "
                "balanced."
            )
        if self.name is not None and self.name.lower() in _NUMBERS:
            raise UsageError(f"`name` is {self.name!r}, which a command line reads as a number. Choose another.")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"`threads` is {self.threads}; it must be at least 1.")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"`seed` is {self.seed}; it must be from 0 to {2**32 - 1}.")

    @property
    def target(self) -> Target:
        """The target that was given."""
        name = next(name for name in TARGETS if getattr(self, name) is not None)
        return Target(TARGETS[name], float(getattr(self, name)), self.confidence)

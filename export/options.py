"""What an export is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastbert.data.rows import Row
from fastbert.export.verification.outcome import DEFAULT_BOUNDS, Bounds
from fastbert.runtime.errors import UsageError
from fastbert.runtime.exit_rule import ExitRule


@dataclass(frozen=True)
class ExportOptions:
    """How to export a checkpoint.

    :param precisions: names in `fastbert.export.PRECISIONS`; each becomes a variant of the bundle.
    :param layers_per_stage: layers in one stage, with one exit after the last of them.
    :param exits: instead, the 0-based layers that have an exit; each ends a stage, as the last layer always does. None:
        every layer, or the last alone if the others were never distilled.
    :param default_speed: in [0, 1]; what the runtime uses where the caller gives no speed.
    :param uncertainty: what the exits measure (`fastbert.uncertainty.MEASURES`); None: what the checkpoint says.
    :param verify_data: a data file, or rows, to verify the engines on; None: the rows kept in the checkpoint.
    :param bounds: how far engines may be from PyTorch.
    :raises UsageError: ``default_speed`` is not a number in [0, 1].
    """

    precisions: Sequence[str] = ("fp32",)
    layers_per_stage: int = 1
    exits: Sequence[int] | None = None
    default_speed: float = 0.5
    uncertainty: str | None = None
    verify_data: str | Path | Sequence[Row] | None = None
    bounds: Bounds = DEFAULT_BOUNDS

    def __post_init__(self) -> None:
        try:
            ExitRule(self.default_speed)
        except UsageError as error:
            raise UsageError(
                f"`default_speed` is {self.default_speed!r}; it must be a number from 0 (never exit early) to 1."
            ) from error


DEFAULT_OPTIONS = ExportOptions()

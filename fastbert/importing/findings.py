"""What an import recognised, assumed and ignored."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Findings:
    """Sentences for the report, collected during an import.

    :param recognised: what the files say.
    :param assumed: what they do not say, taken from the original program or from the request.
    :param ignored: what the model does not need.
    :param warnings: what the user should act on.
    :param undistilled_exits: 0-based layers whose exit was never trained.
    """

    recognised: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    undistilled_exits: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class ImportReport:
    """What `fastbert.importing.import_checkpoint` wrote. The sentences are as in `Findings`."""

    output: Path
    format: str
    labels: tuple[str, ...]
    layers: int
    hidden_size: int
    vocabulary: int
    max_length: int
    recognised: tuple[str, ...]
    assumed: tuple[str, ...]
    ignored: tuple[str, ...]
    warnings: tuple[str, ...]
    undistilled_exits: tuple[int, ...]

    @property
    def summary(self) -> str:
        """The report as text, one line per sentence, without the warnings, which are logged."""
        groups = (("recognised", self.recognised), ("assumed", self.assumed), ("ignored", self.ignored))
        return "\n".join(f"{name}: {sentence}" for name, sentences in groups for sentence in sentences)

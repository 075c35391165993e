"""What ``fastbert verify`` compared, as lines for people."""

from collections.abc import Iterable, Mapping
from typing import Any


def verification_lines(found: Any) -> list[str]:
    """Return the lines of a variant's comparison with PyTorch, a `fastbert.export.Verification`."""

    def by_exit(figures: Iterable[Any], form: str) -> str:
        return "  ".join(f"{layer}: {figure:{form}}" for layer, figure in zip(found.exits, figures, strict=True))

    figures = {
        "largest logit difference by exit": by_exit(found.largest_logit_difference, ".1e"),
        "label flips by exit": by_exit(found.label_flips, "d"),
        "answer flips by speed": _by_speed(found.answer_flips),
        "exit flips by speed": _by_speed(found.exit_flips),
    }
    if found.accuracy is not None and not found.exact:
        accuracy = {speed: f"{100 * theirs:.1f} > {100 * ours:.1f}" for speed, (theirs, ours) in found.accuracy.items()}
        figures["accuracy by speed, PyTorch > here"] = _by_speed(accuracy)
    return [f"{_outcome(found, 'verified')}: {found.variant} on {found.rows} rows", *_indented(figures)]


def c_library_lines(found: Any) -> list[str]:
    """Return the lines of a variant's comparison of the C library with Python's runtime."""
    texts = f"not compared: {found.text_problem}" if found.text_problem else str(found.token_mismatches)
    figures = {
        "largest logit difference": f"{found.largest_logit_difference:.1e}",
        "largest uncertainty difference": f"{found.largest_uncertainty_difference:.1e}",
        "exit flips by speed": _by_speed(found.exit_flips),
        "texts tokenized differently": texts,
    }
    return [f"{_outcome(found, 'verified')}: {found.variant} in C on {found.rows} rows", *_indented(figures)]


def engine_lines(found: Any) -> list[str]:
    """Return the line of an engine's comparison of TensorRT with ONNX Runtime."""
    figures = "  ".join(f"{name} {value:.1e}" for name, value in found.largest_difference.items())
    return [f"{_outcome(found, 'agrees')}: {found.engine:<12} {figures}"]


def _outcome(found: Any, good: str) -> str:
    return "FAILED" if found.problems else good


def _by_speed(figures: Mapping[Any, Any]) -> str:
    return "  ".join(f"{speed}: {figure}" for speed, figure in figures.items())


def _indented(figures: Mapping[str, str]) -> list[str]:
    return [f"  {name:<34}{figure}" for name, figure in figures.items()]

"""What the tests of the examples share: packed files, the bundle's answers to a hundred rows, and the comparison."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastbert.runtime import Classifier
from support.factories import make_rows

EXAMPLES = Path(__file__).parents[2] / "examples"
SPEEDS = (0.0, 0.1, 0.3, 0.5, 0.8)
TOLERANCE = 1e-4  # of fp32 logits
# Other kernels round float32 otherwise, and so an activation now and then to the next step of int8.
INT8_TOLERANCE = 0.1


@dataclass(frozen=True)
class Answer:
    """The bundle's answer to a text at a speed."""

    text: str
    speed: float
    logits: list[float]
    exit_layer: int
    label: str


@dataclass(frozen=True)
class Packed:
    """A bundle and its packed files: variant -> path."""

    bundle: Path
    files: dict[str, Path]

    def answers(self, variant):
        """Return what Python answers to a hundred rows, each at one speed."""
        classifier = Classifier.load(self.bundle, variant=variant, threads=1)
        found = []
        for number, row in enumerate(make_rows(100, seed=11)):
            speed, encoded = SPEEDS[number % len(SPEEDS)], classifier.encode([row.text])
            output = classifier.run(encoded.input_ids, None, encoded.token_type_ids, speed=speed)
            label = classifier.labels[output.logits[0].argmax()]
            found.append(Answer(row.text, speed, output.logits[0].tolist(), int(output.exit_layer[0]), label))
        return found


def needs(example, program="node"):
    """Skip where a program or the packages of an example are missing."""
    if shutil.which(program) is None:
        pytest.skip(f"no {program} here")
    if not (EXAMPLES / example / "node_modules").is_dir():
        pytest.skip(f"the packages of examples/{example} are not installed: make examples")


def compare(found, expected, variant):
    """Fail unless (exit layer, logits) of each row are the bundle's.

    In int8 an uncertainty near the speed may fall on its other side: at most 2 of 100 rows exit elsewhere.
    """
    pairs = list(zip(found, expected, strict=True))
    moved = sum(layer != answer.exit_layer for (layer, _), answer in pairs)
    assert moved <= (0 if variant == "fp32" else 2)
    assert {layer for layer, _ in found} == {0, 1, 2}
    for (layer, logits), answer in pairs:
        if layer == answer.exit_layer:
            assert logits == pytest.approx(answer.logits, abs=TOLERANCE if variant == "fp32" else INT8_TOLERANCE)

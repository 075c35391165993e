"""``fastbert verify --runtime c``: the C library against Python's runtime, with the same ONNX Runtime.

Both run the same engines on the same token ids, so their answers must be equal. `fastbert.export.verification.compare`
says whether those of Python's runtime are PyTorch's.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.data import iter_inputs
from fastbert.export.golden import CHECKED_SPEEDS, GOLDEN, read_golden
from fastbert.runtime import ChainOutput, Classifier
from fastbert.runtime.cpp import library, onnxruntime_library
from fastbert.runtime.cpp.binding import Session, load_library
from fastbert.runtime.manifest import check_files, read_manifest
from fastbert.runtime.tokenization import TextInput

_BATCH = 32
_TOLERANCE = 1e-5
_ONNXRUNTIME = "FASTBERT_ONNXRUNTIME"  # read by the C library
_Ids = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class CLibraryComparison:
    """A variant's answers from the C library compared with those of Python's runtime.

    :param library: file of the C library.
    :param rows: token ids that both ran on, in padded batches and one by one, at one of the speeds each.
    :param largest_logit_difference: of all rows; the bound is 1e-5.
    :param largest_uncertainty_difference: of all rows; the bound is the same.
    :param exit_flips: speed -> answers that come after another layer.
    :param token_mismatches: texts that the C library turns into other ids; None: it does not have this tokenizer.
    :param text_problem: why it does not have it.
    """

    variant: str
    library: str
    rows: int
    largest_logit_difference: float
    largest_uncertainty_difference: float
    exit_flips: dict[str, int]
    token_mismatches: int | None
    text_problem: str | None

    @property
    def problems(self) -> list[str]:
        """What failed, one sentence each; empty: the answers agree."""
        problems = []
        for name, value in (
            ("logits", self.largest_logit_difference),
            ("uncertainties", self.largest_uncertainty_difference),
        ):
            if not value <= _TOLERANCE:  # a NaN must fail
                problems.append(f"{name} differ by up to {value:.2e}; the bound is {_TOLERANCE:.0e}")
        if any(self.exit_flips.values()):
            flips = ", ".join(f"{count} at speed {speed}" for speed, count in self.exit_flips.items() if count)
            problems.append(f"rows exit after other layers: {flips}")
        if self.token_mismatches:
            problems.append(f"{self.token_mismatches} texts are tokenized differently")
        return [f"{self.variant}: {problem}" for problem in problems]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON, with ``passed``."""
        return {**asdict(self), "passed": not self.problems}


def compare_c_library(
    bundle: Path, *, data: Path | None = None, variant: str | None = None
) -> list[CLibraryComparison]:
    """Check every file of a bundle, then run the variants for the CPU in both runtimes.

    :param data: texts to compare on besides the golden rows.
    :param variant: compare only this one.
    :raises EngineError: the C library or ONNX Runtime's shared library is missing.
    :raises BundleError: a file is missing or altered.
    :raises UsageError: no such variant for the CPU.
    """
    manifest = read_manifest(bundle)
    check_files(bundle, manifest, manifest.files, contents=True)
    first = manifest.variant_for("cpu", variant).name
    names = [first] if variant else [held.name for held in manifest.variants if held.runs_on("cpu")]
    golden = read_golden(bundle / GOLDEN)
    texts = [*golden.texts, *(iter_inputs(data) if data is not None else ())]
    path = library()
    loaded = load_library(path)
    onnxruntime = None if os.environ.get(_ONNXRUNTIME) else os.fsencode(onnxruntime_library())
    comparisons = []
    for name in names:
        python = Classifier.load(bundle, variant=name)
        c = Session(loaded, bundle, variant=name.encode(), onnxruntime_library=onnxruntime)
        rows = _Rows(python, c)
        rows.add_batches((golden.input_ids, golden.attention_mask, golden.token_type_ids))
        if len(texts) > len(golden.texts):
            encoded = python.encode(texts[len(golden.texts) :])
            rows.add_batches((encoded.input_ids, encoded.attention_mask, encoded.token_type_ids))
        comparisons.append(
            CLibraryComparison(
                variant=name,
                library=str(path),
                rows=rows.count,
                largest_logit_difference=rows.logits,
                largest_uncertainty_difference=rows.uncertainty,
                exit_flips=rows.exit_flips,
                token_mismatches=_token_mismatches(python, c, texts) if c.info.has_text else None,
                text_problem=None if c.info.has_text else c.info.text_problem.decode(),
            )
        )
    return comparisons


class _Rows:
    """Runs rows in both runtimes and keeps the largest differences."""

    def __init__(self, python: Classifier, c: Session) -> None:
        self._python, self._c = python, c
        self.count = 0
        self.logits = self.uncertainty = 0.0
        self.exit_flips = {str(speed): 0 for speed in CHECKED_SPEEDS}

    def add_batches(self, ids: _Ids) -> None:
        """Run rows in batches and one by one. Batches and rows take turns at the speeds: all of them would take long.

        Where there are fewer batches than speeds, a batch runs at several. The first batch has rows of any length,
        which pads most; the others have rows of similar length, which saves time.
        """
        lengths = ids[1].sum(axis=1)
        count = len(lengths)
        order = np.concatenate([np.arange(count)[:_BATCH], _BATCH + np.argsort(lengths[_BATCH:], kind="stable")])
        batches = -(-count // _BATCH)
        for number, start in enumerate(range(0, count, _BATCH)):
            part = order[start : start + _BATCH]
            for speed in CHECKED_SPEEDS[number % len(CHECKED_SPEEDS) :: batches]:
                self._add(tuple(array[part, : lengths[part].max()] for array in ids), speed)
        for row, length in enumerate(lengths):
            self._add(tuple(array[[row], :length] for array in ids), CHECKED_SPEEDS[row % len(CHECKED_SPEEDS)])
        self.count += count

    def _add(self, inputs: Sequence[NDArray[np.int64]], speed: float) -> None:
        ours: ChainOutput = self._c.run(*inputs, speed=speed)
        theirs = self._python.run(*inputs, speed=speed)
        # np.maximum keeps a NaN
        self.logits = float(np.maximum(self.logits, np.abs(ours.logits - theirs.logits).max()))
        self.uncertainty = float(np.maximum(self.uncertainty, np.abs(ours.uncertainty - theirs.uncertainty).max()))
        self.exit_flips[str(speed)] += int((ours.exit_layer != theirs.exit_layer).sum())


def _token_mismatches(python: Classifier, c: Session, texts: Sequence[TextInput]) -> int:
    mismatches = 0
    for text in texts:  # one by one: in a batch, one long row would change the shape of all
        ours, theirs = vars(c.encode([text])), vars(python.encode([text]))
        mismatches += not all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    return mismatches

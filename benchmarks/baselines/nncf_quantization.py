"""Post-training quantization by NNCF, in a process of its own, which runs this module as a program.

On import, NNCF replaces the logger class of the process, reports its use to its makers unless ``NNCF_CI`` is set
(openvinotoolkit/nncf#1339), and it prints its log and its progress on stdout. None of that belongs into a bench.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines.onnx_graphs import HEAD
from fastbert.export.golden import CALIBRATION_ROWS, Golden, read_golden
from fastbert.runtime.errors import EngineError


def quantize(model: Path, golden: Path, output: Path) -> None:
    """Quantize weights and activations of a whole model to int8, with NNCF's preset for transformers.

    The exit head stays in float32, as in every int8 model of the bench.

    :param model: an ONNX file.
    :param golden: a bundle's golden rows; the first `CALIBRATION_ROWS`, which the bundle's own int8 is calibrated on.
    :param output: the ``.xml`` of OpenVINO's format; its weights lie beside it.
    :raises EngineError: the quantization fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps([str(model), str(golden), str(output)]),
        env={**os.environ, "NNCF_CI": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or f"it ended with {done.returncode}").split("\n")[-1]
        raise EngineError(f"NNCF could not quantize {model}: {reason}. Update both: pip install -U openvino nncf")


def calibration_rows(golden: Golden, names: list[str]) -> Iterator[dict[str, NDArray[np.int64]]]:
    """Yield the calibration rows one by one without their padding, which would count as activations.

    :param names: the model's inputs.
    :returns: input -> int64 [1, tokens].
    """
    for row, mask in enumerate(golden.attention_mask[:CALIBRATION_ROWS]):
        tokens = int(mask.sum())
        yield {name: getattr(golden, name)[row : row + 1, :tokens] for name in names}


def _quantize(model: Path, golden: Path, output: Path) -> None:
    import nncf
    import openvino

    read: Any = openvino.Core().read_model(str(model))
    names = [value.get_any_name() for value in read.inputs]
    rows = list(calibration_rows(read_golden(golden), names))
    quantized = nncf.quantize(
        read,
        nncf.Dataset(rows),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(rows),
        ignored_scope=nncf.IgnoredScope(patterns=[f".*{HEAD}.*"]),
    )
    openvino.save_model(quantized, str(output), compress_to_fp16=False)


if __name__ == "__main__":
    _quantize(*map(Path, json.load(sys.stdin)))

"""Bundles of random weights, and fresh processes to measure them in: what the studies share."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastbert.runtime.hardware import int8_products_saturate


def in_child(module: str, function: str, *arguments: Any) -> str:
    """Call a function of a module of this folder in a fresh interpreter; return its result as text.

    :raises RuntimeError: it failed.
    """
    code = f"from studies import {module}; print({module}.{function}(*{arguments!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{function} failed:\n{done.stderr}")
    return done.stdout.strip().split("\n")[-1]


def int8_here() -> str:
    """Return the name of the int8 variant for this processor."""
    return "int8-reduced" if int8_products_saturate() else "int8"


def make_bundle(
    layers: int, hidden: int, directory: str, precisions: Sequence[str] = ("fp32",), exit_size: int = 128
) -> int:
    """Write ``bundle/``, a BERT of random weights, and ``whole.onnx``, the whole model; return the latter's bytes."""
    from tokenizers import Tokenizer, models
    from transformers import BertConfig, PreTrainedTokenizerFast

    from fastbert.benchmarks.baselines.whole_model import join_stages
    from fastbert.checkpoint import Checkpoint
    from fastbert.configuration import ExitHeadConfig, FastBertConfig
    from fastbert.data.rows import Row
    from fastbert.export import ExportOptions, export_bundle
    from fastbert.export.verification.compare import Bounds
    from fastbert.modeling import FastBertForSequenceClassification
    from fastbert.runtime.manifest import read_manifest

    backbone = BertConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=4 * hidden
    )
    head = ExitHeadConfig(size=exit_size)
    config = FastBertConfig(
        backbone, exit_head=head, distilled=True, id2label={0: "0", 1: "1"}, label2id={"0": 0, "1": 1}
    )
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2}, unk_token="[UNK]"))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    checkpoint = Checkpoint(FastBertForSequenceClassification(config), fast)
    bounds = Bounds(max_label_flips=1.0)  # random weights are sure of no label, so int8 may flip the only row's
    options = ExportOptions(precisions=precisions, verify_data=[Row("a")], bounds=bounds)
    export_bundle(checkpoint, Path(directory) / "bundle", options)
    variant = read_manifest(Path(directory) / "bundle").variant_for("cpu")
    whole = join_stages(Path(directory) / "bundle", variant).SerializeToString()
    return (Path(directory) / "whole.onnx").write_bytes(whole)


def whole_session(directory: str, threads: int, precision: str = "fp32", *, global_pool: bool = False) -> Any:
    """Return the whole model in one session with ONNX Runtime's defaults.

    :param precision: ``"fp32"``: without the fusion that slows it down. ``"int8"``: ``quantize_dynamic``, as users make
        it.
    :param global_pool: use the process's global pool instead of ``threads``.
    """
    import onnxruntime

    from fastbert.runtime.engines.cpu.sessions import DISABLED_OPTIMIZERS

    options = onnxruntime.SessionOptions()
    if global_pool:
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads = threads
    whole, quantized = Path(directory) / "whole.onnx", Path(directory) / "whole-int8.onnx"
    if precision == "int8" and not quantized.exists():
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(whole, quantized)
    return onnxruntime.InferenceSession(
        quantized if precision == "int8" else whole,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=() if precision == "int8" else DISABLED_OPTIMIZERS,
    )


class Bundles:
    """Bundles of random weights, fp32 and `int8_here`, each made when first needed and deleted with this object."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fastbert-study-")

    def get(self, layers: int, hidden: int, exit_size: int = 128) -> str:
        """Return the directory that `make_bundle` wrote."""
        directory = Path(self._folder.name) / f"{layers}x{hidden}-{exit_size}"
        if not directory.exists():
            directory.mkdir()
            precisions = ("fp32", int8_here())
            in_child("random_bundle", "make_bundle", layers, hidden, str(directory), precisions, exit_size)
        return str(directory)

"""Whole-model graphs for the baselines, written once into the bench's folder.

Exit heads stay in float32 in all of them, as in the bundle's own int8 variant.
"""

import logging
from pathlib import Path

from fastbert.benchmarks.systems import Sources
from fastbert.runtime.errors import EngineError
from fastbert.runtime.manifest import read_manifest

_FLOAT = "whole-float32.onnx"
HEAD = "exit_"  # in the names of all nodes of exit heads


def float_model(sources: Sources) -> Path:
    """Join the float32 variant's engines into one graph without early exits.

    :raises EngineError: the bundle has no float32 variant.
    """
    path = sources.folder / _FLOAT
    if not path.exists():
        from fastbert.benchmarks.baselines.whole_model import join_stages

        variants = read_manifest(sources.bundle).variants
        variant = next((v for v in variants if v.precision == "float32" and v.engine == "onnxruntime"), None)
        if variant is None:
            held = ", ".join(v.name for v in variants)
            raise EngineError(
                f"This baseline is made from a float32 variant for the CPU; {sources.bundle} has only {held}. Export "
                "one with: fastbert export MODEL --output DIR --precision fp32"
            )
        path.write_bytes(join_stages(sources.bundle, variant).SerializeToString())
    return path


def quantized_model(sources: Sources) -> Path:
    """Quantize the whole model's MatMuls with ONNX Runtime's ``quantize_dynamic``, per channel."""
    path = sources.folder / "whole-quantize-dynamic.onnx"
    if not path.exists():
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        source = float_model(sources)
        heads = [node.name for node in onnx.load(source).graph.node if HEAD in node.name]
        logging.getLogger().addFilter(_no_advice)
        try:
            quantize_dynamic(
                source,
                path,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=heads,
            )
        finally:
            logging.getLogger().removeFilter(_no_advice)
    return path


def _no_advice(record: logging.LogRecord) -> bool:
    """Drop the quantizer's advice to preprocess: nothing can be fused before, and ONNX Runtime fuses at load time."""
    return "pre-processing before quantization" not in record.getMessage()

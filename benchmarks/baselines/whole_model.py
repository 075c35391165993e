"""A bundle's model without early exits, as one ONNX graph."""

from pathlib import Path

import onnx
from onnx import ModelProto
from onnx.compose import add_prefix
from onnx.utils import Extractor

from fastbert.export.joined.external_weights import remove_mask
from fastbert.runtime.manifest import Variant

_EXIT_OUTPUTS = ("logits", "uncertainty")


def join_stages(bundle: Path, variant: Variant, *, every_exit: bool = False, masked: bool = True) -> ModelProto:
    """Join a variant's engines into one graph that keeps only the last exit's head.

    :param every_exit: keep all heads; the outputs are logits and uncertainty of each exit, in layer order.
    :param masked: False: a graph for rows without padding, without an input for the mask.
    :returns: a model with the inputs of the embeddings and the output ``logits``: float32 [batch, classes].
    """
    joined = onnx.load(bundle / variant.embeddings)
    hidden_states, mask = "hidden_states", "extended_attention_mask"
    for number, name in enumerate(variant.stages):
        model = add_prefix(onnx.load(bundle / name), f"stage_{number:02d}/")
        stage = model.graph
        feeds = {f"stage_{number:02d}/hidden_states": hidden_states, f"stage_{number:02d}/{mask}": mask}
        for node in stage.node:
            node.input[:] = [feeds.get(value, value) for value in node.input]
        joined.graph.node.extend(stage.node)
        joined.graph.initializer.extend(stage.initializer)
        joined.graph.value_info.extend(stage.output)
        known = {opset.domain for opset in joined.opset_import}
        joined.opset_import.extend(opset for opset in model.opset_import if opset.domain not in known)
        hidden_states = f"stage_{number:02d}/next_hidden_states"
    kept = [f"stage_{len(variant.stages) - 1:02d}/logits"]
    if every_exit:
        kept = [f"stage_{number:02d}/{name}" for number in range(len(variant.stages)) for name in _EXIT_OUTPUTS]
    joined.graph.output.extend(value for value in joined.graph.value_info if value.name in kept)
    inputs = [value.name for value in joined.graph.input]
    if not masked:
        remove_mask(joined.graph)
        inputs.remove("attention_mask")
    return Extractor(joined).extract_model(inputs, kept)

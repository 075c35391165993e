"""The Hugging Face encoders that have the shape of BERT, and how they differ: a family is an entry of `FAMILIES`."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from fastbert.runtime.errors import CheckpointError, UsageError

# The activations that engines can compute, by their Hugging Face names.
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "tanh")


@dataclass(frozen=True)
class Family:
    """How one family differs from others whose layers are BERT's.

    :param positions: ``"absolute"``: 0, 1, 2, ...; ``"after_padding_idx"`` (RoBERTa): non-padding tokens are counted
        from ``pad_token_id + 1``, so that many rows of the position table are not used.
    :param pooler_argument: whether the model class accepts ``add_pooling_layer``.
    :param classifier_dense: name of the dense layer on the first token in ``...ForSequenceClassification``.
    :param classifier_output: name of the layer that computes its logits.
    :param classifier_activation: activation between the two.
    """

    positions: Literal["absolute", "after_padding_idx"]
    pooler_argument: bool
    classifier_dense: str
    classifier_output: str
    classifier_activation: str


def _bert(prefix: str) -> Family:
    return Family("absolute", True, f"{prefix}.pooler.dense", "classifier", "tanh")


_ROBERTA = Family("after_padding_idx", True, "classifier.dense", "classifier.out_proj", "tanh")

# Key: `model_type` in the backbone's config.json.
FAMILIES: dict[str, Family] = {
    "bert": _bert("bert"),
    "ernie": _bert("ernie"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": Family("absolute", False, "classifier.dense", "classifier.out_proj", "gelu"),
}


def keep_layers(backbone_config: Any, layers: int | None, source: object) -> None:
    """Cut a backbone's configuration to its first layers, in place.

    :param layers: 1 or more; None: all.
    :param source: where the configuration is from, for messages.
    :raises UsageError: there are fewer layers.
    """
    if layers is None:
        return
    if layers > backbone_config.num_hidden_layers:
        raise UsageError(f"`layers` is {layers}; {source} has only {backbone_config.num_hidden_layers}.")
    backbone_config.num_hidden_layers = layers


def family_of(backbone_config: Any) -> Family:
    """Return the family of a backbone.

    :param backbone_config: a Hugging Face config (anything with ``model_type``).
    :raises CheckpointError: the family is unknown, or the config has a value that is not supported (a decoder,
        cross-attention, relative positions).
    """
    model_type = getattr(backbone_config, "model_type", None)
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"The backbone's model_type is {model_type!r}; fastbert supports {', '.join(FAMILIES)}. "
            "Start from one of these."
        )
    for setting in ("num_hidden_layers", "num_attention_heads"):
        if (value := getattr(backbone_config, setting, 1)) < 1:
            raise CheckpointError(f"The backbone's config.json has {setting}={value}; a model needs 1 or more.")
    for setting, value in vars(backbone_config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise CheckpointError(f"The backbone's config.json has {setting}={value}, which is not a finite number.")
    for setting in ("is_decoder", "add_cross_attention"):
        if getattr(backbone_config, setting, False):
            raise CheckpointError(
                f"The backbone's config.json has {setting}=true; fastbert needs an encoder. Set it to false."
            )
    position_type = getattr(backbone_config, "position_embedding_type", None) or "absolute"
    if position_type != "absolute":
        raise CheckpointError(
            f"The backbone's config.json has position_embedding_type={position_type!r}; only 'absolute' is supported."
        )
    return FAMILIES[model_type]


def check_activation(backbone_config: Any) -> None:
    """Refuse a backbone that could not be exported.

    :raises CheckpointError: its ``hidden_act`` is not one of `ACTIVATIONS`.
    """
    if backbone_config.hidden_act not in ACTIVATIONS:
        raise CheckpointError(
            f"The backbone's config.json has hidden_act={backbone_config.hidden_act!r}, which cannot be exported; use "
            f"one of {', '.join(ACTIVATIONS)}."
        )


def position_limit(backbone_config: Any) -> int:
    """Return the longest sequence, special tokens included, for which the backbone has positions.

    :raises CheckpointError: the family is unknown, or its positions depend on a padding id that the config lacks.
    """
    positions = int(backbone_config.max_position_embeddings)
    if family_of(backbone_config).positions == "absolute":
        return positions
    if backbone_config.pad_token_id is None:
        raise CheckpointError("The backbone's config.json has no pad_token_id, which its positions depend on.")
    return positions - int(backbone_config.pad_token_id) - 1

"""The checkpoint's configuration: its backbone, its exit heads, and how a text becomes token ids."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from fastbert.families import ACTIVATIONS
from fastbert.runtime.errors import CheckpointError, UsageError
from fastbert.uncertainty import DEFAULT_MEASURE, MEASURES

_HEAD_KINDS = ("attention", "mlp")
_LAYER_NORMS = ("standard", "unbiased")
_RENAMED_HEADS = {"seed": "bitvoyage", "authors": "uer"}


@dataclass(frozen=True)
class ExitHeadConfig:
    """The shape of an exit head.

    ``kind="attention"`` is the paper's head (FastBERT, arXiv 2004.02178, figure 2 and table 1): narrow to ``size``,
    masked self-attention, take the first token, dense, classes. The paper names neither its number of attention heads
    nor its activations.

    ``kind="mlp"`` is the classifier of most Hugging Face models: first token, dense, activation, classes.

    :param size: width of the head; a multiple of ``heads``.
    :param heads: number of attention heads (``attention`` only).
    :param narrow_activation: activation after the narrowing layer (``attention`` only), one of `ACTIVATIONS`; None:
        linear.
    :param output_projection: whether the self-attention has an output projection (``attention`` only).
    :param dense_activation: activation after the dense layer, one of `ACTIVATIONS`; None: linear.
    :param dropout: probability in training, before the class layer.
    :raises CheckpointError: a value is outside its range, or an activation cannot be exported.
    """

    kind: str = "attention"
    size: int = 128
    heads: int = 2
    narrow_activation: str | None = None
    output_projection: bool = True
    dense_activation: str | None = "tanh"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("narrow_activation", "dense_activation"):
            if getattr(self, name) not in (None, *ACTIVATIONS):
                raise CheckpointError(
                    f"An exit head's {name} is {getattr(self, name)!r}, which cannot be exported; use one of "
                    f"{', '.join(ACTIVATIONS)}, or None."
                )
        for name in ("size", "heads"):
            if type(getattr(self, name)) is not int:
                raise CheckpointError(f"An exit head's {name} is {getattr(self, name)!r}; expected an integer.")
        if not isinstance(self.output_projection, bool):
            raise CheckpointError(
                f"An exit head's output_projection is {self.output_projection!r}; expected true or false."
            )
        if not (isinstance(self.dropout, int | float) and 0 <= self.dropout <= 1):
            raise CheckpointError(f"An exit head's dropout is {self.dropout!r}; expected a number from 0 to 1.")
        if self.kind not in _HEAD_KINDS:
            raise CheckpointError(f"An exit head's kind is {self.kind!r}; use {' or '.join(_HEAD_KINDS)}.")
        if self.size < 1:
            raise CheckpointError(f"An exit head's size is {self.size}; it must be greater than 0.")
        if self.kind == "attention" and (self.heads < 1 or self.size % self.heads):
            raise CheckpointError(
                f"An exit head's size is {self.size}, which cannot be split into {self.heads} attention heads."
            )

    @classmethod
    def bitvoyage(cls, *, size: int = 128, heads: int = 8) -> "ExitHeadConfig":
        """Return the head of the PyTorch code BitVoyage/FastBERT: no output projection, no activation."""
        return cls(size=size, heads=heads, output_projection=False, dense_activation=None)

    @classmethod
    def uer(cls, *, size: int = 128) -> "ExitHeadConfig":
        """Return the head of the paper authors' code (UER): two attention heads, tanh after both dense layers."""
        return cls(size=size, heads=2, narrow_activation="tanh")


# name -> constructor, which takes a size
HEADS: dict[str, Callable[..., ExitHeadConfig]] = {
    "attention": ExitHeadConfig,
    "bitvoyage": ExitHeadConfig.bitvoyage,
    "uer": ExitHeadConfig.uer,
    "mlp": partial(ExitHeadConfig, kind="mlp"),
}


def exit_head_named(name: str | None = None, size: int | None = None) -> ExitHeadConfig:
    """Return a head by name: ``attention`` (the default), ``bitvoyage``, ``uer`` or ``mlp``.

    :param size: width; None: 128.
    :raises UsageError: the name is unknown, or such a head cannot have this size.
    """
    if name in _RENAMED_HEADS:
        raise UsageError(f"`exit_head` {name!r} has a new name: use {_RENAMED_HEADS[name]!r}.")
    make = HEADS.get(name or "attention")
    if make is None:
        raise UsageError(f"`exit_head` is {name!r}; use {', '.join(HEADS)}.")
    heads = make().heads if make().kind == "attention" else 1
    if size is not None and (size < 1 or size % heads):
        multiple = f" and a multiple of {heads}" if heads > 1 else ""
        raise UsageError(f"`exit_size` is {size}; it must be greater than 0{multiple}.")
    return make() if size is None else make(size=size)


class FastBertConfig(PretrainedConfig):
    """Configuration of a `FastBertForSequenceClassification`, stored as ``config.json``.

    :param backbone_config: the encoder's Hugging Face configuration, or its dict.
    :param exit_head: the head of every exit but the last.
    :param teacher_head: the last exit's head; None: the same as ``exit_head``.
    :param max_sequence_length: longest sequence in tokens, special tokens included; longer texts are truncated.
    :param distilled: whether distillation has trained the exits before the last one.
    :param layer_norm: of the backbone: ``"standard"``, or ``"unbiased"`` (`fastbert.normalization`) in models from UER.
    :param default_token_type: token type of every token when a caller passes none; 1 in models from UER.
    :param uncertainty: what the exits measure (`fastbert.uncertainty.MEASURES`). No weight depends on it.
    :raises CheckpointError: a value is outside its range.
    """

    model_type = "fastbert"
    sub_configs = {"backbone_config": AutoConfig}  # noqa: RUF012 (transformers requires this name and form)
    has_no_defaults_at_init = True

    def __init__(
        self,
        backbone_config: PretrainedConfig | dict[str, Any] | None = None,
        *,
        exit_head: ExitHeadConfig | dict[str, Any] | None = None,
        teacher_head: ExitHeadConfig | dict[str, Any] | None = None,
        max_sequence_length: int = 128,
        distilled: bool = False,
        layer_norm: str = "standard",
        default_token_type: int = 0,
        uncertainty: str = DEFAULT_MEASURE,
        **kwargs: Any,
    ) -> None:
        backbone: Any = backbone_config
        if isinstance(backbone_config, dict):
            values = dict(backbone_config)
            backbone = AutoConfig.for_model(values.pop("model_type", ""), **values)
        elif backbone_config is None:
            backbone = AutoConfig.for_model("bert")
        backbone.dtype = None  # only says how the weights were stored; the whole model has one dtype
        backbone.chunk_size_feed_forward = 0  # chunks fail on lengths that they do not divide, and change no result
        self.backbone_config = backbone
        self.exit_head = _as_dict(exit_head)
        self.teacher_head = _as_dict(teacher_head) if teacher_head is not None else self.exit_head
        if type(max_sequence_length) is not int or max_sequence_length < 1:
            raise CheckpointError(f"max_sequence_length is {max_sequence_length!r}; expected an integer above 0.")
        self.max_sequence_length = max_sequence_length
        if not isinstance(distilled, bool):
            raise CheckpointError(f"distilled is {distilled!r}; expected true or false.")
        self.distilled = distilled
        if layer_norm not in _LAYER_NORMS:
            raise CheckpointError(f"layer_norm is {layer_norm!r}; use {' or '.join(_LAYER_NORMS)}.")
        self.layer_norm = layer_norm
        types = getattr(backbone, "type_vocab_size", None) or 1
        if type(default_token_type) is not int or not 0 <= default_token_type < types:
            raise CheckpointError(
                f"default_token_type is {default_token_type!r}; expected an integer from 0 to {types - 1}, one of the "
                "backbone's token types."
            )
        self.default_token_type = default_token_type
        if uncertainty not in tuple(MEASURES):  # a value of any type
            raise CheckpointError(f"uncertainty is {uncertainty!r}; use {' or '.join(MEASURES)}.")
        self.uncertainty = uncertainty
        super().__init__(**kwargs)

    @property
    def num_exits(self) -> int:
        """Number of exits: one after every layer."""
        return int(self.backbone_config.num_hidden_layers)

    def head_config(self, exit_layer: int) -> ExitHeadConfig:
        """Return the configuration of the head after layer ``exit_layer`` (0-based)."""
        return ExitHeadConfig(**(self.teacher_head if exit_layer == self.num_exits - 1 else self.exit_head))

    @property
    def labels(self) -> list[str]:
        """Class names, by class index."""
        names: dict[Any, str] = dict(self.id2label or {})
        return [names[index] for index in range(len(names))]


def _as_dict(head: ExitHeadConfig | dict[str, Any] | None) -> dict[str, Any]:
    if isinstance(head, dict):
        return asdict(ExitHeadConfig(**head))
    return asdict(head or ExitHeadConfig())

"""The checkpoint's configuration: a backbone, the heads at its exits, and how text becomes ids."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from fastbert.families import ACTIVATIONS
from fastbert.runtime.errors import CheckpointError, UsageError

__all__ = ["HEAD_KINDS", "LAYER_NORMS", "ExitHeadConfig", "FastBertConfig", "exit_head_named"]

HEAD_KINDS = ("attention", "mlp")
LAYER_NORMS = ("standard", "unbiased")


@dataclass(frozen=True)
class ExitHeadConfig:
    """One exit head's shape.

    ``kind="attention"`` is the paper's (FastBERT, arXiv 2004.02178, figure 2 and table 1): narrow to ``size``, masked
    self-attention, take the first token, dense, classes. The paper names neither head count nor activations.

    ``kind="mlp"``: first token, dense, activation, classes: the classifier of most Hugging Face models.

    :param size: width of the head.
    :param heads: attention heads (``attention`` only).
    :param narrow_activation: after the narrowing layer (``attention`` only); None: none.
    :param output_projection: whether the self-attention has one (``attention`` only).
    :param dense_activation: after the dense layer; None: none.
    :param dropout: before the class layer, while training.
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
                    f"{', '.join(ACTIVATIONS)}, or none."
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
        if self.kind not in HEAD_KINDS:
            raise CheckpointError(f"Exit head kind {self.kind!r} is unknown; known are {', '.join(HEAD_KINDS)}.")
        if self.size < 1:
            raise CheckpointError(f"An exit head cannot have the size {self.size}.")
        if self.kind == "attention" and (self.heads < 1 or self.size % self.heads):
            raise CheckpointError(
                f"An exit head of size {self.size} cannot be split into {self.heads} attention heads."
            )

    @classmethod
    def seed(cls, *, size: int = 128, heads: int = 8) -> "ExitHeadConfig":
        """Return the head of the PyTorch code BitVoyage/FastBERT: no output projection, no activation."""
        return cls(size=size, heads=heads, output_projection=False, dense_activation=None)

    @classmethod
    def authors(cls, *, size: int = 128) -> "ExitHeadConfig":
        """Return the head of the paper authors' code: two attention heads, tanh after both dense layers."""
        return cls(size=size, heads=2, narrow_activation="tanh")


def exit_head_named(name: str | None = None, size: int | None = None) -> ExitHeadConfig:
    """Return the head of a name, ``attention`` (the default), ``authors``, ``seed`` or ``mlp``, and of a size (128).

    :raises UsageError: unknown name, or a size that such a head cannot have.
    """
    presets: dict[str, Callable[..., ExitHeadConfig]] = {
        "attention": ExitHeadConfig,
        "authors": ExitHeadConfig.authors,
        "seed": ExitHeadConfig.seed,
        "mlp": partial(ExitHeadConfig, kind="mlp"),
    }
    make = presets.get(name or "attention")
    if make is None:
        raise UsageError(f"The exit head {name!r} is unknown; use {', '.join(presets)}.")
    try:
        return make() if size is None else make(size=size)
    except CheckpointError as error:
        raise UsageError(f"--exit-size {size} does not do: {error}") from error


class FastBertConfig(PretrainedConfig):
    """Configuration of a `FastBertForSequenceClassification`, stored as ``config.json``.

    :param backbone_config: the encoder's own Hugging Face configuration, or its dict.
    :param exit_head: the head at every exit but the last.
    :param teacher_head: the last exit's head; None: the same as ``exit_head``.
    :param max_sequence_length: longest sequence of a text, special tokens included; longer texts are cut.
    :param distilled: whether stage 2 has trained the exits before the last one.
    :param layer_norm: the backbone's: ``"standard"``, or ``"unbiased"`` (`fastbert.normalization`: models made by UER).
    :param default_token_type: token type of every token where a caller gives none; 1 in models made by UER.
    """

    model_type = "fastbert"
    sub_configs = {"backbone_config": AutoConfig}  # noqa: RUF012 (the name and form that transformers asks for)
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
        **kwargs: Any,
    ) -> None:
        backbone: Any = backbone_config
        if isinstance(backbone_config, dict):
            values = dict(backbone_config)
            backbone = AutoConfig.for_model(values.pop("model_type", ""), **values)
        elif backbone_config is None:
            backbone = AutoConfig.for_model("bert")
        backbone.dtype = None  # in which it was stored; the whole model has one type
        backbone.chunk_size_feed_forward = 0  # saves memory, changes no number, and takes no other lengths
        self.backbone_config = backbone
        self.exit_head = _as_dict(exit_head)
        self.teacher_head = _as_dict(teacher_head) if teacher_head is not None else self.exit_head
        if type(max_sequence_length) is not int or max_sequence_length < 1:
            raise CheckpointError(f"max_sequence_length is {max_sequence_length!r}; expected an integer above 0.")
        self.max_sequence_length = max_sequence_length
        if not isinstance(distilled, bool):
            raise CheckpointError(f"distilled is {distilled!r}; expected true or false.")
        self.distilled = distilled
        if layer_norm not in LAYER_NORMS:
            raise CheckpointError(f"The layer norm {layer_norm!r} is unknown; known are {', '.join(LAYER_NORMS)}.")
        self.layer_norm = layer_norm
        types = getattr(backbone, "type_vocab_size", None) or 1
        if type(default_token_type) is not int or not 0 <= default_token_type < types:
            raise CheckpointError(
                f"default_token_type is {default_token_type!r}; expected an integer from 0 to {types - 1}, a type that "
                "the backbone knows."
            )
        self.default_token_type = default_token_type
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
        return [self.id2label[index] for index in range(self.num_labels)]


def _as_dict(head: ExitHeadConfig | dict[str, Any] | None) -> dict[str, Any]:
    if isinstance(head, dict):
        return asdict(ExitHeadConfig(**head))
    return asdict(head or ExitHeadConfig())

"""The model: a Hugging Face encoder with an exit head after every layer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from fastbert.configuration import FastBertConfig
from fastbert.exit_heads import MASKED, make_exit
from fastbert.families import family_of
from fastbert.normalization import replace_layer_norms
from fastbert.uncertainty import uncertainty


@dataclass
class FastBertOutput(ModelOutput):
    """The result of a forward pass.

    :param logits: float [batch, classes] of the last exit that was computed.
    :param exit_logits: float [batch, exits, classes] of every exit that was computed, in layer order.
    """

    logits: torch.Tensor | None = None
    exit_logits: torch.Tensor | None = None


@dataclass(frozen=True)
class EarlyExitOutput:
    """The result of `FastBertForSequenceClassification.early_exit`, row by row in input order.

    :param logits: float32 [batch, classes] of the exit that answered.
    :param exit_layer: int64 [batch], 0-based; layers run = exit_layer + 1.
    :param uncertainty: float32 [batch] at that exit.
    """

    logits: torch.Tensor
    exit_layer: torch.Tensor
    uncertainty: torch.Tensor


class FastBertForSequenceClassification(PreTrainedModel):
    """A BERT-like encoder that can answer after any of its layers (FastBERT, arXiv 2004.02178)."""

    config_class = FastBertConfig
    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: FastBertConfig) -> None:
        super().__init__(config)
        family = family_of(config.backbone_config)
        arguments = {"add_pooling_layer": False} if family.pooler_argument else {}
        self.backbone = AutoModel.from_config(config.backbone_config, **arguments)
        if config.layer_norm == "unbiased":
            replace_layer_norms(self.backbone)
        hidden_size = config.backbone_config.hidden_size
        self.exits = nn.ModuleList(
            make_exit(hidden_size, len(config.labels), config.head_config(layer)) for layer in range(config.num_exits)
        )
        self._frozen: list[nn.Module] = []
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # For the exit heads; the backbone has initialised itself. BERT's std of 0.02 would leave almost no signal after
        # a head's five narrow layers, and fine-tuning on few rows would end at the majority class.
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)

    @property
    def teacher(self) -> nn.Module:
        """The last exit's head. The others are distilled from it."""
        return self.exits[len(self.exits) - 1]

    def freeze(self, *modules: nn.Module) -> None:
        """Stop training these modules and keep them in eval mode, so that a teacher has no dropout."""
        for module in modules:
            module.requires_grad_(False)
            module.eval()
        self._frozen = [*self._frozen, *modules]

    def unfreeze(self) -> None:
        """Make every parameter trainable again."""
        self._frozen = []
        self.requires_grad_(True)

    def train(self, mode: bool = True) -> "FastBertForSequenceClassification":
        """Set training mode, except in frozen modules."""
        super().train(mode)
        for module in getattr(self, "_frozen", []):
            module.eval()
        return self

    def extended_attention_mask(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return what is added to attention scores, float [batch, 1, 1, sequence], for a 0/1 mask [batch, sequence]."""
        return (1.0 - attention_mask[:, None, None, :].to(self.dtype)) * MASKED

    def embed(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor | None = None) -> torch.Tensor:
        """Look up the embeddings: int64 [batch, sequence] -> hidden states, float [batch, sequence, hidden]."""
        if token_type_ids is None:
            token_type_ids = torch.full_like(input_ids, self.config.default_token_type)
        hidden_states: torch.Tensor = self.backbone.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
        if hasattr(self.backbone, "embeddings_project"):  # ELECTRA, where embedding_size != hidden_size
            hidden_states = self.backbone.embeddings_project(hidden_states)
        return hidden_states

    def run_layer(self, layer: int, hidden_states: torch.Tensor, extended_attention_mask: torch.Tensor) -> torch.Tensor:
        """Run one transformer layer: hidden states [batch, sequence, hidden] -> the same shape."""
        output: torch.Tensor = self.backbone.encoder.layer[layer](hidden_states, extended_attention_mask)
        return output

    def run_layers(
        self, input_ids: torch.Tensor, extended_attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Run the backbone: each layer's output, float [batch, sequence, hidden]. Arguments as in `forward`."""
        # A frozen backbone (distillation) needs no autograd graph: only the heads are trained.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.backbone not in self._frozen):
            hidden_states = self.embed(input_ids, token_type_ids)
            layer_outputs = []
            for layer in range(len(self.exits)):
                hidden_states = self.run_layer(layer, hidden_states, extended_attention_mask)
                layer_outputs.append(hidden_states)
        return layer_outputs

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        exits: Iterable[int] | None = None,
        layer_outputs: Sequence[torch.Tensor] | None = None,
    ) -> FastBertOutput:
        """Run all layers and the heads asked for.

        :param input_ids: int64 [batch, sequence].
        :param attention_mask: int64 [batch, sequence], 1 for tokens, 0 for padding; None: no padding.
        :param token_type_ids: int64 [batch, sequence]; None: all are the config's ``default_token_type``.
        :param exits: 0-based layers whose heads to run; None: all.
        :param layer_outputs: what `run_layers` gave for this batch, which is then not run again.
        """
        wanted = set(range(len(self.exits)) if exits is None else exits)
        mask = self.extended_attention_mask(torch.ones_like(input_ids) if attention_mask is None else attention_mask)
        if layer_outputs is None:
            layer_outputs = self.run_layers(input_ids, mask, token_type_ids)
        exit_logits = torch.stack([self.exits[layer](layer_outputs[layer], mask) for layer in sorted(wanted)], dim=1)
        return FastBertOutput(logits=exit_logits[:, -1], exit_logits=exit_logits)

    @torch.no_grad()
    def early_exit(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        *,
        speed: float,
        measure: str | None = None,
    ) -> EarlyExitOutput:
        """Run layer by layer. A row exits at the first exit whose uncertainty is below ``speed``.

        The last layer always answers. Rows that have exited are removed from the batch. Shapes as in `forward`.

        :param speed: in [0, 1]; 0 never exits early.
        :param measure: of uncertainty (`fastbert.uncertainty.MEASURES`); None: the config's.
        """
        batch = input_ids.shape[0]
        mask = self.extended_attention_mask(torch.ones_like(input_ids) if attention_mask is None else attention_mask)
        logits = torch.zeros(batch, len(self.config.labels), device=input_ids.device)
        exit_layer = torch.zeros(batch, dtype=torch.long, device=input_ids.device)
        measured = torch.zeros(batch, device=input_ids.device)
        rows = torch.arange(batch, device=input_ids.device)
        hidden_states = self.embed(input_ids, token_type_ids)
        for layer, head in enumerate(self.exits):
            hidden_states = self.run_layer(layer, hidden_states, mask)
            layer_logits = head(hidden_states, mask).float()
            layer_uncertainty = uncertainty(layer_logits, measure or self.config.uncertainty)
            exits = layer_uncertainty < speed
            if layer == len(self.exits) - 1:
                exits = torch.ones_like(exits)
            done = rows[exits]
            logits[done], exit_layer[done], measured[done] = layer_logits[exits], layer, layer_uncertainty[exits]
            if bool(exits.all()):
                break
            rows, hidden_states, mask = rows[~exits], hidden_states[~exits], mask[~exits]
        return EarlyExitOutput(logits, exit_layer, measured)

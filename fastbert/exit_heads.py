"""The exit heads: every layer of the backbone has one."""

import torch
from torch import nn
from transformers.activations import ACT2FN

from fastbert.configuration import ExitHeadConfig

# Added to the attention scores of padding. exp(-10000) is exactly 0 in float32 and float16. The lowest value of a dtype
# could overflow to -inf instead, and a row that is all padding would become NaN.
MASKED = -10000.0


class AttentionExit(nn.Module):
    """The paper's head: narrow, masked self-attention, first token, dense, classes.

    Only the first token's output is used, so only its query is computed.
    """

    def __init__(self, hidden_size: int, num_labels: int, config: ExitHeadConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.narrow = nn.Linear(hidden_size, config.size)
        self.narrow_activation = _activation(config.narrow_activation)
        self.query = nn.Linear(config.size, config.size)
        self.key = nn.Linear(config.size, config.size)
        self.value = nn.Linear(config.size, config.size)
        self.attention_output = nn.Linear(config.size, config.size) if config.output_projection else nn.Identity()
        self.dense = nn.Linear(config.size, config.size)
        self.dense_activation = _activation(config.dense_activation)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.size, num_labels)

    def forward(self, hidden_states: torch.Tensor, extended_attention_mask: torch.Tensor) -> torch.Tensor:
        """Classify from a layer's output.

        :param hidden_states: float [batch, sequence, hidden].
        :param extended_attention_mask: float [batch, 1, 1, sequence]: 0 for tokens, `MASKED` for padding.
        :returns: logits, float [batch, classes].
        """
        narrowed = self.narrow_activation(self.narrow(hidden_states))  # [batch, sequence, size]
        query = self._split(self.query(narrowed[:, :1]))  # [batch, heads, 1, size / heads]
        key, value = self._split(self.key(narrowed)), self._split(self.value(narrowed))
        context = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=extended_attention_mask)
        context = self.attention_output(context.flatten(1))  # [batch, size]
        logits: torch.Tensor = self.classifier(self.dropout(self.dense_activation(self.dense(context))))
        return logits

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        # [batch, sequence, size] -> [batch, heads, sequence, size / heads]
        return torch.unflatten(states, -1, (self.heads, -1)).transpose(1, 2)


class MlpExit(nn.Module):
    """First token, dense, activation, classes."""

    def __init__(self, hidden_size: int, num_labels: int, config: ExitHeadConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, config.size)
        self.dense_activation = _activation(config.dense_activation)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.size, num_labels)

    def forward(self, hidden_states: torch.Tensor, extended_attention_mask: torch.Tensor) -> torch.Tensor:
        """Classify from a layer's output; shapes as in `AttentionExit.forward`. The mask is not used."""
        logits: torch.Tensor = self.classifier(self.dropout(self.dense_activation(self.dense(hidden_states[:, 0]))))
        return logits


_KINDS: dict[str, type[nn.Module]] = {"attention": AttentionExit, "mlp": MlpExit}


def make_exit(hidden_size: int, num_labels: int, config: ExitHeadConfig) -> nn.Module:
    """Build one exit head with fresh weights."""
    return _KINDS[config.kind](hidden_size, num_labels, config)


def _activation(name: str | None) -> nn.Module:
    return ACT2FN[name] if name else nn.Identity()

"""The layer normalizations that a backbone may have."""

import torch
from torch import nn


class UnbiasedLayerNorm(nn.LayerNorm):
    """``weight (x - mean) / (std + eps) + bias`` with the unbiased standard deviation (divided by n - 1), as in UER.

    It differs from the standard one for any epsilon: that one divides the variance by n and adds eps to it.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalize over the last axis: float [..., hidden] -> the same shape."""
        states = input.to(torch.promote_types(input.dtype, torch.float32))  # float16 is too coarse for a variance
        std, mean = torch.std_mean(states, dim=-1, keepdim=True, correction=1)
        normalized = (states - mean) / (std + self.eps)
        return (self.weight * normalized + self.bias).to(input.dtype)


def replace_layer_norms(module: nn.Module) -> None:
    """Replace every `torch.nn.LayerNorm` inside ``module`` by a fresh `UnbiasedLayerNorm`."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.LayerNorm:
                setattr(parent, name, UnbiasedLayerNorm(child.normalized_shape, eps=child.eps))

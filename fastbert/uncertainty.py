"""How uncertain an exit is, in PyTorch. The engines compute the same formula (`fastbert.export.graphs.exit_heads`)."""

import math

import torch

__all__ = ["uncertainty"]


def uncertainty(logits: torch.Tensor) -> torch.Tensor:
    """Normalized entropy of the class distribution: ``u = -sum_c p_c ln p_c / ln C`` (FastBERT, equation 7).

    In float32 from log-softmax, so that no probability underflows into ``0 * -inf``: a class of probability 0 adds 0.

    :param logits: float [..., classes]; one class gives 0.
    :returns: float32 [...], in [0, 1]; 0: certain.
    """
    classes = logits.shape[-1]
    if classes == 1:
        return torch.zeros(logits.shape[:-1], dtype=torch.float32, device=logits.device)
    log_p = torch.log_softmax(logits.float(), dim=-1)
    entropy = -(log_p.exp() * log_p.clamp_min(torch.finfo(torch.float32).min)).sum(-1)
    return (entropy / math.log(classes)).clamp(0.0, 1.0)

"""The uncertainty of an exit, in PyTorch. Engines compute the same formula (`fastbert.export.graphs.exit_heads`)."""

import math

import torch


def uncertainty(logits: torch.Tensor) -> torch.Tensor:
    """Normalized entropy of the class distribution: ``u = -sum_c p_c ln p_c / ln C`` (FastBERT, equation 7).

    Computed in float32 from log-softmax, so that a probability which underflows to 0 adds 0 and not ``0 * -inf``.

    :param logits: float [..., classes]; with one class the result is 0.
    :returns: float32 [...], from 0 (certain) to 1.
    """
    classes = logits.shape[-1]
    if classes == 1:
        return torch.zeros(logits.shape[:-1], dtype=torch.float32, device=logits.device)
    log_p = torch.log_softmax(logits.float(), dim=-1)
    entropy = -(log_p.exp() * log_p.clamp_min(torch.finfo(torch.float32).min)).sum(-1)
    return (entropy / math.log(classes)).clamp(0.0, 1.0)

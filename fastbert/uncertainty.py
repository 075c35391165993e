"""The uncertainty of an exit, in PyTorch. Engines compute the same formulas (`fastbert.export.graphs.exit_heads`).

Both measures are 0 where one class has all probability. They differ in when they are 1: entropy where all classes are
equally probable, margin as soon as the two most probable ones are. With two classes they rank samples alike. With many,
entropy also counts how the rest of the probability is spread, which says little about the answer.
"""

import math
from collections.abc import Callable

import torch

from fastbert.runtime.errors import UsageError

DEFAULT_MEASURE = "entropy"


def uncertainty(logits: torch.Tensor, measure: str = DEFAULT_MEASURE) -> torch.Tensor:
    """Measure how uncertain an answer is, in float32.

    :param logits: float [..., classes]; with one class the result is 0.
    :param measure: name in `MEASURES`.
    :returns: float32 [...], from 0 (certain) to 1.
    """
    if logits.shape[-1] == 1:
        return torch.zeros(logits.shape[:-1], dtype=torch.float32, device=logits.device)
    return MEASURES[measure](logits.float()).clamp(0.0, 1.0)


def check_measure(name: str) -> str:
    """Return the name of a measure.

    :raises UsageError: it is not in `MEASURES`.
    """
    if name not in tuple(MEASURES):  # a value of any type
        raise UsageError(f"`uncertainty` is {name!r}; use {' or '.join(MEASURES)}.")
    return name


def _entropy(logits: torch.Tensor) -> torch.Tensor:
    """Normalized entropy: ``u = -sum_c p_c ln p_c / ln C`` (FastBERT, equation 7).

    From log-softmax, so that a probability which underflows to 0 adds 0 and not ``0 * -inf``.
    """
    log_p = torch.log_softmax(logits, dim=-1)
    entropy = -(log_p.exp() * log_p.clamp_min(torch.finfo(torch.float32).min)).sum(-1)
    return entropy / math.log(logits.shape[-1])


def _margin(logits: torch.Tensor) -> torch.Tensor:
    """``u = 1 - (p1 - p2)``, with p1 and p2 the two largest probabilities."""
    first, second = torch.softmax(logits, dim=-1).topk(2, dim=-1).values.unbind(-1)
    return 1.0 - (first - second)


# name -> float32 logits [..., classes] of two or more classes -> uncertainty [...], before it is clipped to [0, 1]
MEASURES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"entropy": _entropy, "margin": _margin}

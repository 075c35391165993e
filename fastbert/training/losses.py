"""The losses of training and the divergence between exits."""

import torch
from torch.nn.functional import cross_entropy, log_softmax

from fastbert.runtime.errors import UsageError

# forward: KL(teacher || student), as in the authors' code. reverse: KL(student || teacher), equation 5 of the paper.
KL_DIRECTIONS = ("forward", "reverse")


def exit_divergence(exit_logits: torch.Tensor, direction: str) -> torch.Tensor:
    """Return the divergence of every exit from the last one, its teacher: ``KL(p || q) = sum_c p_c (ln p_c - ln q_c)``.

    :param exit_logits: float [batch, exits, classes], the teacher last; it gets no gradient.
    :param direction: one of `KL_DIRECTIONS`.
    :returns: float32 [batch, exits - 1], in nats.
    :raises UsageError: the direction is unknown.
    """
    if direction not in KL_DIRECTIONS:
        raise UsageError(f"`direction` is {direction!r}; use {' or '.join(KL_DIRECTIONS)}.")
    student = log_softmax(exit_logits[:, :-1].float(), dim=-1)
    teacher = log_softmax(exit_logits[:, -1:].float(), dim=-1).detach()
    p, q = (teacher, student) if direction == "forward" else (student, teacher)
    return (p.exp() * (p - q)).sum(-1)


def distillation_loss(
    exit_logits: torch.Tensor, labels: torch.Tensor, *, direction: str, label_share: float
) -> torch.Tensor:
    """Return the sum over the student exits of their loss, averaged over the batch: a scalar.

    :param exit_logits: as in `exit_divergence`.
    :param labels: int64 [batch]; -100: no label.
    :param label_share: weight of the cross-entropy on labelled rows, in [0, 1]; the divergence has the rest.
    """
    loss = (1.0 - label_share) * exit_divergence(exit_logits, direction).mean(0).sum()
    labelled = labels != -100
    if label_share > 0.0 and bool(labelled.any()):
        students = exit_logits[labelled, :-1].float()
        losses = [cross_entropy(students[:, exit_layer], labels[labelled]) for exit_layer in range(students.shape[1])]
        loss = loss + label_share * torch.stack(losses).sum()
    return loss

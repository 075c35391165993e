import math

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from fastbert.runtime.errors import UsageError
from fastbert.training.losses import distillation_loss, exit_divergence


@pytest.fixture
def exit_logits():
    return torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)


def test_forward_and_reverse_are_torchs_kl(exit_logits):
    student, teacher = log_softmax(exit_logits[:, :-1], -1), log_softmax(exit_logits[:, -1:], -1).expand(-1, 3, -1)
    forward = kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
    reverse = kl_div(teacher, student, reduction="none", log_target=True).sum(-1)
    assert torch.allclose(exit_divergence(exit_logits, "forward"), forward, atol=1e-6)
    assert torch.allclose(exit_divergence(exit_logits, "reverse"), reverse, atol=1e-6)


def test_the_teacher_gets_no_gradient(exit_logits):
    distillation_loss(exit_logits, torch.full((5,), -100), direction="forward", label_share=0.0).backward()
    assert exit_logits.grad[:, -1].abs().max() == 0
    assert exit_logits.grad[:, :-1].abs().min() > 0


def test_the_label_share_uses_labelled_rows_only(exit_logits):
    labels = torch.tensor([0, -100, 2, 1, -100])
    kl = exit_divergence(exit_logits, "forward").mean(0).sum()
    rows = labels != -100
    ce = sum(cross_entropy(exit_logits[rows, exit_layer], labels[rows]) for exit_layer in range(3))
    found = distillation_loss(exit_logits, labels, direction="forward", label_share=0.25)
    assert found.item() == pytest.approx((0.75 * kl + 0.25 * ce).item(), rel=1e-5)


def test_a_certain_teacher_gives_a_finite_loss():
    logits = torch.tensor([[[0.0, 0.0], [1e4, -1e4]]])
    assert math.isfinite(distillation_loss(logits, torch.tensor([0]), direction="forward", label_share=0.5).item())


def test_an_unknown_direction_is_refused(exit_logits):
    with pytest.raises(UsageError, match="'sideways'; use forward or reverse"):
        exit_divergence(exit_logits, "sideways")

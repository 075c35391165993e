import numpy as np
import pytest
import torch
from support.factories import make_checkpoint
from torch.utils.flop_counter import FlopCounterMode

from fastbert.configuration import ExitHeadConfig
from fastbert.flops import flops_by_exit, full_model_flops, model_flops

HEADS = [ExitHeadConfig(size=16), ExitHeadConfig.bitvoyage(size=16), ExitHeadConfig(kind="mlp", size=16)]


@pytest.mark.parametrize("head", HEADS, ids=["paper", "bitvoyage", "mlp"])
@pytest.mark.parametrize("length", [1, 7, 20])
def test_agrees_with_the_counter_of_pytorch(head, length):
    model = make_checkpoint(head=head).model
    model.backbone.set_attn_implementation("eager")  # the counter sees every product
    ids = torch.full((1, length), 5)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(ids)
    found = flops_by_exit(model_flops(model.config), (0, 1, 2), np.array([length]))
    # the counter misses the fused attention kernel of the CPU: two products of S x size per head
    fused = 0 if head.kind == "mlp" else 3 * 4 * length * head.size
    assert counter.get_total_flops() in (found[0, 2], found[0, 2] - fused)


def test_agrees_with_the_table_of_the_paper():
    """FastBERT, table 1: 1809.9 MFLOPs per layer at S = 128 without the attention products, which are 50.3 more."""
    from fastbert.configuration import FastBertConfig

    flops = model_flops(FastBertConfig())["layer"]
    assert flops[1] * 128 == pytest.approx(1811.9e6, rel=1e-3)
    assert flops[2] * 128**2 == pytest.approx(50.3e6, rel=1e-2)


def test_an_early_exit_costs_less_and_the_whole_model_has_one_head():
    config = make_checkpoint().model.config
    lengths = np.array([3, 30])
    costs = flops_by_exit(model_flops(config), (0, 1, 2), lengths)
    full = full_model_flops(model_flops(config), 3, lengths)
    assert (np.diff(costs, axis=1) > 0).all()
    assert (costs[:, 2] > full).all()
    assert (costs[:, 1] < full).all()

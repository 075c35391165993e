import math

import pytest
import torch

from fastbert.configuration import ExitHeadConfig, exit_head_named
from fastbert.exit_heads import make_exit
from fastbert.runtime.errors import CheckpointError, UsageError


@pytest.mark.parametrize(
    "head", [ExitHeadConfig(size=12, heads=3), ExitHeadConfig.uer(size=12), ExitHeadConfig.bitvoyage(size=16)]
)
def test_only_the_first_query_gives_the_same_as_full_self_attention(head):
    torch.manual_seed(0)
    module = make_exit(20, 4, head).eval()
    hidden = torch.randn(3, 7, 20)
    mask = torch.zeros(3, 1, 1, 7)
    mask[1, ..., 4:] = -10000.0
    x = module.narrow_activation(module.narrow(hidden))
    q, k, v = (
        layer(x).unflatten(-1, (head.heads, -1)).transpose(1, 2) for layer in (module.query, module.key, module.value)
    )
    attention = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + mask, -1)
    context = module.attention_output((attention @ v).transpose(1, 2).flatten(2))
    expected = module.classifier(module.dense_activation(module.dense(context)))[:, 0]
    assert torch.allclose(module(hidden, mask), expected, atol=1e-6)


def test_a_size_that_heads_do_not_divide_is_refused():
    with pytest.raises(CheckpointError, match="size is 10, which cannot be split into 3"):
        ExitHeadConfig(size=10, heads=3)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(CheckpointError, match="kind is 'lstm'; use attention or mlp"):
        ExitHeadConfig(kind="lstm")


def test_names_of_heads():
    assert exit_head_named() == exit_head_named("attention") == ExitHeadConfig()
    assert exit_head_named("bitvoyage") == ExitHeadConfig.bitvoyage()
    assert exit_head_named("uer", 64) == ExitHeadConfig.uer(size=64)
    assert exit_head_named("mlp", 7) == ExitHeadConfig(kind="mlp", size=7)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("lstm", None, "`exit_head` is 'lstm'; use attention, bitvoyage, uer, mlp"),
        ("seed", None, "'seed' has a new name: use 'bitvoyage'"),
        ("authors", 64, "'authors' has a new name: use 'uer'"),
        ("bitvoyage", 12, "`exit_size` is 12; it must be greater than 0 and a multiple of 8"),
        (None, 0, "`exit_size` is 0; it must be greater than 0 and a multiple of 2"),
        ("mlp", -1, "`exit_size` is -1; it must be greater than 0."),
    ],
)
def test_an_unknown_name_or_an_impossible_size_is_refused(name, size, message):
    with pytest.raises(UsageError, match=message):
        exit_head_named(name, size)

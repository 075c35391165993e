import math

import pytest
import torch

from fastbert.configuration import ExitHeadConfig
from fastbert.exit_heads import make_exit
from fastbert.runtime.errors import CheckpointError


@pytest.mark.parametrize(
    "head", [ExitHeadConfig(size=12, heads=3), ExitHeadConfig.authors(size=12), ExitHeadConfig.seed(size=16)]
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
    with pytest.raises(CheckpointError, match="size 10 cannot be split into 3"):
        ExitHeadConfig(size=10, heads=3)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(CheckpointError, match="attention, mlp"):
        ExitHeadConfig(kind="lstm")

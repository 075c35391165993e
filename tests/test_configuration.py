import pytest
from transformers import AutoConfig

from fastbert.configuration import ExitHeadConfig, FastBertConfig, exit_head_named
from fastbert.runtime.errors import UsageError


def _config(hidden: int, **heads) -> FastBertConfig:
    return FastBertConfig(AutoConfig.for_model("bert", hidden_size=hidden), **heads)


@pytest.mark.parametrize(("hidden", "size"), [(768, 128), (384, 64), (1024, 160), (312, 64), (32, 32)])
@pytest.mark.parametrize("name", ["attention", "authors", "seed", "mlp"])
def test_a_head_is_a_sixth_of_its_backbone_unless_it_says_otherwise(hidden, size, name):
    config = _config(hidden, exit_head=exit_head_named(name), teacher_head=exit_head_named(name, 48))
    assert config.head_config(0).size == size
    assert config.head_config(11).size == 48
    assert _config(hidden).head_config(0).size == size


def test_a_stored_size_stays():
    stored = _config(384, exit_head=ExitHeadConfig(size=128)).to_dict()
    assert FastBertConfig.from_dict(stored).head_config(0).size == 128


def test_a_size_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(UsageError, match="--exit-size 65"):
        exit_head_named("attention", 65)

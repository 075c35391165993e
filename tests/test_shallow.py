import pytest
from support.factories import make_backbone_config, make_checkpoint

from fastbert.runtime.errors import UsageError
from fastbert.shallow import keep_layers


@pytest.mark.parametrize(("layers", "kept"), [(None, 3), (1, 1), (3, 3)])
def test_an_encoder_is_cut(layers, kept):
    config = make_backbone_config(layers=3)
    keep_layers(config, layers, "here")
    assert config.num_hidden_layers == kept


def test_more_layers_than_there_are_are_refused():
    with pytest.raises(UsageError, match="`layers` is 4; here has only 3"):
        keep_layers(make_backbone_config(layers=3), 4, "here")


def test_a_fastbert_checkpoint_is_not_cut():
    config = make_checkpoint(layers=3).model.config
    keep_layers(config, 3, "here")
    with pytest.raises(UsageError, match="`layers` is 2, but here is a FastBERT checkpoint with 3"):
        keep_layers(config, 2, "here")

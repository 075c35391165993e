import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.factories import make_checkpoint

from fastbert.families import FAMILIES
from fastbert.reference import compute_reference
from fastbert.uncertainty import MEASURES, uncertainty


def _batch(seed=0, rows=5, length=12, low=4):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(low, 24, (rows, length), generator=generator)
    lengths = torch.randint(2, length + 1, (rows,), generator=generator)
    mask = (torch.arange(length) < lengths[:, None]).long()
    return ids, mask


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_give_the_hidden_states_of_the_backbone(family):
    model = make_checkpoint(family).model
    pad = model.config.backbone_config.pad_token_id
    ids, mask = _batch()
    ids = torch.where(mask == 1, ids, pad)
    expected = model.backbone(ids, attention_mask=mask, output_hidden_states=True).hidden_states[1:]
    extended = model.extended_attention_mask(mask)
    hidden = model.embed(ids)
    for layer, states in enumerate(expected):
        hidden = model.run_layer(layer, hidden, extended)
        assert torch.allclose(hidden[mask == 1], states[mask == 1], atol=1e-5)


@pytest.mark.parametrize("measure", [None, "margin"])
@pytest.mark.parametrize("speed", [0.0, 0.2, 0.4, 0.6, 1.0])
def test_early_exit_gives_the_first_certain_exit(checkpoint, speed, measure):
    model = checkpoint.model
    ids, mask = _batch(rows=16)
    with torch.no_grad():
        every = model(ids, mask).exit_logits
    found = model.early_exit(ids, mask, speed=speed, measure=measure)
    measured = uncertainty(every, measure or "entropy")
    certain = measured < speed
    certain[:, -1] = True
    expected = certain.long().argmax(1)
    assert found.exit_layer.tolist() == expected.tolist()
    assert torch.allclose(found.logits, every[torch.arange(16), expected], atol=1e-5)
    assert torch.allclose(found.uncertainty, measured[torch.arange(16), expected], atol=1e-5)


def test_the_measure_is_the_configurations_unless_another_is_named():
    checkpoint = make_checkpoint()
    model, rows = checkpoint.model, checkpoint.sample_rows
    ids, mask = _batch(rows=16)
    entropy, margin = (model.early_exit(ids, mask, speed=0.0, measure=name).uncertainty for name in MEASURES)
    reference = compute_reference(checkpoint, rows, "margin").uncertainty
    assert not torch.allclose(entropy, margin)
    assert torch.equal(model.early_exit(ids, mask, speed=0.0).uncertainty, entropy)
    model.config.uncertainty = "margin"
    assert torch.equal(model.early_exit(ids, mask, speed=0.0).uncertainty, margin)
    assert compute_reference(checkpoint, rows).uncertainty.tolist() == reference.tolist()


def test_the_fixture_uses_every_exit(checkpoint):
    ids, mask = _batch(rows=64, seed=3)
    assert set(checkpoint.model.early_exit(ids, mask, speed=0.4).exit_layer.tolist()) == {0, 1, 2}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), padding=st.integers(1, 20))
def test_padding_changes_nothing(checkpoint, seed, padding):
    model = checkpoint.model
    ids, mask = _batch(seed)
    with torch.no_grad():
        plain = model(ids, mask).exit_logits
        padded = model(
            torch.nn.functional.pad(ids, (0, padding), value=7), torch.nn.functional.pad(mask, (0, padding))
        ).exit_logits
    assert torch.allclose(plain, padded, atol=1e-5)


def test_a_frozen_module_stays_in_eval_mode_and_gets_no_gradient():
    model = make_checkpoint().model
    model.freeze(model.backbone, model.teacher)
    model.train()
    assert not any(module.training for module in model.backbone.modules())
    assert not model.teacher.training
    assert model.exits[0].training
    ids, mask = _batch()
    model(ids, mask).exit_logits.sum().backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(parameter.grad is not None for parameter in model.exits[0].parameters())


def test_save_and_load_keeps_every_weight(checkpoint, tmp_path):
    checkpoint.model.save_pretrained(tmp_path)
    again = type(checkpoint.model).from_pretrained(tmp_path).eval()
    ids, mask = _batch()
    with torch.no_grad():
        assert torch.equal(again(ids, mask).exit_logits, checkpoint.model(ids, mask).exit_logits)

import json

import numpy as np
import pytest
import torch
from support.originals import (
    TEXTS,
    Shape,
    bitvoyage_configs,
    bitvoyage_logits,
    bitvoyage_state,
    ids_of,
    make_vocabulary,
)

from fastbert.checkpoint import load_checkpoint
from fastbert.export import ExportOptions, export_bundle
from fastbert.importing import import_checkpoint
from fastbert.runtime import Classifier
from fastbert.runtime.errors import CheckpointError, UsageError

SHAPES = {
    "plain": Shape(),
    "ernie": Shape(layers=4, classes=5, activation="relu", positions=33),
    "two layers": Shape(layers=2, hidden=16, heads=1, head=8, head_heads=8, classes=2),
    "one layer": Shape(layers=1, classes=7, types=1),
}


def make(folder, shape=None, *, seed=0, first=0, blank=0, rows=0, **changes):
    """Write a checkpoint with its configs as in the original's repository: (file, op config, state, vocabulary)."""
    shape = shape or Shape()
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "saved").mkdir(exist_ok=True)
    vocabulary = make_vocabulary(folder / "models" / "vocab.txt", first=first, blank=blank)
    rows = rows or max(vocabulary.values()) + 1
    state = bitvoyage_state(shape, rows, seed=seed)
    torch.save(state, folder / "saved" / "Epoch_1.bin")
    return folder / "saved" / "Epoch_1.bin", bitvoyage_configs(folder, shape, rows, **changes), state, vocabulary


@pytest.mark.parametrize("name", SHAPES)
def test_answers_match_the_original_in_a_padded_batch_too(name, tmp_path):
    shape = SHAPES[name]
    first = 4 if name == "ernie" else 0  # special tokens elsewhere in the vocabulary
    path, config, state, vocabulary = make(tmp_path, shape, first=first, blank=first, rows=80 if first else 0)
    report = import_checkpoint(path, config=config, output=tmp_path / "model")
    assert report.format == "bitvoyage" and report.layers == shape.layers and not report.undistilled_exits
    expected_ids = [
        ids_of(text, vocabulary, keeps_special=False, length=32, first=vocabulary["[CLS]"]) for text in TEXTS
    ]
    expected = torch.stack([bitvoyage_logits(state, shape, ids) for ids in expected_ids]).numpy()
    data = tmp_path / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")

    model = load_checkpoint(tmp_path / "model").model
    width = max(map(len, expected_ids))
    ids = torch.tensor([row + [vocabulary["[PAD]"]] * (width - len(row)) for row in expected_ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in expected_ids])
    with torch.no_grad():
        assert np.abs(model(ids, mask).exit_logits.numpy() - expected).max() < 1e-4

    export_bundle(tmp_path / "model", tmp_path / "bundle", ExportOptions(verify_data=data))
    classifier = Classifier.load(tmp_path / "bundle")
    encoded = classifier.encode(TEXTS)
    assert encoded.input_ids.tolist() == ids.tolist() and encoded.attention_mask.tolist() == mask.tolist()
    logits, _ = classifier.run_all_exits(ids.numpy(), mask.numpy())
    assert np.abs(logits - expected).max() < 1e-4
    full = classifier.predict(TEXTS, speed=0.0)
    assert [int(one.label) for one in full] == expected[:, -1].argmax(-1).tolist()


def test_the_last_epoch_of_a_directory_is_used(tmp_path):
    path, config, state, _ = make(tmp_path)
    other = {name: value + 1 for name, value in state.items()}
    torch.save(other, path.with_name("Epoch_10.bin"))
    import_checkpoint(path.parent, config=config, output=tmp_path / "model")
    words = load_checkpoint(tmp_path / "model").model.backbone.embeddings.word_embeddings.weight
    assert torch.equal(words, other["embeddings.word_embeddings.weight"])


def test_the_prefix_of_data_parallel_is_dropped(tmp_path):
    path, config, state, _ = make(tmp_path)
    torch.save({f"module.{name}": value.half() for name, value in state.items()}, path)
    assert import_checkpoint(path, config=config, output=tmp_path / "model").layers == 3


def test_assumptions_are_reported(tmp_path):
    path, config, _, _ = make(tmp_path, rows=70)
    report = import_checkpoint(path, config=config, output=tmp_path / "model", labels=["bad", "so-so", "good"])
    assert report.labels == ("bad", "so-so", "good")
    summary = report.summary
    for expected in ("epsilon 1e-12", "layer_norm_eps 1e-05", "without [SEP]", "word embeddings have no token"):
        assert expected in summary
    assert load_checkpoint(tmp_path / "model").model.config.backbone_config.layer_norm_eps == 1e-12
    assert load_checkpoint(tmp_path / "model").training["imported"]["checkpoint"] == "Epoch_1.bin"


def test_a_missing_key_of_the_bert_config_has_the_default_of_the_original(tmp_path):
    shape = Shape(inner=3072, types=16)
    path, config, _, _ = make(tmp_path, shape, intermediate_size=None, type_vocab_size=None, hidden_act=None)
    report = import_checkpoint(path, config=config, output=tmp_path / "model")
    assert "intermediate_size 3072" in report.summary and "type_vocab_size 16" in report.summary
    path, config, _, _ = make(tmp_path / "other", intermediate_size=None)
    with pytest.raises(CheckpointError, match=r"graph\.layers\.0\.intermediate\.dense\.weight has \[40, 24\].*3072"):
        import_checkpoint(path, config=config, output=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("layers", [2, 4])
def test_exits_that_were_never_distilled_are_named(layers, tmp_path, caplog):
    shape = Shape(layers=layers)
    path, config, state, _ = make(tmp_path, shape)
    torch.manual_seed(0)
    for part, sizes in (
        ("dense_narrow", (24, 16)),
        ("selfAttention.query", (16, 16)),
        ("selfAttention.key", (16, 16)),
        ("selfAttention.value", (16, 16)),
        ("dense_prelogits", (16, 16)),
        ("dense_logits", (16, 3)),
    ):
        fresh = torch.nn.Linear(*sizes)
        for branch in range(layers - 1):
            for name, value in fresh.state_dict().items():
                state[f"graph.layer_classifiers.branch_classifier_{branch}.{part}.{name}"] = value.clone()
    torch.save(state, path)
    report = import_checkpoint(path, config=config, output=tmp_path / "model")
    assert report.undistilled_exits == tuple(range(layers - 1))
    named = ", ".join(map(str, report.undistilled_exits))
    assert f"exits after layers {named} of" in caplog.text and "never distilled" in caplog.text
    assert not load_checkpoint(tmp_path / "model").model.config.distilled


def test_two_different_last_exits_give_a_warning(tmp_path):
    path, config, state, _ = make(tmp_path)
    state["graph.layer_classifier.dense_logits.bias"] = state["graph.layer_classifier.dense_logits.bias"] + 1
    torch.save(state, path)
    (warning,) = import_checkpoint(path, config=config, output=tmp_path / "model").warnings
    assert "two different last exits" in warning


def test_a_bert_config_under_another_name_is_used_with_a_warning(tmp_path):
    path, config, _, _ = make(tmp_path)
    (tmp_path / "models" / "bert_config.json").rename(config.with_name("bert_tiny.json"))
    report = import_checkpoint(path, config=config, output=tmp_path / "model")
    assert "bert_tiny.json, the only one beside it, is used" in report.warnings[0]
    config.with_name("bert_small.json").write_text(config.with_name("bert_tiny.json").read_text())
    with pytest.raises(CheckpointError, match="as `bert_config`"):
        import_checkpoint(path, config=config, output=tmp_path / "other")
    named = config.with_name("bert_small.json")
    assert not import_checkpoint(path, config=config, bert_config=named, output=tmp_path / "other").warnings


def _drop(state, count):
    for name in list(state)[-count:]:
        del state[name]


BROKEN = {
    "missing tensors": (lambda state: _drop(state, 14), {}, r"lacks 14 of the \d+ tensors.*and 4 more"),
    "too many layers": (lambda state: None, {"num_hidden_layers": 2}, r"graph\.layers\.2.*num_hidden_layers 2"),
    "too few layers": (lambda state: None, {"num_hidden_layers": 4}, r"graph\.layers\.3\.attention\.self\.query"),
    "hidden size": (lambda state: None, {"hidden_size": 12}, r"embeddings\.word_embeddings\.weight has \[\d+, 24\]"),
    "classes": (lambda state: None, {"num_class": 2}, r"branch_classifier_0\.dense_logits\.weight has 3 classes"),
    "head size": (lambda state: None, {"cls_hidden_size": 32}, r"dense_narrow\.weight has \[16, 24\]"),
    "head heads": (lambda state: None, {"cls_num_attention_heads": 3}, "size is 16, which cannot be split into 3"),
    "attention heads": (lambda state: None, {"num_attention_heads": 5}, "24 cannot be split into 5"),
    "activation": (lambda state: None, {"hidden_act": "swish"}, "'swish'"),
    "no class count": (lambda state: None, {"num_class": None}, "has no 'num_class'"),
    "no number": (lambda state: None, {"max_seq_len": "128"}, "max_seq_len is '128'"),
    "no vocabulary": (lambda state: None, {"vocab_file": "nowhere.txt"}, "nowhere.txt.*as `vocab`"),
    "no bert config": (lambda state: None, {"bert_config_path": "nowhere.json"}, "nowhere.json.*as `bert_config`"),
    "integers": (
        lambda state: state.update({"graph.layers.0.output.dense.bias": torch.ones(24, dtype=torch.int64)}),
        {},
        r"graph\.layers\.0\.output\.dense\.bias holds torch\.int64",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_mismatch_is_refused_by_name(name, tmp_path):
    breaking, changes, message = BROKEN[name]
    path, config, state, _ = make(tmp_path, **changes)
    breaking(state)
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(path, config=config, output=tmp_path / "model")
    assert not (tmp_path / "model").exists() and not list(tmp_path.glob(".model*"))


def test_missing_and_wrong_arguments_are_named(tmp_path):
    path, config, _, vocabulary = make(tmp_path)
    with pytest.raises(CheckpointError, match="as `config`"):
        import_checkpoint(path, output=tmp_path / "model")
    with pytest.raises(CheckpointError, match="3 classes, but `labels` has 2: a, b"):
        import_checkpoint(path, config=config, output=tmp_path / "model", labels=["a", "b"])
    with pytest.raises(UsageError, match="`labels` repeats a name: a, b, a"):
        import_checkpoint(path, config=config, output=tmp_path / "model", labels=["a", "b", "a"])
    with pytest.raises(UsageError, match="`max_length` is 49; this model takes 2 to 48 tokens"):
        import_checkpoint(path, config=config, output=tmp_path / "model", max_length=49)
    longer = tmp_path / "longer.txt"
    longer.write_text("\n".join([*vocabulary, "one", "more"]), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"longer\.txt has \d+ tokens, but embeddings\.word_embeddings\.weight"):
        import_checkpoint(path, config=config, output=tmp_path / "model", vocab=longer)
    with pytest.raises(CheckpointError, match=r"nowhere\.txt does not exist"):
        import_checkpoint(path, config=config, output=tmp_path / "model", vocab=tmp_path / "nowhere.txt")
    with pytest.raises(CheckpointError, match=r"config .* does not exist"):
        import_checkpoint(path, config=tmp_path / "nowhere.json", output=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_maximum_length_is_limited_to_the_positions(tmp_path):
    path, config, _, _ = make(tmp_path, max_seq_len=512)
    assert import_checkpoint(path, config=config, output=tmp_path / "model").max_length == 48

import json

import numpy as np
import pytest
import torch
from support.originals import TEXTS, Shape, ids_of, make_vocabulary, uer_config, uer_logits, uer_state

from fastbert.checkpoint import load_checkpoint
from fastbert.export import ExportOptions, export_bundle
from fastbert.importing import import_checkpoint
from fastbert.runtime import Classifier
from fastbert.runtime.errors import CheckpointError

SHAPE = Shape(head=128, head_heads=2, types=3)
SHAPES = {
    "package": (SHAPE, "kernel."),
    "script": (Shape(layers=2, hidden=32, heads=2, head=128, types=3, classes=6), ""),
    "one layer": (Shape(layers=1, head=32, types=3, classes=2), "kernel."),
}


def make(folder, shape=SHAPE, prefix="kernel.", *, seed=0, **changes):
    """Write a checkpoint with its config: (file, config, state, vocabulary)."""
    folder.mkdir(exist_ok=True)
    vocabulary = make_vocabulary(folder / "vocab.txt", blank=90)  # a word at 101, where the script has [CLS]
    state = uer_state(shape, max(vocabulary.values()) + 1, prefix=prefix, seed=seed)
    torch.save(state, folder / "fastbert.bin")
    return folder / "fastbert.bin", uer_config(folder, shape, **changes), state, vocabulary


@pytest.mark.parametrize("name", SHAPES)
def test_answers_match_the_original_in_a_padded_batch_too(name, tmp_path):
    shape, prefix = SHAPES[name]
    path, config, state, vocabulary = make(tmp_path, shape, prefix)
    report = import_checkpoint(path, config=config, output=tmp_path / "model", max_length=40)
    assert report.format == "uer" and report.layers == shape.layers and not report.undistilled_exits
    first = vocabulary["[CLS]"] if prefix else 101
    expected_ids = [ids_of(text, vocabulary, keeps_special=True, length=40, first=first) for text in TEXTS]
    expected = torch.stack([uer_logits(state, shape, ids, [1] * len(ids)) for ids in expected_ids]).numpy()
    data = tmp_path / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")

    model = load_checkpoint(tmp_path / "model").model
    width = max(map(len, expected_ids))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in expected_ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in expected_ids])
    with torch.no_grad():
        assert np.abs(model(ids, mask).exit_logits.numpy() - expected).max() < 1e-4

    export_bundle(tmp_path / "model", tmp_path / "bundle", ExportOptions(verify_data=data))
    classifier = Classifier.load(tmp_path / "bundle")
    assert classifier.manifest.raw["default_token_type"] == 1
    encoded = classifier.encode(TEXTS)
    assert encoded.input_ids.tolist() == ids.tolist() and encoded.token_type_ids.tolist() == mask.tolist()
    for types in (None, mask.numpy()):
        logits, _ = classifier.run_all_exits(ids.numpy(), mask.numpy(), types)
        assert np.abs(logits - expected).max() < 1e-4


def test_pairs_match_the_original(tmp_path):
    path, config, state, vocabulary = make(tmp_path)
    import_checkpoint(path, config=config, output=tmp_path / "model", max_length=40)
    checkpoint = load_checkpoint(tmp_path / "model")
    separator = vocabulary["[SEP]"]

    def ids(text):
        return ids_of(text, vocabulary, keeps_special=True, length=40, first=vocabulary["[CLS]"])

    pair = [*ids("good a"), separator, *ids("很好!")[1:], separator]
    types = [1] * (len(ids("good a")) + 1) + [2] * (len(ids("很好!")))
    encoded = checkpoint.tokenizer.backend_tokenizer.encode("good a", "很好!")
    assert (encoded.ids, encoded.type_ids) == (pair, types)
    with torch.no_grad():
        found = checkpoint.model(torch.tensor([pair]), None, torch.tensor([types])).exit_logits[0]
    assert torch.allclose(found.double(), uer_logits(state, SHAPE, pair, types), atol=1e-4)


def test_the_report_names_layout_and_leftovers(tmp_path):
    path, config, _, _ = make(tmp_path)
    summary = import_checkpoint(path, config=config, output=tmp_path / "model").summary
    assert "kernel.*" in summary and "2 tensors kernel.target.*: left over" in summary and "unbiased std" in summary
    path, config, _, _ = make(tmp_path / "script", SHAPE, "")
    summary = import_checkpoint(path, config=config, output=tmp_path / "other").summary
    assert "run_fastbert.py" in summary and "ids 101 and 102" in summary


def test_exits_that_were_never_distilled_are_named(tmp_path, caplog):
    path, config, state, _ = make(tmp_path)
    torch.manual_seed(0)
    for name in [name for name in state if name.startswith("classifiers.1.") and name.endswith(".weight")]:
        fresh = torch.nn.Linear(state[name].shape[1], state[name].shape[0])
        state[name], state[name.replace(".weight", ".bias")] = fresh.weight.data, fresh.bias.data
    torch.save(state, path)
    assert import_checkpoint(path, config=config, output=tmp_path / "model").undistilled_exits == (1,)
    assert "exits after layers 1 of" in caplog.text
    assert not load_checkpoint(tmp_path / "model").model.config.distilled


def _drop(state, word):
    for name in [name for name in state if word in name]:
        del state[name]


BROKEN = {
    "missing tensors": (lambda state: _drop(state, "linear_layers.1"), {}, r"lacks 12 of the \d+ tensors.*and 2 more"),
    "too many layers": (lambda state: None, {"layers_num": 2}, r"kernel\.encoder\.transformer\.2.*layers_num 2"),
    "too few layers": (lambda state: None, {"layers_num": 4}, r"kernel\.encoder\.transformer\.3\.self_attn"),
    "inner size": (lambda state: None, {"feedforward_size": 48}, r"feed_forward\.linear_1\.weight has \[40, 24\]"),
    "hidden size": (lambda state: None, {"hidden_size": 48, "emb_size": 48}, r"word_embedding\.weight has"),
    "embedding size": (lambda state: None, {"emb_size": 12}, "emb_size"),
    "heads": (lambda state: None, {"heads_num": 5}, "24 cannot be split into 5"),
    "no heads": (lambda state: None, {"heads_num": None}, "has no 'heads_num'"),
    "pooling": (lambda state: None, {"pooling": "max"}, "pooling is 'max'"),
    "encoder": (lambda state: None, {"encoder": "gpt"}, "encoder is 'gpt'"),
    "no vocabulary": (lambda state: None, {"vocab_path": "nowhere.txt"}, "nowhere.txt.*as `vocab`"),
    "no vocabulary named": (lambda state: None, {"vocab_path": None}, "names no vocabulary.*as `vocab`"),
    "classes": (
        lambda state: state.update({"classifiers.1.output_layer_2.weight": torch.ones(4, 128)}),
        {},
        r"classifiers\.1\.output_layer_2\.weight has 4 classes",
    ),
    "vocabulary": (
        lambda state: state.update({"kernel.embedding.word_embedding.weight": torch.ones(300, 24)}),
        {},
        r"vocab\.txt has \d+ tokens, but kernel\.embedding\.word_embedding\.weight .* 300 rows",
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


def test_a_missing_config_and_wrong_labels_are_named(tmp_path):
    path, config, _, _ = make(tmp_path)
    with pytest.raises(CheckpointError, match=r"attention heads.*as `config`"):
        import_checkpoint(path, output=tmp_path / "model")
    with pytest.raises(CheckpointError, match="3 classes, but `labels` has 2"):
        import_checkpoint(path, config=config, output=tmp_path / "model", labels=["neg", "pos"])

import json
import math
import shutil

import pytest
import torch
from support.factories import LABELS, make_backbone_config, make_classifier, make_rows, make_tokenizer, write_tsv

from fastbert.checkpoint import describe_checkpoint, load_checkpoint, start_from
from fastbert.configuration import ExitHeadConfig, exit_head_named
from fastbert.export.graphs.activations import ACTIVATIONS as EXPORTED
from fastbert.families import ACTIVATIONS, FAMILIES
from fastbert.importing import import_checkpoint
from fastbert.runtime.errors import CheckpointError, UsageError
from fastbert.training import PhaseOptions, TrainOptions, train


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def relabelled(rows, names):
    """Return a data file of rows with other names for the classes."""
    lines = [f"{names[LABELS.index(row.label)]}\t{row.text}" for row in rows]
    return "\n".join(["label\ttext", *lines, ""])


def quick(model, output, data, **changes):
    short = PhaseOptions(1, 1e-3)
    options = {"train": data, "dev": data, "finetune": short, "distill": short}
    return TrainOptions(model=str(model), output=output, **options | changes)


@pytest.mark.parametrize("phase", ["both", "distill"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_trained_in_float32(dtype, phase, tmp_path):
    make_classifier(tmp_path / "full").to(dtype).save_pretrained(tmp_path / "half")
    make_tokenizer().save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    data = write_tsv(tmp_path / "rows.tsv", make_rows(40, seed=1))
    train(quick(tmp_path / "half", tmp_path / "model", data, phase=phase))
    model = load_checkpoint(tmp_path / "model").model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    model.to(dtype).save_pretrained(tmp_path / "model")  # a checkpoint that was converted to a smaller dtype
    again = start_from(tmp_path / "model", labels=None, exit_head=None, max_length=None, keep_classifier=True)
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_activation_that_cannot_be_exported_is_refused_before_the_training(family, tmp_path):
    make_classifier(tmp_path / "classifier", family)
    edit(tmp_path / "classifier" / "config.json", hidden_act="silu")
    for keep in (True, False):
        with pytest.raises(CheckpointError, match="hidden_act='silu', which cannot be exported; use one of gelu"):
            start_from(tmp_path / "classifier", labels=LABELS, exit_head=None, max_length=16, keep_classifier=keep)
    assert tuple(EXPORTED) == ACTIVATIONS


def test_options_that_contradict_a_checkpoint_are_refused(checkpoint_dir):
    def start(**asked):
        options = {"labels": None, "exit_head": None, "max_length": None, "keep_classifier": True}
        return start_from(checkpoint_dir, **options | asked)

    assert start(max_length=48, exit_head=ExitHeadConfig(size=16)).config.max_sequence_length == 48
    with pytest.raises(UsageError, match="`max_length` is 32, but .* truncates texts to 48 tokens"):
        start(max_length=32)
    for head in (ExitHeadConfig(size=32), ExitHeadConfig.bitvoyage(size=16)):
        with pytest.raises(UsageError, match="size=16.*`exit_head` and `exit_size` cannot change"):
            start(exit_head=head)


def test_the_record_says_what_was_used(checkpoint_dir, tmp_path):
    data = write_tsv(tmp_path / "rows.tsv", make_rows(30, seed=1))
    train(quick(checkpoint_dir, tmp_path / "model", data, phase="distill"))
    options = load_checkpoint(tmp_path / "model").training["options"]
    assert (options["max_length"], options["exit_head"]["size"]) == (48, 16)
    assert exit_head_named() == ExitHeadConfig() and exit_head_named(size=16) == ExitHeadConfig(size=16)


def test_a_record_that_calls_the_phases_stages_is_read_with_their_new_name(checkpoint_dir, tmp_path):
    shutil.copytree(checkpoint_dir, tmp_path / "model")
    old = {"options": {"stage": "both", "seed": 1}, "stages": [{"stage": "finetune", "steps": 3}]}
    (tmp_path / "model" / "training.json").write_text(json.dumps(old))
    new = {"options": {"phase": "both", "seed": 1}, "phases": [{"phase": "finetune", "steps": 3}]}
    assert load_checkpoint(tmp_path / "model").training == new
    assert describe_checkpoint(tmp_path / "model")["training"] == new


def test_a_checkpoint_of_an_earlier_version_measures_entropy(checkpoint_dir, tmp_path):
    shutil.copytree(checkpoint_dir, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    document = json.loads(path.read_text())
    assert document.pop("uncertainty") == "entropy"
    path.write_text(json.dumps(document))
    assert load_checkpoint(tmp_path / "model").model.config.uncertainty == "entropy"
    assert describe_checkpoint(tmp_path / "model")["uncertainty"] == "entropy"


def test_the_default_length_fits_the_model(tmp_path):
    make_classifier(tmp_path / "classifier")
    model = start_from(tmp_path / "classifier", labels=None, exit_head=None, max_length=None, keep_classifier=True)
    assert model.config.max_sequence_length == 66


@pytest.mark.parametrize("names", [("LABEL_0", "LABEL_1", "LABEL_2"), ("-1", "0", "10")])
def test_a_checkpoint_is_distilled_on_its_own_data(names, tmp_path):
    make_classifier(tmp_path / "classifier")
    data = tmp_path / "rows.tsv"
    data.write_text(relabelled(make_rows(40, seed=1), names))
    first = train(quick(tmp_path / "classifier", tmp_path / "first", data))
    second = train(quick(tmp_path / "first", tmp_path / "second", data, phase="distill"))
    assert set(names) == set(first.labels) == set(second.labels)


@pytest.mark.parametrize("names", [("LABEL_0", "LABEL_1", "LABEL_2"), ("0", "1", "2")])
def test_a_classifier_with_placeholders_takes_the_names_of_the_data(names, tmp_path):
    make_classifier(tmp_path / "classifier", labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    data = tmp_path / "rows.tsv"
    data.write_text(relabelled(make_rows(40, seed=1), names))
    assert train(quick(tmp_path / "classifier", tmp_path / "model", data, phase="distill")).labels == names


def test_numbers_for_a_checkpoint_with_names_are_refused(tmp_path):
    make_classifier(tmp_path / "classifier")
    data = tmp_path / "rows.tsv"
    data.write_text(relabelled(make_rows(40, seed=1), ("0", "1", "2")))
    with pytest.raises(CheckpointError, match="trained on the labels negative, .* the training file also has 0, 1, 2"):
        train(quick(tmp_path / "classifier", tmp_path / "model", data, phase="distill"))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "id2label", [{"0": "a", "2": "b", "3": "c"}, {"1": "a", "2": "b", "3": "c"}, {"0": None, "1": "b", "2": "c"},
                 {"0": "same", "1": "same", "2": "c"}]
)  # fmt: skip
def test_a_config_with_ambiguous_classes_is_refused_everywhere(id2label, tmp_path, checkpoint):
    from fastbert.checkpoint import save_checkpoint

    make_classifier(tmp_path / "classifier")
    save_checkpoint(tmp_path / "ours", checkpoint)
    for model in ("classifier", "ours"):
        edit(tmp_path / model / "config.json", id2label=id2label)
    with pytest.raises(CheckpointError, match="id2label in the config.json of"):
        import_checkpoint(tmp_path / "classifier", output=tmp_path / "model")
    with pytest.raises(CheckpointError, match="id2label in the config.json of"):
        load_checkpoint(tmp_path / "ours")


def test_positions_that_depend_on_a_missing_padding_id_are_refused(tmp_path):
    make_classifier(tmp_path / "classifier", "roberta")
    edit(tmp_path / "classifier" / "config.json", pad_token_id=None)
    with pytest.raises(CheckpointError, match="no pad_token_id|could not be read"):
        import_checkpoint(tmp_path / "classifier", output=tmp_path / "model")
    assert make_backbone_config("roberta").pad_token_id == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_sequence_length": value}, "max_sequence_length is .*expected an integer above 0")
        for value in (None, True, 0, 2.5, 1e30, "x", [])
    ]
    + [({"max_sequence_length": value}, "backbone has only 66 positions") for value in (67, 10**30)]
    + [({"distilled": value}, "distilled is .*expected true or false") for value in (None, 1, "x", [])]
    + [
        ({"default_token_type": value}, "default_token_type is .*expected an integer from 0 to 1")
        for value in (None, True, -1, 2, 0.5, "x", [])
    ]
    + [({"uncertainty": value}, "uncertainty is .*use entropy or margin") for value in (None, 1, "Margin", [], {})],
)
def test_a_bad_value_in_config_json_is_refused_by_name(changes, message, checkpoint_dir, tmp_path):
    shutil.copytree(checkpoint_dir, tmp_path / "model")
    edit(tmp_path / "model" / "config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("size", (None, True, 16.0, "x", [])),
        ("heads", (None, True, 2.0, "x", [])),
        ("output_projection", (None, 0, "x", [], {})),
        ("dropout", (None, -1, 2, "x", [], math.nan)),
        ("dense_activation", (0, "", "silu", [], {})),
        ("narrow_activation", (0, "", "silu", [], {})),
    ],
)
def test_a_bad_value_of_an_exit_head_is_refused_by_name(field, values):
    for value in values:
        with pytest.raises(CheckpointError, match=f"exit head's {field} is"):
            ExitHeadConfig(**{field: value})


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"text": 1}', 1),
        ('{"text": null}', 1),
        ('{"text": "good", "text_pair": 3}', 1),
        ('{"text": "good", "label": 3}', 1),
        ('{"text": "good"}\n\n{"text": "\\ud800"}', 3),
        ('{"text": "good", "extra": 1}', 1),
        ("null", 1),
        ("[" * 100000, 1),
    ],
)
def test_rows_that_are_damaged_are_refused_by_line(content, line, checkpoint_dir, tmp_path):
    shutil.copytree(checkpoint_dir, tmp_path / "model")
    (tmp_path / "model" / "sample_rows.jsonl").write_text(content)
    with pytest.raises(CheckpointError, match=rf"sample_rows\.jsonl, line {line} is damaged"):
        load_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"1", b"\xff\xfe", b"[" * 100000])
def test_a_record_that_is_damaged_is_refused(content, checkpoint_dir, tmp_path):
    shutil.copytree(checkpoint_dir, tmp_path / "model")
    (tmp_path / "model" / "training.json").write_bytes(content)
    for read in (load_checkpoint, describe_checkpoint):
        with pytest.raises(CheckpointError, match=r"training\.json is damaged"):
            read(tmp_path / "model")


def test_weights_of_another_shape_are_refused_by_name(tmp_path):
    make_classifier(tmp_path / "classifier")
    edit(tmp_path / "classifier" / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    message = r"2 tensors of .* do not have the shape .*classifier.bias is \(3,\), expected \(2,\)"
    with pytest.raises(CheckpointError, match=message):
        start_from(tmp_path / "classifier", labels=None, exit_head=None, max_length=16, keep_classifier=True)


def test_surplus_layers_are_refused_in_a_checkpoint_and_reported_in_other_models(checkpoint_dir, tmp_path, caplog):
    shutil.copytree(checkpoint_dir, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    edit(path, backbone_config={**json.loads(path.read_text())["backbone_config"], "num_hidden_layers": 2})
    with pytest.raises(CheckpointError, match="have the layers 2 beyond .*num_hidden_layers was changed"):
        load_checkpoint(tmp_path / "model")
    make_classifier(tmp_path / "classifier")
    edit(tmp_path / "classifier" / "config.json", num_hidden_layers=1)
    start_from(tmp_path / "classifier", labels=None, exit_head=None, max_length=16, keep_classifier=True)
    assert "have the layers 1, 2 beyond those of config.json, whose num_hidden_layers is 1" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers=0; a model needs 1 or more"),
        ({"num_hidden_layers": -1}, "num_hidden_layers=-1"),
        ({"num_attention_heads": -1}, "num_attention_heads=-1"),
        ({"hidden_dropout_prob": math.nan}, "hidden_dropout_prob=nan, which is not a finite number"),
        ({"initializer_range": math.nan}, "initializer_range=nan"),
        ({"layer_norm_eps": math.inf}, "layer_norm_eps=inf"),
        ({"architectures": 1}, "holds a model without a classifier"),
        ({"architectures": {"a": 1}}, "holds a model without a classifier"),
        ({"architectures": [1]}, "holds a 1"),
        ({"hidden_act": 1}, "could not be read: .*hidden_act.*expected str, got int"),
        ({"pad_token_id": "x"}, "could not be read: .*pad_token_id"),
    ],
)
def test_an_impossible_backbone_config_is_refused_by_name(changes, message, tmp_path):
    make_classifier(tmp_path / "classifier")
    edit(tmp_path / "classifier" / "config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(tmp_path / "classifier", output=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_feed_forward_in_chunks_takes_texts_of_any_length(tmp_path):
    original = make_classifier(tmp_path / "classifier", chunk_size_feed_forward=2)
    model = start_from(tmp_path / "classifier", labels=None, exit_head=None, max_length=16, keep_classifier=True).eval()
    ids = torch.tensor([[1, 5, 6, 2]])
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, original(ids).logits, atol=1e-5)
        assert model(ids[:, :3]).logits.shape == (1, 3)

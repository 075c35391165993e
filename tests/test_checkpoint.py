import json

import pytest
import torch
from conftest import LABELS, make_backbone_config, make_rows, make_tokenizer, write_tsv
from importing.test_huggingface import make_classifier

from fastbert.checkpoint import load_checkpoint, start_from
from fastbert.configuration import ExitHeadConfig, exit_head_named
from fastbert.export.activations import ACTIVATIONS as EXPORTED
from fastbert.families import ACTIVATIONS, FAMILIES
from fastbert.importing import import_checkpoint
from fastbert.runtime.errors import CheckpointError, UsageError
from fastbert.training import StageOptions, TrainOptions, train


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def relabelled(rows, names):
    """Write rows with other names of the classes."""
    lines = [f"{names[LABELS.index(row.label)]}\t{row.text}" for row in rows]
    return "\n".join(["label\ttext", *lines, ""])


def quick(model, output, data, **changes):
    stage = StageOptions(1, 1e-3)
    options = {"train": data, "dev": data, "finetune": stage, "distill": stage}
    return TrainOptions(model=str(model), output=output, **options | changes)


@pytest.mark.parametrize("stage", ["both", "distill"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_trained_in_float32(dtype, stage, tmp_path):
    make_classifier(tmp_path / "full").to(dtype).save_pretrained(tmp_path / "half")
    make_tokenizer().save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    data = write_tsv(tmp_path / "rows.tsv", make_rows(40, seed=1))
    train(quick(tmp_path / "half", tmp_path / "model", data, stage=stage))
    model = load_checkpoint(tmp_path / "model").model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    model.to(dtype).save_pretrained(tmp_path / "model")  # a checkpoint of ours that was made smaller
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


def test_what_a_checkpoint_has_cannot_be_asked_otherwise(checkpoint_dir):
    def start(**asked):
        options = {"labels": None, "exit_head": None, "max_length": None, "keep_classifier": True}
        return start_from(checkpoint_dir, **options | asked)

    assert start(max_length=48, exit_head=ExitHeadConfig(size=16)).config.max_sequence_length == 48
    with pytest.raises(UsageError, match="cuts texts to 48 tokens; --max-length 32 cannot change that"):
        start(max_length=32)
    for head in (ExitHeadConfig(size=32), ExitHeadConfig.seed(size=16)):
        with pytest.raises(UsageError, match="size=16.*--exit-head and --exit-size cannot change"):
            start(exit_head=head)


def test_the_record_says_what_was_used(checkpoint_dir, tmp_path):
    data = write_tsv(tmp_path / "rows.tsv", make_rows(30, seed=1))
    train(quick(checkpoint_dir, tmp_path / "model", data, stage="distill"))
    options = load_checkpoint(tmp_path / "model").training["options"]
    assert (options["max_length"], options["exit_head"]["size"]) == (48, 16)
    assert exit_head_named() == ExitHeadConfig() and exit_head_named(size=16) == ExitHeadConfig(size=16)


def test_a_default_length_is_no_longer_than_the_model(tmp_path):
    make_classifier(tmp_path / "classifier")
    model = start_from(tmp_path / "classifier", labels=None, exit_head=None, max_length=None, keep_classifier=True)
    assert model.config.max_sequence_length == 66


@pytest.mark.parametrize(
    "names", [("LABEL_0", "LABEL_1", "LABEL_2"), ("0", "1", "2"), ("c", "a", "b"), ("-1", "0", "10")]
)
def test_a_checkpoint_is_distilled_on_its_own_data(names, tmp_path):
    make_classifier(tmp_path / "classifier")
    data = tmp_path / "rows.tsv"
    data.write_text(relabelled(make_rows(40, seed=1), names))
    first = train(quick(tmp_path / "classifier", tmp_path / "first", data))
    second = train(quick(tmp_path / "first", tmp_path / "second", data, stage="distill"))
    assert set(names) == set(first.labels) == set(second.labels)


@pytest.mark.parametrize("names", [("LABEL_0", "LABEL_1", "LABEL_2"), ("0", "1", "2")])
def test_a_classifier_with_placeholders_takes_the_names_of_the_data(names, tmp_path):
    make_classifier(tmp_path / "classifier", labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    data = tmp_path / "rows.tsv"
    data.write_text(relabelled(make_rows(40, seed=1), names))
    assert train(quick(tmp_path / "classifier", tmp_path / "model", data, stage="distill")).labels == names


def test_numbers_for_a_checkpoint_with_names_are_refused(tmp_path):
    make_classifier(tmp_path / "classifier")
    data = tmp_path / "rows.tsv"
    data.write_text(relabelled(make_rows(40, seed=1), ("0", "1", "2")))
    with pytest.raises(CheckpointError, match="trained on the labels negative, .* the training file also has 0, 1, 2"):
        train(quick(tmp_path / "classifier", tmp_path / "model", data, stage="distill"))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "id2label", [{"0": "a", "2": "b", "3": "c"}, {"1": "a", "2": "b", "3": "c"}, {"0": None, "1": "b", "2": "c"},
                 {"0": "same", "1": "same", "2": "c"}]
)  # fmt: skip
def test_a_config_whose_classes_cannot_be_told_apart_is_refused_everywhere(id2label, tmp_path, checkpoint):
    from fastbert.checkpoint import save_checkpoint

    make_classifier(tmp_path / "classifier")
    save_checkpoint(tmp_path / "ours", checkpoint)
    for model in ("classifier", "ours"):
        edit(tmp_path / model / "config.json", id2label=id2label)
    with pytest.raises(CheckpointError, match="id2label in the config.json of"):
        import_checkpoint(tmp_path / "classifier", output=tmp_path / "model")
    with pytest.raises(CheckpointError, match="id2label in the config.json of"):
        load_checkpoint(tmp_path / "ours")


def test_positions_that_follow_no_padding_id_are_refused(tmp_path):
    make_classifier(tmp_path / "classifier", "roberta")
    edit(tmp_path / "classifier" / "config.json", pad_token_id=None)
    with pytest.raises(CheckpointError, match="no pad_token_id|could not be read"):
        import_checkpoint(tmp_path / "classifier", output=tmp_path / "model")
    assert make_backbone_config("roberta").pad_token_id == 1

import json

import pytest
import torch
from support.factories import WORDS, make_backbone_config, make_classifier, make_rows, make_tokenizer, write_tsv
from tokenizers import Tokenizer
from transformers import AutoModel

from fastbert.checkpoint import load_checkpoint
from fastbert.data.rows import Row
from fastbert.export import export_bundle
from fastbert.families import FAMILIES
from fastbert.importing import import_checkpoint
from fastbert.runtime import Classifier
from fastbert.runtime.errors import CheckpointError, UsageError
from fastbert.runtime.manifest import read_manifest
from fastbert.tokenization import (
    check_rows,
    check_vocabulary,
    compare_with_transformers,
    load_tokenizer,
    warn_if_ids_differ,
)
from fastbert.training import PhaseOptions, TrainOptions, train

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BERT = {
    "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
    "strip_accents": False, "lowercase": False,
}  # fmt: skip


def write_file(path, *, config=None, **changes):
    """A directory with a BERT tokenizer.json of a few words that are cased and accented."""
    vocabulary = {token: at for at, token in enumerate([*SPECIAL, *"Good good x http : / é e ##d 好".split()])}
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    document = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": at, "content": token, **added} for at, token in enumerate(SPECIAL)],
        "normalizer": BERT, "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": None,
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    }  # fmt: skip
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(vocabulary)}))
    (path / "tokenizer.json").write_text(json.dumps({**document, **changes}))
    if config is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


URL = {
    "type": "Sequence",
    "normalizers": [{"type": "Replace", "pattern": {"Regex": "http\\S+"}, "content": " x "}, BERT],
}
NO_SPECIAL = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
              "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
              "special_tokens": {}}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "config", "expected"),
    [
        ({}, None, "[CLS] Good x : é [SEP]"),
        ({}, {"tokenizer_class": "BertTokenizer"}, "[CLS] Good x : é [SEP]"),
        ({}, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}, "[CLS] Good x : é [SEP]"),
        ({"normalizer": URL}, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}, "[CLS] Good x : é [SEP]"),
        ({"pre_tokenizer": {"type": "WhitespaceSplit"}}, {"tokenizer_class": "BertTokenizer"},
         "[CLS] Good [UNK] é [SEP]"),
        ({"post_processor": NO_SPECIAL}, {"tokenizer_class": "BertTokenizer"}, "Good x : é"),
        ({"post_processor": None}, {"tokenizer_class": "PreTrainedTokenizerFast"}, "Good x : é"),
        ({"truncation": {"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 0}}, None,
         "[CLS] Good x : é [SEP]"),
    ],
)  # fmt: skip
def test_tokenizer_json_is_used_unchanged_before_and_after_saving(changes, config, expected, tmp_path):
    path = write_file(tmp_path / "model", config=config, **changes)
    text = "Good x: é"
    loaded = load_tokenizer(path)
    file = Tokenizer.from_file(str(path / "tokenizer.json"))
    file.no_truncation()
    assert loaded.backend_tokenizer.encode(text).tokens == file.encode(text).tokens == expected.split()
    assert loaded.padding_side == "right"
    loaded.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.backend_tokenizer.encode(text).tokens == expected.split()
    assert again.truncation_side == loaded.truncation_side == ("left" if "truncation" in changes else "right")


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [("do_lower_case", True, "lowercase"), ("strip_accents", True, "strip_accents"),
     ("tokenize_chinese_chars", False, "handle_chinese_chars")],
)  # fmt: skip
@pytest.mark.parametrize("normalizer", [BERT, URL])
def test_a_config_that_contradicts_the_file_is_refused(normalizer, name, value, field, tmp_path):
    path = write_file(
        tmp_path / "model", normalizer=normalizer, config={"tokenizer_class": "BertTokenizer", name: value}
    )
    with pytest.raises(CheckpointError, match=rf"tokenizer_config.json says {name}=.*tokenizer.json has {field}="):
        load_tokenizer(path)


def test_rows_that_transformers_tokenizes_differently_are_reported(tmp_path, caplog):
    path = write_file(tmp_path / "model", config={"tokenizer_class": "BertTokenizer"})
    compare_with_transformers(path, load_tokenizer(path), [Row("x"), Row("Good x", "x")])
    assert "transformers tokenizes 1 of 3 texts differently" in caplog.text
    assert "'Good x' becomes good x, and by the file Good x" in caplog.text


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("left", [(), ("tokenizer_config.json",), ("special_tokens_map.json", "added_tokens.json")])
def test_a_model_without_a_tokenizer_is_refused(left, family, tmp_path):
    AutoModel.from_config(make_backbone_config(family)).save_pretrained(tmp_path / "model")
    for name in left:
        (tmp_path / "model" / name).write_text("{}")
    with pytest.raises(CheckpointError, match=r"has no tokenizer: it has none of tokenizer\.json, .*`tokenizer`"):
        load_tokenizer(tmp_path / "model")
    rows = write_tsv(tmp_path / "rows.tsv", make_rows(20))
    options = TrainOptions(model=str(tmp_path / "model"), output=tmp_path / "out", train=rows, dev=rows)
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        train(options)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.training").exists()


def test_a_vocabulary_without_words_is_refused(tmp_path):
    model = {"type": "WordLevel", "vocab": {token: at for at, token in enumerate(SPECIAL)}, "unk_token": "[UNK]"}
    path = write_file(tmp_path / "model", model=model)
    with pytest.raises(CheckpointError, match="has an empty vocabulary"):
        load_tokenizer(path)


def test_a_tokenizer_that_does_not_know_the_rows_is_refused(tmp_path, caplog):
    tokenizer = make_tokenizer()
    check_rows("model", tokenizer, make_rows(30))
    check_rows("model", tokenizer, [Row(""), Row(" ")])
    assert not caplog.text
    with pytest.raises(
        CheckpointError, match="8 of the 10 tokens that the tokenizer of model makes of 4 texts are unk"
    ):
        check_rows("model", tokenizer, [Row("das ist gut", "das auch"), Row("bien good", "tout bien good")])
    check_rows("model", tokenizer, [Row("das ist gut"), Row("good bien")])
    assert "4 of the 5 tokens" in caplog.text
    check_rows("model", load_tokenizer(write_file(tmp_path / "model")), [])
    assert "knows none of the most common English words" in caplog.text


def test_a_tokenizer_that_drops_every_word_is_refused(tmp_path):
    model = {"type": "BPE", "vocab": {"[PAD]": 0, "q": 1}, "merges": []}
    path = write_file(tmp_path / "model", model=model, added_tokens=[], post_processor=None)
    with pytest.raises(CheckpointError, match="9 of the 9 tokens .* are unknown"):
        check_rows("model", load_tokenizer(path), [Row("good film"), Row("")] * 9)


@pytest.fixture
def encoder(tmp_path):
    torch.manual_seed(0)
    AutoModel.from_config(make_backbone_config(layers=2)).save_pretrained(tmp_path / "encoder")
    make_tokenizer().save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def quick(model, tmp_path, **changes):
    rows = write_tsv(tmp_path / "rows.tsv", make_rows(40, seed=1))
    short = PhaseOptions(1, 1e-3)
    return TrainOptions(
        model=str(model), output=tmp_path / "model", train=rows, dev=rows, finetune=short, distill=short, **changes
    )


def test_tokens_beyond_the_embeddings_are_refused_everywhere(encoder, tmp_path, checkpoint):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["@user"])
    tokenizer.save_pretrained(encoder)
    with pytest.raises(CheckpointError, match=r"beyond the 24 rows.*'@user' \(24\).*resize_token_embeddings"):
        train(quick(encoder, tmp_path))
    assert not (tmp_path / "model").exists()
    check_vocabulary("model", tokenizer, 25)
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})  # which is in no text
    check_vocabulary("model", tokenizer, 25)


def test_another_tokenizer_can_be_named(encoder, tmp_path):
    for file in encoder.glob("tokenizer*"):
        file.rename(tmp_path / file.name)
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        train(quick(encoder, tmp_path))
    report = train(quick(encoder, tmp_path, tokenizer=str(tmp_path)))
    assert load_checkpoint(report.output).tokenizer.get_vocab() == make_tokenizer().get_vocab()


def test_padding_is_on_the_right_and_the_truncation_side_is_kept(encoder, tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.truncation_side = "left"
    config = encoder / "tokenizer_config.json"
    sides = {"padding_side": "left", "truncation_side": "left"}
    config.write_text(json.dumps({**json.loads(config.read_text()), **sides}))
    report = train(quick(encoder, tmp_path, max_length=12))
    checkpoint = load_checkpoint(report.output)
    assert (checkpoint.tokenizer.padding_side, checkpoint.tokenizer.truncation_side) == ("right", "left")
    export_bundle(report.output, tmp_path / "bundle")
    assert read_manifest(tmp_path / "bundle").raw["truncation_side"] == "left"
    truncation = json.loads((tmp_path / "bundle" / "tokenizer.json").read_text())["truncation"]
    assert (truncation["direction"], truncation["max_length"]) == ("Left", 12)
    text = "bad " * 40 + "good bright film"
    expected = tokenizer(text, truncation=True, max_length=12)["input_ids"]
    encoded = Classifier.load(tmp_path / "bundle", threads=1).encode([text, "bad"])
    assert encoded.input_ids[0].tolist() == expected and encoded.truncated.tolist() == [True, False]
    assert encoded.attention_mask[1].tolist() == [1, 1, 1] + [0] * 9


@pytest.mark.parametrize("limit", [-1, 0, 1, 1e30, 48])
def test_a_limit_that_is_not_a_length_is_ignored(limit, tmp_path):
    make_classifier(tmp_path / "classifier")
    path = tmp_path / "classifier" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": limit}))
    report = import_checkpoint(tmp_path / "classifier", output=tmp_path / "model")
    assert report.max_length == (48 if limit == 48 else 66)


def test_a_tokenizer_without_a_padding_token_trains_and_gives_the_same_answers_in_a_batch(encoder, tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(encoder)
    assert load_tokenizer(encoder).pad_token_id is None
    report = train(quick(encoder, tmp_path))
    export_bundle(report.output, tmp_path / "bundle")
    classifier = Classifier.load(tmp_path / "bundle", threads=1)
    alone, batch = classifier.predict(["good"], speed=0), classifier.predict(["good", "bad dull film"], speed=0)
    assert alone[0].probabilities == pytest.approx(batch[0].probabilities, abs=1e-5)


@pytest.mark.parametrize(("max_length", "pairs", "message"), [(2, False, "Use 3 or more"), (4, True, "with 5 or more")])
def test_a_length_without_room_for_the_text_is_refused_before_the_work(max_length, pairs, message, encoder, tmp_path):
    rows = tmp_path / "pairs.jsonl"
    row = {"text_a": " ".join(WORDS[:3]), "text_b": "good"} if pairs else {"text": "good bad"}
    rows.write_text("".join(json.dumps({**row, "label": label}) + "\n" for label in "abab"))
    options = quick(encoder, tmp_path, max_length=max_length)
    with pytest.raises(UsageError, match=message):
        train(TrainOptions(**{**vars(options), "train": rows, "dev": rows}))
    assert not (tmp_path / "model.training").exists()


def test_a_padding_token_beyond_the_embeddings_is_not_used(encoder, tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[NEW]"})
    tokenizer.save_pretrained(encoder)
    assert load_tokenizer(encoder).pad_token_id == 24
    report = train(quick(encoder, tmp_path, phase="finetune"))
    export_bundle(report.output, tmp_path / "bundle")
    assert read_manifest(tmp_path / "bundle").raw["pad_token_id"] == 0


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]
)
@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"1", b'"x"', b"\xff\xfe", b"[" * 100000])
def test_a_damaged_file_is_named(name, content, tmp_path):
    path = write_file(tmp_path / "model")
    (path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name} (could not be read|holds a \w+, not a JSON).*`tokenizer`"):
        load_tokenizer(path)


def test_a_tokenizer_with_other_ids_than_the_models_is_reported(encoder, tmp_path, caplog):
    make_tokenizer("roberta").save_pretrained(tmp_path / "other")
    make_tokenizer().save_pretrained(tmp_path / "same")
    warn_if_ids_differ(encoder, tmp_path / "same", load_tokenizer(tmp_path / "same"))
    assert not caplog.text
    with pytest.raises(CheckpointError, match="No tokenizer could be loaded"):
        train(quick(encoder, tmp_path, tokenizer=""))
    train(quick(encoder, tmp_path, tokenizer=str(tmp_path / "other"), phase="finetune"))
    assert f"not that of {encoder}: 4 of its 24 tokens have another id" in caplog.text


@pytest.mark.parametrize("named", [None, "@new", "good"])
def test_unknown_words_are_found_under_any_name_of_their_token(named, tmp_path):
    path = write_file(tmp_path / "model", config={"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": named})
    with pytest.raises(CheckpointError, match="8 of the 8 tokens"):
        check_rows("model", load_tokenizer(path), [Row("das ist")] * 4)


@pytest.mark.parametrize(
    "model",
    [
        {"type": "WordLevel", "vocab": {"[PAD]": 0, "good": 1}, "unk_token": "[UNK]"},
        {"type": "Unigram", "vocab": [["[PAD]", -1.0], ["good", -1.0]], "unk_id": None},
    ],
)
def test_a_vocabulary_that_fails_on_unknown_words_is_refused(model, tmp_path):
    path = write_file(tmp_path / "model", model=model, added_tokens=[], post_processor=None)
    with pytest.raises(CheckpointError, match=r"fails on unknown words: .*Add a token for them"):
        load_tokenizer(path)


def test_a_token_type_that_the_model_does_not_have_is_refused(encoder, tmp_path):
    path = encoder / "tokenizer.json"
    single = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 2}}],
              "pair": NO_SPECIAL["pair"], "special_tokens": {}}  # fmt: skip
    path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": single}))
    with pytest.raises(CheckpointError, match="token type 2, but the model has only 2 types"):
        train(quick(encoder, tmp_path))
    assert not (tmp_path / "model.training").exists()

"""examples/node: the packed file in onnxruntime-node."""

import json
import math
import random
import re
import subprocess
from pathlib import Path

import pytest
from support.packed import EXAMPLES, compare, needs
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from fastbert.runtime.tokenization import TextEncoder

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
VOCABULARIES = ("bert-base-uncased", "bert-base-chinese", "ernie-1.0.1")
LOGITS = """
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { encode, readMetadata, sessionOptions } from "./packed.mjs";

const { model, tokenizer: path, rows } = JSON.parse(readFileSync(0));
const metadata = readMetadata(readFileSync(model));
const tokenizer = new Tokenizer(JSON.parse(readFileSync(path)), {});
const session = await InferenceSession.create(model, sessionOptions);
const found = [];
for (const [text, speed] of rows) {
  const { ids, types } = encode(tokenizer, text, metadata);
  const { logits, exit_layer } = await session.run({
    input_ids: new Tensor("int64", ids, [1, ids.length]),
    token_type_ids: new Tensor("int64", types, [1, ids.length]),
    speed: new Tensor("float32", [speed], [1]),
  });
  found.push([Number(exit_layer.data[0]), [...logits.data]]);
}
console.log(JSON.stringify(found));
"""
IDS = """
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";
import { encode } from "./packed.mjs";

const { tokenizer: path, texts, metadata } = JSON.parse(readFileSync(0));
const tokenizer = new Tokenizer(JSON.parse(readFileSync(path)), {});
console.log(JSON.stringify(texts.map((text) => Object.values(encode(tokenizer, text, metadata)))));
"""


def run(*arguments, text):
    needs("node")
    return subprocess.run(
        ["node", *map(str, arguments)], input=text, cwd=EXAMPLES / "node", capture_output=True, text=True, timeout=60
    )


def evaluate(script, **values):
    """Run a module in the example's folder, which reads these values and prints JSON."""
    done = run("--input-type=module", "--eval", script, text=json.dumps(values, default=str))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_the_example_prints_what_the_bundle_answers(packed, variant):
    expected = [answer for answer in packed.answers(variant) if answer.speed == 0.3]
    lines = "".join(f"{answer.text}\n" for answer in expected)
    done = run("classify.mjs", packed.files[variant], packed.bundle / "tokenizer.json", 0.3, text=lines)
    assert (done.returncode, done.stderr) == (0, "")
    for line, answer in zip(done.stdout.splitlines(), expected, strict=True):
        label, probability, exit_layer = line.split("\t")
        assert (label, int(exit_layer)) == (answer.label, answer.exit_layer)
        sum_of_powers = sum(math.exp(logit - max(answer.logits)) for logit in answer.logits)
        assert float(probability) == pytest.approx(1 / sum_of_powers, abs=1e-4 if variant == "fp32" else 0.05)


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_hundred_rows_have_the_bundles_exit_layers_and_logits(packed, variant):
    expected = packed.answers(variant)
    rows = [[answer.text, answer.speed] for answer in expected]
    tokenizer = packed.bundle / "tokenizer.json"
    found = evaluate(LOGITS, model=packed.files[variant], tokenizer=tokenizer, rows=rows)
    compare(found, expected, variant)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_ids_of_real_texts_are_those_of_tokenizers(vocabulary, side, tmp_path):
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    words = (SHARED / "vocab" / f"{vocabulary}.vocab.txt").read_text(encoding="utf-8").split("\n")
    tokenizer = Tokenizer(
        models.WordPiece({word: index for index, word in enumerate(words) if word}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(
        *(("[SEP]", words.index("[SEP]")), ("[CLS]", words.index("[CLS]")))
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    texts = ["", " "]
    for file in sorted(SHARED.glob("*/*.tsv")):
        lines = file.read_text(encoding="utf-8").splitlines()[1:]
        texts += [line.split("\t", 1)[1] for line in random.Random(0).sample(lines, 40)]
    limits = {"max_length": 24, "truncation_side": side, "pad_token_id": 0, "vocab_size": len(words)}
    found = evaluate(IDS, tokenizer=tmp_path / "tokenizer.json", texts=texts, metadata={**limits, "type_vocab_size": 2})
    expected = TextEncoder(tokenizer, token_types=2, **limits).tokenize(texts)
    assert sum(tokens.truncated for tokens in expected) > 40
    assert found == [[tokens.ids, tokens.type_ids, tokens.truncated] for tokens in expected]


def test_metadata_is_read_from_the_file(packed):
    import onnxruntime

    script = 'import { readFileSync } from "node:fs"; import { readMetadata } from "./packed.mjs";'
    script += "console.log(JSON.stringify(readMetadata(readFileSync(JSON.parse(readFileSync(0)).model))));"
    expected = onnxruntime.InferenceSession(packed.files["int8"]).get_modelmeta().custom_metadata_map
    assert evaluate(script, model=packed.files["int8"]) == {
        name.removeprefix("fastbert."): json.loads(value) for name, value in expected.items()
    }


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "cut off"),
        (lambda content: content[:-3], "cut off"),
        (lambda content: b"<!doctype html>" + content, "not an ONNX file"),
        (lambda content: b"", "expected fastbert-packed/1"),
        (lambda content: content.replace(b"fastbert-packed/1", b"fastbert-packed/2"), "fastbert-packed/2; expected"),
    ],
)
def test_a_file_that_is_not_a_packed_one_is_named(packed, tmp_path, damage, message):
    (tmp_path / "model.onnx").write_bytes(damage(packed.files["fp32"].read_bytes()))
    done = run("classify.mjs", tmp_path / "model.onnx", packed.bundle / "tokenizer.json", text="good\n")
    assert done.returncode == 1
    assert message in done.stderr


def test_a_tokenizer_of_another_model_is_named(packed, tmp_path):
    content = (packed.bundle / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(content.replace(b"good", b"evil"))
    done = run("classify.mjs", packed.files["fp32"], tmp_path / "tokenizer.json", text="a good film\n")
    assert done.returncode == 1
    assert "is not the one of the model's bundle" in done.stderr


def test_an_id_that_the_model_does_not_know_is_named(packed):
    limits = {"max_length": 9, "truncation_side": "right", "pad_token_id": 0, "vocab_size": 5, "type_vocab_size": 2}
    values = {"tokenizer": packed.bundle / "tokenizer.json", "texts": ["a good film"], "metadata": limits}
    done = run("--input-type=module", "--eval", IDS, text=json.dumps(values, default=str))
    assert done.returncode == 1
    assert re.search(r"gives token \d the id \d+; the model knows 0 to 4\.", done.stderr)


@pytest.mark.parametrize("arguments", [[], ["model.onnx"], ["model.onnx", "tokenizer.json", "2"], ["m", "t", "fast"]])
def test_wrong_arguments_are_answered_with_the_usage(arguments):
    done = run("classify.mjs", *arguments, text="")
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: node classify.mjs")

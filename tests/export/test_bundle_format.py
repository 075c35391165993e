"""`docs/bundle-format.md` names everything in a bundle, and a reader written from it answers rightly."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from fastbert.export.golden import SPEEDS
from fastbert.export.manifest import SCHEMA_FILE

DOCUMENT = Path(__file__).parents[2] / "docs" / "bundle-format.md"


def properties(schema):
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for inner in schema.values():
            yield from properties(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from properties(inner)


def test_every_field_array_input_and_output_is_described(gpu_bundle):
    names = set(properties(json.loads(SCHEMA_FILE.read_text()))) - {"layer", "exits", "bytes", "sha256", "passed"}
    with np.load(gpu_bundle / "golden.npz") as file:
        names |= {name.partition("@")[0] for name in file}
    for path in gpu_bundle.glob("*/*.onnx"):
        graph = onnx.load(path, load_external_data=False).graph
        names |= {value.name for value in (*graph.input, *graph.output)}
    document = DOCUMENT.read_text()
    missing = sorted(name for name in names if f"`{name}" not in document and f'"{name}"' not in document)
    assert missing == []


class Reader:
    """Runs the exact CPU variant of a bundle, written from the document without `fastbert.runtime`."""

    def __init__(self, bundle):
        self.manifest = json.loads((bundle / "manifest.json").read_text())
        assert self.manifest["schema"].partition(".")[0] == "fastbert-bundle/1"
        variant = next(held for held in self.manifest["variants"].values() if "cpu" in held["devices"])
        session = onnxruntime.InferenceSession
        self.embeddings = session(bundle / variant["embeddings"])
        self.stages = [session(bundle / stage) for stage in variant["stages"]]
        self.chain, self.row = session(bundle / variant["chain"]), session(bundle / variant["row"])

    def run_stages(self, number, feeds):
        return self.stages[number].run(["next_hidden_states", "logits", "uncertainty"], feeds)

    def run_chain_model(self, number, feeds):
        digits = (len(self.stages) - 1).bit_length()
        feeds = {**feeds, **{f"digit_{place}": np.array(bool(number >> place & 1)) for place in range(digits)}}
        return self.chain.run(["chain/next_hidden_states", "chain/logits", "chain/uncertainty"], feeds)

    def run(self, ids, mask, types, speed, run_stage):
        names = ("hidden_states", "extended_attention_mask")
        values = self.embeddings.run(names, {"input_ids": ids, "attention_mask": mask, "token_type_ids": types})
        feeds, rows = dict(zip(names, values, strict=True)), np.arange(len(ids))
        exit_layer, answers = np.zeros(len(ids), int), np.zeros((len(ids), len(self.manifest["labels"])), np.float32)
        for number, layer in enumerate(self.manifest["exits"]):
            feeds["hidden_states"], logits, uncertainty = run_stage(number, feeds)
            exits = uncertainty < np.float32(speed)
            if layer == self.manifest["layers"] - 1:
                exits[:] = True
            exit_layer[rows[exits]], answers[rows[exits]] = layer, logits[exits]
            rows, feeds = rows[~exits], {name: value[~exits] for name, value in feeds.items()}
            if not len(rows):
                break
        return exit_layer, answers

    def run_row(self, ids, mask, types, speed):
        exit_layer, answers = [], []
        for row, length in enumerate(mask.sum(axis=1)):
            feeds = {"input_ids": ids[[row], :length], "token_type_ids": types[[row], :length]}
            logits, layer = self.row.run(["logits", "exit_layer"], {**feeds, "speed": np.array([speed], np.float32)})
            exit_layer.append(layer[0])
            answers.append(logits[0])
        return np.array(exit_layer), np.array(answers)


@pytest.mark.parametrize("way", ["stages", "chain", "row"])
def test_a_reader_written_from_the_document_gives_the_golden_answers(bundle, way):
    reader = Reader(bundle)
    with np.load(bundle / "golden.npz", allow_pickle=False) as file:
        golden = dict(file)
    inputs = [golden[name] for name in ("input_ids", "attention_mask", "token_type_ids")]
    found = set()
    for speed in SPEEDS:
        if way == "row":
            exit_layer, answers = reader.run_row(*inputs, speed)
        else:
            run_stage = reader.run_stages if way == "stages" else reader.run_chain_model
            exit_layer, answers = reader.run(*inputs, speed, run_stage)
        assert exit_layer.tolist() == golden[f"exit_layer@{speed}"].tolist()
        exits = [reader.manifest["exits"].index(layer) for layer in exit_layer]
        assert np.abs(answers - golden["logits"][np.arange(len(exits)), exits]).max() <= 1e-4
        found |= set(exit_layer.tolist())
    assert found == {0, 1, 2}

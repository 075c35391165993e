"""The early exit of a single row as one model: it exits where it should, and reads its weights from other files."""

import numpy as np
import onnx
import onnxruntime
import pytest

from fastbert.export import ExportOptions, export_bundle
from fastbert.export.graphs.writer import Graph
from fastbert.export.joined.single_row import single_row_model
from fastbert.runtime import Classifier

SIZE = 96  # its matrix is large enough to stay in the file
LENGTH = 5


def write_engines(folder, count):
    """Write embeddings, and stages that add the mask and have the uncertainty 1 - number / count."""
    graph = Graph("embeddings")
    ids = graph.input("input_ids", "int64", ("batch", "sequence"))
    table = np.random.default_rng(0).standard_normal((10, SIZE)).astype(np.float32)
    graph.output(
        graph.op("Gather", graph.weight("table", table), ids), "hidden_states", "float32", ("batch", "sequence", SIZE)
    )
    mask = graph.cast(graph.input("attention_mask", "int64", ("batch", "sequence")), "float32")
    mask = graph.op("Unsqueeze", graph.op("Sub", mask, graph.floats(1.0)), graph.ints([2]))
    graph.output(mask, "extended_attention_mask", "float32", ("batch", "sequence", 1))
    files = [folder / "embeddings.onnx", *(folder / f"stage_{number:02d}.onnx" for number in range(count))]
    files[0].write_bytes(graph.model().SerializeToString())
    for number, file in enumerate(files[1:]):
        graph = Graph(f"stage {number}")
        hidden = graph.input("hidden_states", "float32", ("batch", "sequence", SIZE))
        mask = graph.input("extended_attention_mask", "float32", ("batch", "sequence", 1))
        matrix = np.random.default_rng(number).standard_normal((SIZE, SIZE)).astype(np.float32) / 10
        hidden = graph.linear(graph.op("Add", graph.op("Add", hidden, mask), mask), "dense", matrix, None)
        first = graph.op("Gather", hidden, graph.ints(0), axis=1)
        logits = graph.linear(first, "classifier", matrix[:, :3], np.full(3, number, np.float32))
        level = graph.op("Mul", graph.op("ReduceSum", first, graph.ints([1]), keepdims=0), graph.floats(0.0))
        uncertainty = graph.op("Add", level, graph.floats(1 - number / count))
        graph.output(hidden, "next_hidden_states", "float32", ("batch", "sequence", SIZE))
        graph.output(logits, "logits", "float32", ("batch", 3))
        graph.output(uncertainty, "uncertainty", "float32", ("batch",))
        file.write_bytes(graph.model().SerializeToString())
    return files


def run_one_by_one(files, ids, stop):
    """Run the engines up to stage ``stop``; return its logits and uncertainty."""
    hidden, mask = onnxruntime.InferenceSession(files[0]).run(
        ["hidden_states", "extended_attention_mask"], {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    )
    for file in files[1 : stop + 2]:
        hidden, logits, uncertainty = onnxruntime.InferenceSession(file).run(
            ["next_hidden_states", "logits", "uncertainty"], {"hidden_states": hidden, "extended_attention_mask": mask}
        )
    return logits, uncertainty


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 13])
def test_it_exits_at_the_first_uncertainty_below_the_speed(tmp_path, count):
    files = write_engines(tmp_path, count)
    path = tmp_path / "row.onnx"
    path.write_bytes(single_row_model(files[0], files[1:], range(0, 2 * count, 2)).SerializeToString())
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    assert [one.name for one in session.get_inputs()] == ["input_ids", "speed"]
    ids = np.random.default_rng(1).integers(0, 10, (1, LENGTH))
    for number in range(count):
        level = np.float32(1 - number / count)
        stop = min(number + 1, count - 1)  # it does not exit at a speed equal to the uncertainty
        for speed, expected in ((level, stop), (np.nextafter(level, np.float32(2)), number)):
            feeds = {"input_ids": ids, "speed": np.array([speed], np.float32)}
            logits, uncertainty, exit_layer = session.run(["logits", "uncertainty", "exit_layer"], feeds)
            assert exit_layer.tolist() == [2 * expected]
            for found, right in zip((logits, uncertainty), run_one_by_one(files, ids, expected), strict=True):
                assert np.array_equal(found, right)


def test_it_contains_no_large_weights(tmp_path):
    files = write_engines(tmp_path, 3)
    model = single_row_model(files[0], files[1:], range(3))
    assert len(model.SerializeToString()) < files[1].stat().st_size
    path = tmp_path / "row.onnx"
    path.write_bytes(model.SerializeToString())
    files[2].unlink()
    with pytest.raises(Exception, match="stage_01"):
        onnxruntime.InferenceSession(path)


def test_an_int8_row_is_answered_as_in_a_batch(checkpoint, tmp_path):
    export_bundle(checkpoint, tmp_path / "bundle", ExportOptions(precisions=("int8",)))
    alone, many = (Classifier.load(tmp_path / "bundle", threads=1, batches=batches) for batches in (False, True))
    exits = set()
    for row in checkpoint.sample_rows:
        for speed in (0.0, 0.3, 0.6):
            [found], [expected] = (one.predict([row.text], speed=speed) for one in (alone, many))
            assert found == expected
            exits.add(found.exit_layer)
    assert exits == {0, 1, 2}


@pytest.mark.parametrize(
    ("kind", "inputs", "name"),
    [
        ("Neg", ["extended_attention_mask"], "other"),
        ("Add", ["next_hidden_states", "extended_attention_mask"], "logits"),
    ],
)
def test_any_other_use_of_the_mask_is_refused(tmp_path, kind, inputs, name):
    files = write_engines(tmp_path, 2)
    stage = onnx.load(files[1])
    stage.graph.node.append(onnx.helper.make_node(kind, inputs, [name], name="wrong"))
    onnx.save(stage, files[1])
    with pytest.raises(ValueError, match=f"{kind} wrong reads extended_attention_mask"):
        single_row_model(files[0], files[1:], range(2))

"""Engines whose exits are known, and what every model of a single row must do with them."""

import numpy as np
import onnx
import onnxruntime

from fastbert.export.graphs.writer import Graph

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


def check_exits(model, files, count):
    """Check that a model exits at the first uncertainty below the speed, with that engine's answer.

    :param model: in the folder of the engines, with an exit after every second layer.
    """
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model)
    assert [one.name for one in session.get_inputs()] == ["input_ids", "speed"]
    ids = np.random.default_rng(1).integers(0, 10, (1, LENGTH))
    for number in range(count):
        level = np.float32(1 - number / count)
        stop = min(number + 1, count - 1)  # it does not exit at a speed equal to the uncertainty
        for speed, expected in ((level, stop), (np.nextafter(level, np.float32(2)), number)):
            feeds = {"input_ids": ids, "speed": np.array([speed], np.float32)}
            logits, uncertainty, exit_layer = session.run(["logits", "uncertainty", "exit_layer"], feeds)
            assert exit_layer.tolist() == [2 * expected]
            for found, right in zip((logits, uncertainty), _run_one_by_one(files, ids, expected), strict=True):
                assert np.array_equal(found, right)


def _run_one_by_one(files, ids, stop):
    """Run the engines up to stage ``stop``; return its logits and uncertainty."""
    hidden, mask = onnxruntime.InferenceSession(files[0]).run(
        ["hidden_states", "extended_attention_mask"], {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    )
    for file in files[1 : stop + 2]:
        hidden, logits, uncertainty = onnxruntime.InferenceSession(file).run(
            ["next_hidden_states", "logits", "uncertainty"], {"hidden_states": hidden, "extended_attention_mask": mask}
        )
    return logits, uncertainty

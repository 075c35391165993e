"""The model of all stages: it runs the one asked for, and reads its weights from the stages' files."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbert.export.graphs.writer import Graph
from fastbert.export.joined.all_stages import all_stages_model
from fastbert.runtime.tensors import stage_digits

SIZE = 96  # large enough for its matrix to stay in the stage's file


def write_stages(folder, count):
    """Write stages that multiply by different matrices."""
    files = []
    for number in range(count):
        graph = Graph(f"stage {number}")
        value = graph.input("x", "float32", ("batch", SIZE))
        matrix = np.random.default_rng(number).standard_normal((SIZE, SIZE)).astype(np.float32)
        graph.output(
            graph.linear(value, "dense", matrix, np.full(SIZE, number // 2, np.float32)), "y", "float32", ("b", SIZE)
        )
        files.append(folder / f"stage_{number:02d}.onnx")
        files[-1].write_bytes(graph.model().SerializeToString())
    return files


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 12, 13])
def test_it_runs_the_stage_asked_for(tmp_path, count):
    files = write_stages(tmp_path, count)
    path = tmp_path / "chain.onnx"
    path.write_bytes(all_stages_model(files).SerializeToString())
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    value = np.random.default_rng(99).standard_normal((3, SIZE)).astype(np.float32)
    for number, file in enumerate(files):
        [expected] = onnxruntime.InferenceSession(file).run(["y"], {"x": value})
        digits = {name: np.array(digit) for name, digit in stage_digits(number, count).items()}
        assert {one.name for one in session.get_inputs()} == {"x", *digits}
        [found] = session.run(["chain/y"], {"x": value, **digits})
        assert np.array_equal(expected, found)


def test_it_contains_no_large_weights(tmp_path):
    files = write_stages(tmp_path, 3)
    model = all_stages_model(files)
    assert len(model.SerializeToString()) < files[0].stat().st_size
    path = tmp_path / "chain.onnx"
    path.write_bytes(model.SerializeToString())
    files[1].unlink()
    with pytest.raises(Exception, match="stage_01"):
        onnxruntime.InferenceSession(path)


@given(st.integers(2, 200), st.data())
def test_digits_are_the_binary_form_of_the_stage(count, data):
    number = data.draw(st.integers(0, count - 1))
    digits = stage_digits(number, count)
    assert sum(digit << int(name.removeprefix("digit_")) for name, digit in digits.items()) == number
    assert len(digits) == len(bin(count - 1)) - 2

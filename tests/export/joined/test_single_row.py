"""The early exit of a single row as one model: it exits where it should, and reads its weights from other files."""

import onnx
import onnxruntime
import pytest
from support.single_rows import check_exits, write_engines

from fastbert.export import ExportOptions, export_bundle
from fastbert.export.joined.single_row import single_row_model
from fastbert.runtime import Classifier


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 13])
def test_it_exits_at_the_first_uncertainty_below_the_speed(tmp_path, count):
    files = write_engines(tmp_path, count)
    path = tmp_path / "row.onnx"
    path.write_bytes(single_row_model(files[0], files[1:], range(0, 2 * count, 2)).SerializeToString())
    check_exits(path, files, count)


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

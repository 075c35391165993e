import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from support.single_rows import LENGTH, check_exits, write_engines

from studies import inner_exits
from studies.inner_exits import FORMS, READERS, build, early_exit, smallest_graph


def ifs(graph):
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from ifs(attribute.g)
        if node.op_type == "If":
            yield node


@pytest.mark.parametrize("form", FORMS)
def test_every_form_exits_where_it_should(tmp_path, form):
    files = write_engines(tmp_path, 5)
    model = early_exit(tmp_path, form)
    # `early_exit` counts the stages, where these engines have an exit after every second layer
    for value in _constants(model.graph, "layer"):
        value.CopyFrom(onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(value), value.name))
    path = tmp_path / "form.onnx"
    path.write_bytes(model.SerializeToString())
    check_exits(path, files, 5)


def _constants(graph, name):
    yield from (value for value in graph.initializer if value.name.endswith(f"/{name}"))
    for node in graph.node:
        for attribute in node.attribute:
            yield from _constants(attribute.g, name)


def test_the_forms_differ_as_they_say(tmp_path):
    write_engines(tmp_path, 5)
    outputs, empty = {}, {}
    for form in FORMS:
        graph = early_exit(tmp_path, form).graph
        outputs[form] = [len(node.output) for node in ifs(graph)]
        empty[form] = sum("no_tokens" in name for node in ifs(graph) for name in _read(node))
    row, read_only, equal, nested = FORMS
    assert outputs == {row: [4] * 4, read_only: [4, 4, 3, 3], equal: [4] * 4, nested: [3] * 4}
    assert [empty[form] for form in (row, equal, nested)] == [4, 0, 0]


def _read(choice):
    """Yield what the branches of an ``If`` copy."""
    for attribute in choice.attribute:
        yield from (name for node in attribute.g.node if node.op_type == "Identity" for name in node.input)


def test_a_fixed_length_is_in_the_model(tmp_path):
    write_engines(tmp_path, 2)
    ids, speed = early_exit(tmp_path, FORMS[0], tokens=LENGTH).graph.input
    assert [dim.dim_value for dim in ids.type.tensor_type.shape.dim] == [1, LENGTH]
    assert [dim.dim_value for dim in speed.type.tensor_type.shape.dim] == [1]


FAILS = {"nobody reads": "removeDeadLayers", "another If reads": "Data-dependent shapes are only allowed in the top"}


@pytest.mark.parametrize("rows", [4, 1])
@pytest.mark.parametrize("reader", READERS)
def test_the_smallest_graphs_are_valid_and_fail_where_the_study_says(rows, reader):
    model = smallest_graph(rows=rows, reader=reader)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for condition, expected in ((True, {"sum": 0.0, "next": 0.0}), (False, {"sum": 32.0, "next": 1.0})):
        found = session.run(None, {"condition": np.array(condition), "value": np.ones((4, 8), np.float32)})
        named = dict(zip((value.name for value in session.get_outputs()), found, strict=True))
        assert all(named[name] == expected[name] for name in named if name != "first")
        assert "first" not in named or len(named["first"]) == (rows if condition else 4)
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX")
    outcome = build(model, (4, 4))
    assert outcome["built"] is (rows == 4 or reader not in FAILS)
    if not outcome["built"]:
        # a later version that builds these may build row.onnx, too: export/joined/single_row_engine.py
        assert FAILS[reader] in outcome["reason"]
        assert outcome["stopped_in"] == "the builder"


def test_the_report_has_every_graph(tmp_path, monkeypatch, capsys):
    asked = []

    def built(model, tokens):
        asked.append((len(model.graph.node), tokens))
        return {"built": True, "layers": 1, "plan_bytes": 1_000_000, "seconds": 0.1}

    monkeypatch.setattr(inner_exits, "build", built)
    monkeypatch.setattr(inner_exits, "SHAPES", ((2, 48),))
    monkeypatch.setattr(inner_exits, "_library", lambda: (type("trt", (), {"__version__": "1.7"}), None))
    monkeypatch.setattr(sys, "argv", ["inner_exits", "--output", str(tmp_path / "report.json")])
    inner_exits.main()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["tensorrt_rtx"] == "1.7"
    assert len(report["an If with an output"]) == 6
    forms = report["2 layers x 48, fp16"]
    assert list(forms) == [f"{form}, {length}" for form in FORMS for length in ("128 tokens", "1 to 128 tokens")]
    assert [tokens for _, tokens in asked[6:]] == [(1, 128)] * 8
    assert capsys.readouterr().out.count("1.0 MB in 0.1 s") == 14

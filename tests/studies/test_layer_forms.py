import numpy as np
import onnxruntime
import pytest

from fastbert.export.graphs.writer import Graph
from studies import layer_forms
from studies.layer_forms import FORMS, compare_forms, layer_graph


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_form_is_compared_with_the_exported_one(precision, monkeypatch):
    def medians(systems, runs, rest):
        assert {system()[0].shape for system in systems.values()} == {(1, 5, 48)}
        return {name: 4.0 + number for number, name in enumerate(systems)}

    monkeypatch.setattr(layer_forms, "alternating_medians", medians)
    found = compare_forms(48, 5, precision, runs=3)
    assert found == {name: 1 + number / 4 for number, name in enumerate(FORMS)}


def test_all_forms_compute_the_same_layer():
    value = np.random.default_rng(1).standard_normal((1, 6, 48)).astype(np.float32)
    results = {}
    for name, (form, _) in FORMS.items():
        session = onnxruntime.InferenceSession(layer_graph(Graph("layer"), 48, **form))
        mask = np.zeros((1, 1, 6 if form.get("fused_attention") else 1, 6), np.float32)
        mask[..., 4:] = -10000.0
        results[name] = session.run(None, {"hidden_states": value, "mask": mask})[0]
    for name, result in results.items():
        assert np.abs(result - results["as exported"]).max() < (1e-3 if name == "gelu tanh" else 1e-5), name

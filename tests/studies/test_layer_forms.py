import numpy as np
import onnxruntime
import pytest

from fastbert.export.graphs.writer import Graph
from studies.layer_forms import FORMS, _layer, compare_forms


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_form_is_timed_against_the_one_that_is_exported(precision):
    found = compare_forms(48, 5, precision, runs=3)
    assert list(found) == list(FORMS)
    assert found["as exported"] == 1.0
    assert min(found.values()) > 0


def test_all_forms_compute_the_same_layer():
    value = np.random.default_rng(1).standard_normal((1, 6, 48)).astype(np.float32)
    results = {}
    for name, (form, _) in FORMS.items():
        session = onnxruntime.InferenceSession(_layer(Graph("layer"), 48, **form))
        mask = np.zeros((1, 1, 6 if form.get("fused_attention") else 1, 6), np.float32)
        mask[..., 4:] = -10000.0
        results[name] = session.run(None, {"hidden_states": value, "mask": mask})[0]
    for name, result in results.items():
        assert np.abs(result - results["as exported"]).max() < (1e-3 if name == "gelu tanh" else 1e-5), name

import numpy as np

from fastbert.runtime import Classifier
from fastbert.uncertainty import MEASURES
from studies import uncertainty_cost
from studies.uncertainty_cost import compare_in_both_orders, write_bundles


def test_every_measure_is_timed_in_both_orders_on_the_same_weights(tmp_path, monkeypatch):
    bundles = write_bundles(2, 48, 3, tmp_path)
    ids = np.array([[2, 5, 7]])
    every = {measure: Classifier.load(bundle, threads=1).run_all_exits(ids) for measure, bundle in bundles.items()}
    assert every.keys() == MEASURES.keys()
    assert np.array_equal(every["entropy"][0], every["margin"][0])
    assert not np.allclose(every["entropy"][1], every["margin"][1])
    orders = []

    def medians(systems, runs, rest):
        assert {system().exit_layer.tolist()[0] for system in systems.values()} == {1}
        orders.append([*systems])
        return {"entropy": 2.0, "margin": 2.0 + len(orders), "entropy again": 2.0}

    monkeypatch.setattr(uncertainty_cost, "alternating_medians", medians)
    found = compare_in_both_orders(bundles, 5, 3)
    assert found == {"entropy": 1.0, "margin": 1.75, "entropy again": 1.0, "entropy, ms": 2.0}
    assert orders == [["entropy", "margin", "entropy again"], ["entropy again", "margin", "entropy"]]

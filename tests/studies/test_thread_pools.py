import json

import pytest

from studies import targets, thread_pools


@pytest.mark.parametrize("shared", [False, True])
def test_every_setting_is_measured_against_the_whole_model(tmp_path, shared):
    targets.make_bundle(2, 48, str(tmp_path))
    text = targets.in_child("compare_pools", str(tmp_path), "fp32", 2, 1, shared, module="thread_pools")
    found = json.loads(text)
    assert set(found) == {"whole model", *([thread_pools.SHARED] if shared else thread_pools.SETTINGS)}
    assert found["whole model"]["times_whole_model"] == 1.0
    assert all(figures["idle_cpu_after_a_run_ms"] >= 0 for figures in found.values())

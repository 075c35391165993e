import json

import pytest

from fastbert.benchmarks import targets, thread_pools


@pytest.mark.parametrize("shared", [False, True])
def test_every_setting_is_measured_against_the_whole_model(tmp_path, shared, monkeypatch):
    monkeypatch.chdir(tmp_path)
    targets.make_bundle(2, 48, str(tmp_path))
    found = json.loads(targets.in_child("compare_pools", str(tmp_path), 2, shared, module="thread_pools"))
    names = {"shared"} if shared else set(thread_pools._SETTINGS)
    assert set(found) == {"whole model", *names}
    assert found["whole model"]["times_whole_model"] == 1.0

import json

import numpy as np
import pytest

from fastbert.runtime import Classifier
from studies import random_bundle, thread_pools


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("pools")
    random_bundle.make_bundle(3, 48, str(path))
    return path


@pytest.mark.parametrize("form", ["stages", "chain", "row"])
def test_every_form_of_the_chain_runs_all_stages(directory, form):
    classifier = Classifier.load(directory / "bundle", threads=1)
    ids = np.random.default_rng(0).integers(3, 1000, (1, 9))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    variant = classifier.manifest.variant_for("cpu")
    call = thread_pools.chain_call(directory / "bundle", variant, form, feeds, 1, 10)
    assert np.allclose(call(), classifier.run(ids, speed=0.0).logits, atol=1e-5)


def test_every_setting_is_compared_with_the_whole_model(directory, monkeypatch):
    few = dict(list(thread_pools.SETTINGS.items())[::4])
    monkeypatch.setattr(thread_pools, "SETTINGS", few)
    monkeypatch.setattr(thread_pools.time, "sleep", lambda _: None)
    times = {name: 2.0 + number for number, name in enumerate(few)} | {"whole model": 2.0}
    monkeypatch.setattr(thread_pools, "alternating_medians", lambda systems, runs, rest: {n: times[n] for n in systems})
    found = json.loads(thread_pools.compare_pools(str(directory), "fp32", 1, 1, False))
    assert [one["times_whole_model"] for one in found.values()] == [1.0, 1.5, 2.0, 1.0]
    assert list(found) == [*few, "whole model"]


def test_the_global_pool_has_a_process_of_its_own(directory):
    found = json.loads(random_bundle.in_child("thread_pools", "compare_pools", str(directory), "fp32", 2, 1, True))
    assert list(found) == [thread_pools.GLOBAL_POOL, "whole model"]
    assert found["whole model"]["times_whole_model"] == 1.0

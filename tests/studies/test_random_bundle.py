import pytest

from fastbert.runtime.manifest import read_manifest
from studies import random_bundle


def test_bundles_are_made_once_and_deleted_with_their_object(monkeypatch):
    made = []
    monkeypatch.setattr(random_bundle, "in_child", lambda *arguments: made.append(arguments))
    bundles = random_bundle.Bundles()
    one, again, other = bundles.get(2, 48), bundles.get(2, 48), bundles.get(2, 48, 64)
    assert one == again != other
    assert [(module, function, *rest[:2]) for module, function, *rest in made] == [
        ("random_bundle", "make_bundle", 2, 48)
    ] * 2


def test_a_bundle_has_the_shape_and_precisions_asked_for(tmp_path):
    written = random_bundle.make_bundle(2, 48, str(tmp_path), ("fp32", random_bundle.int8_here()), 32)
    manifest = read_manifest(tmp_path / "bundle")
    assert (manifest.layers, manifest.hidden_size) == (2, 48)
    assert [variant.name for variant in manifest.variants] == ["fp32", random_bundle.int8_here()]
    assert (tmp_path / "whole.onnx").stat().st_size == written


def test_a_failure_in_a_child_is_an_error():
    with pytest.raises(RuntimeError, match="chain_overhead failed"):
        random_bundle.in_child("measures", "chain_overhead", "/nowhere", 8, 1, 1)

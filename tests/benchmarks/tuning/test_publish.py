import json
import os
import re
import threading

import pytest

from fastbert.benchmarks.tuning.publish import require_writable_bundle, write_point
from fastbert.export.manifest import ManifestWriter
from fastbert.runtime.errors import BundleError, UsageError
from fastbert.runtime.manifest import MANIFEST, read_manifest
from fastbert.runtime.operating_points import variant_digest


def record(bundle, **changes):
    manifest = read_manifest(bundle)
    digest = variant_digest(manifest, manifest.variants[0])
    return {"speed": 0.3, "variant": "fp32", "variant_sha256": digest, **changes}


def test_a_point_is_added_and_replaced(bundle_copy):
    before = json.loads((bundle_copy / MANIFEST).read_text())
    assert write_point(bundle_copy, "a", record(bundle_copy)) is None
    assert write_point(bundle_copy, "b", record(bundle_copy, speed=0.4)) is None
    replaced = write_point(bundle_copy, "a", record(bundle_copy, speed=0.5))
    assert (replaced.name, replaced.speed, replaced.variant) == ("a", 0.3, "fp32")
    document = json.loads((bundle_copy / MANIFEST).read_text())
    points = document.pop("operating_points")
    assert document == before
    assert {name: point["speed"] for name, point in points.items()} == {"a": 0.5, "b": 0.4}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", points["a"]["created"])
    ManifestWriter("export").check(bundle_copy / MANIFEST, {**document, "operating_points": points})


def test_engines_that_were_exported_again_are_noticed(bundle_copy):
    before = (bundle_copy / MANIFEST).read_bytes()
    for changes in ({"variant_sha256": "0" * 64}, {"variant": "int8"}):
        with pytest.raises(BundleError, match="was exported or built again while it was tuned. Nothing was written"):
            write_point(bundle_copy, "a", record(bundle_copy, **changes))
    assert (bundle_copy / MANIFEST).read_bytes() == before


def test_a_record_that_a_reader_would_refuse_is_not_written(bundle_copy):
    with pytest.raises(BundleError, match=r"would be damaged: operating_points\.a\.speed"):
        write_point(bundle_copy, "a", record(bundle_copy, speed=2))
    assert read_manifest(bundle_copy).operating_points == {}


def test_writers_at_the_same_time_lose_no_point(bundle_copy):
    point = record(bundle_copy)
    writers = [threading.Thread(target=write_point, args=(bundle_copy, f"p{n}", point)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(read_manifest(bundle_copy).operating_points) == [f"p{n}" for n in range(8)]


def test_a_bundle_that_cannot_be_written_is_said_before_the_work(bundle_copy, monkeypatch):
    def refuse(directory):
        raise OSError(30, os.strerror(30), str(directory))

    require_writable_bundle(bundle_copy)
    monkeypatch.setattr("fastbert.benchmarks.tuning.publish.try_to_write", refuse)
    with pytest.raises(UsageError, match="cannot be written .Read-only file system., and `name` writes"):
        require_writable_bundle(bundle_copy)

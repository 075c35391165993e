import json

import pytest

from fastbert.runtime.errors import BundleError
from fastbert.runtime.manifest import read_manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "has the schema 1; this fastbert reads"),
        ({"exits": [0, 1]}, "fp32 has 3 stages for 2 exits"),
        ({"labels": 3}, r"manifest\.json is damaged: TypeError"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(bundle, tmp_path, change, message):
    document = json.loads((bundle / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(BundleError, match=message):
        read_manifest(tmp_path)

"""A bundle of every precision, made once per session."""

import pytest

from fastbert.export import PRECISIONS, Bounds, ExportOptions, export_bundle


@pytest.fixture(scope="session")
def every_variant(checkpoint, tmp_path_factory):
    """A bundle of every precision and of two exits, which measure the margin, and the report of its export."""
    options = ExportOptions(
        precisions=tuple(PRECISIONS),
        exits=(1,),
        uncertainty="margin",
        bounds=Bounds(max_label_flips=1.0),  # random weights
        verify_data=checkpoint.sample_rows[:12],
    )
    path = tmp_path_factory.mktemp("every") / "bundle"
    return path, export_bundle(checkpoint, path, options)

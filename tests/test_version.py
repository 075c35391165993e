import pytest

import fastbert
from fastbert.version import other_fastbert


def test_the_other_package_of_our_import_name_is_named(tmp_path, monkeypatch):
    assert other_fastbert() is None
    (tmp_path / "fastbert-0.9.dist-info").mkdir()
    (tmp_path / "fastbert-0.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: fastbert\nVersion: 0.9\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(vars(fastbert), "Classifier", raising=False)  # as before its first use
    assert "fastbert 0.9 is installed" in other_fastbert()
    with pytest.raises(ImportError, match="another project with the same import name"):
        fastbert.Classifier  # noqa: B018


def test_the_command_line_names_it_too(run_cli, tmp_path, monkeypatch):
    monkeypatch.setattr("fastbert.cli.other_fastbert", lambda: "The package fastbert 0.9 is installed.")
    assert run_cli("--help") == (1, "", "Error: The package fastbert 0.9 is installed.\n")

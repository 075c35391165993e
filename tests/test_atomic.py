import os

import pytest

from fastbert import atomic
from fastbert.atomic import replace_directory
from fastbert.runtime.errors import OutputExistsError


def write(directory, text, **arguments):
    with replace_directory(directory, kind="manifest.json", **arguments) as partial:
        (partial / "file").write_text(text)
        (partial / "manifest.json").write_text("{}")


@pytest.fixture(params=["exchange", "two renames"])
def output(request, tmp_path, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    return tmp_path / "out"


def test_writes_replaces_and_leaves_nothing_else(output):
    write(output, "old", overwrite=False)
    write(output, "new", overwrite=True)
    assert (output / "file").read_text() == "new"
    assert os.listdir(output.parent) == ["out"]


def test_an_error_keeps_the_old(output):
    write(output, "old", overwrite=False)
    with pytest.raises(RuntimeError), replace_directory(output, overwrite=True, kind="manifest.json") as partial:
        (partial / "file").write_text("half")
        raise RuntimeError
    assert (output / "file").read_text() == "old"
    assert os.listdir(output.parent) == ["out"]


def test_refuses_what_exists(output):
    write(output, "old", overwrite=False)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write(output, "new", overwrite=False)
    (output.parent / "plain").write_text("mine")
    with pytest.raises(OutputExistsError, match="is a file"):
        write(output.parent / "plain", "new", overwrite=True)
    assert (output.parent / "plain").read_text() == "mine"


def test_overwrite_takes_only_its_own_kind_or_an_empty_directory(output):
    output.mkdir()
    write(output, "first", overwrite=True)
    (output / "manifest.json").unlink()
    with pytest.raises(OutputExistsError, match="no manifest.json, so --overwrite would lose"):
        write(output, "new", overwrite=True)
    assert (output / "file").read_text() == "first"


def test_a_link_is_replaced_and_what_it_leads_to_stays(output):
    target = output.with_name("target")
    write(target, "old", overwrite=False)
    output.symlink_to(target)
    write(output, "new", overwrite=True)
    assert ((target / "file").read_text(), (output / "file").read_text()) == ("old", "new")
    assert sorted(os.listdir(output.parent)) == ["out", "target"]

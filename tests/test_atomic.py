import os

import pytest

from fastbert import atomic
from fastbert.atomic import replace_directory
from fastbert.runtime.errors import OutputExistsError


def write(directory, text, **arguments):
    with replace_directory(directory, **arguments) as partial:
        (partial / "file").write_text(text)


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
    with pytest.raises(RuntimeError), replace_directory(output, overwrite=True) as partial:
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

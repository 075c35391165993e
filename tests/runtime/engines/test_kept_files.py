import gc
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.factories import make_checkpoint, make_rows

from fastbert.export import export_bundle
from fastbert.runtime import Classifier
from fastbert.runtime.engines.kept_files import KeptFiles
from fastbert.runtime.errors import BundleError

TEXTS = [row.text for row in make_rows(12, seed=5)]


@pytest.fixture(scope="module")
def releases(tmp_path_factory, bundle):
    """Two bundles with the same labels and shapes, but different weights."""
    other = make_checkpoint(seed=1)
    path = tmp_path_factory.mktemp("releases")
    export_bundle(other, path / "2")
    shutil.copytree(bundle, path / "1")
    return path


def relink(current, releases, _):
    current.unlink()
    current.symlink_to(releases / "2")


def unlink(current, *_):
    current.unlink()


def overwrite(_, releases, target):
    """As `fastbert export --overwrite` does: move the new one into place and remove the old one."""
    target.rename(target.with_name("old"))
    shutil.copytree(releases / "2", target)
    shutil.rmtree(target.with_name("old"))


def remove(_, __, target):
    shutil.rmtree(target)


def change_directory(current, *_):
    os.chdir("/")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("happens", [relink, unlink, overwrite, remove, change_directory])
def test_a_classifier_is_one_version_whatever_happens_to_its_path(happens, threads, releases, tmp_path, monkeypatch):
    shutil.copytree(releases / "1", tmp_path / "target")
    (tmp_path / "current").symlink_to("target")
    monkeypatch.chdir(tmp_path)
    live = Classifier.load("current", threads=threads)
    alone = [live.predict([text], speed=0)[0] for text in TEXTS]
    happens(tmp_path / "current", releases, tmp_path / "target")
    for many in (live.predict(TEXTS, speed=0), live.predict(TEXTS, speed=0)):
        for one, other in zip(alone, many, strict=True):
            assert np.allclose(list(one.probabilities.values()), list(other.probabilities.values()), atol=1e-5)
    assert [live.predict([text], speed=0)[0] for text in TEXTS] == alone


def test_files_written_in_place_are_an_error(releases, tmp_path):
    shutil.copytree(releases / "1", tmp_path / "bundle")
    live = Classifier.load(tmp_path / "bundle", threads=1)
    live.predict(TEXTS[:1])
    shutil.copytree(releases / "2", tmp_path / "bundle", dirs_exist_ok=True)
    for texts in (TEXTS[:1], TEXTS):
        with pytest.raises(BundleError, match="was written to since this classifier was loaded.*Load the bundle again"):
            live.predict(texts)


@pytest.mark.parametrize("changes", ["manifest.json", "fp32/stage_01.onnx", "tokenizer.json"])
def test_a_bundle_that_changes_while_it_is_loaded_is_refused(changes, releases, tmp_path, monkeypatch):
    shutil.copytree(releases / "1", tmp_path / "bundle")
    check = KeptFiles.__init__

    def replaced(kept, paths):
        check(kept, paths)
        shutil.copy(releases / "2" / changes, tmp_path / "bundle" / changes)

    monkeypatch.setattr(KeptFiles, "__init__", replaced)
    with pytest.raises(BundleError, match="was replaced or written to while it was loaded. Load it again"):
        Classifier.load(tmp_path / "bundle", threads=1)


def test_open_files_are_closed_with_the_first_batch_or_with_the_classifier(bundle):
    def held():
        files = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
        return sum(os.readlink(file).startswith(str(bundle)) for file in files if file.is_symlink())

    gc.collect()
    before = held()
    live = Classifier.load(bundle, threads=1)
    assert held() > before + 1
    live.predict(["good", "bad"])
    assert held() == before + 1  # the embedding table, which single rows still read
    del live
    gc.collect()
    assert held() == before


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"nowhere\.onnx could not be opened: No such file"):
        KeptFiles([tmp_path / "nowhere.onnx"])

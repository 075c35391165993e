import shutil

import pytest
from support.factories import make_rows, write_tsv


@pytest.fixture
def bundle_copy(bundle, tmp_path):
    path = tmp_path / "bundle"
    shutil.copytree(bundle, path)
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("tune") / "dev.tsv", make_rows(400, seed=11))


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("tune") / "texts.tsv", make_rows(400, seed=11), labels=False)

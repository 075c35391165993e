"""A tiny random BERT, its checkpoint and its bundle, made once per session."""

import gc
import json
import os
import shutil
import signal
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads only wait for each other, in child processes too

import pytest
import torch
from support.factories import make_checkpoint, wordpiece_tokenizer

from fastbert import cli
from fastbert.checkpoint import Checkpoint, save_checkpoint
from fastbert.export import export_bundle
from fastbert.runtime import Classifier
from fastbert.runtime.manifest import MANIFEST, file_record
from fastbert.runtime.tokenization import TOKENIZER

pytest_plugins = ["support.browser", "support.doubles.fixtures"]
torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's background job; tests of Ctrl-C need its usual effect
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collections: it is much, and PyTorch's training collects in each phase."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    return make_checkpoint()


@pytest.fixture(scope="session")
def checkpoint_dir(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model"
    save_checkpoint(path, checkpoint)
    return path


@pytest.fixture(scope="session")
def bundle(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "bundle"
    export_bundle(checkpoint, path)
    return path


@pytest.fixture(scope="session")
def classifier(bundle: Path) -> Classifier:
    return Classifier.load(bundle, threads=1)


@pytest.fixture(scope="session")
def text_bundle(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with a tokenizer that the C library has; the ids of its golden rows stay the same."""
    path = tmp_path_factory.mktemp("text") / "bundle"
    shutil.copytree(bundle, path)
    wordpiece_tokenizer().save(str(path / TOKENIZER))
    manifest = json.loads((path / MANIFEST).read_text())
    manifest["files"][TOKENIZER] = file_record(path / TOKENIZER)
    (path / MANIFEST).write_text(json.dumps(manifest))
    return path


@pytest.fixture(scope="session")
def text_classifier(text_bundle: Path) -> Classifier:
    return Classifier.load(text_bundle, threads=1)


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call the command line in this process: arguments -> (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fastbert", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run

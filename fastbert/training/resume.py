"""The work directory of a run: what a resume needs, who may use it, and when it is removed.

``OUTPUT.training/`` is beside the output, also for an output of ``.``. Where the output is a mount point, such as a
container's volume, or its parent is not writable, it is ``OUTPUT/.training/``. Only one run at a time may use it.

::

    options.json    the options of the run; a resume must have the same
    finetune/       Trainer's checkpoints of the first phase
    finetuned/      the model after the first phase
    distill/        Trainer's checkpoints of the second phase
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import sort_checkpoints

from fastbert.files.atomic import replace_file
from fastbert.files.claims import Claim
from fastbert.files.disk import full_disk_named
from fastbert.files.places import work_directory
from fastbert.runtime.errors import OutputExistsError, UsageError
from fastbert.training.options import TrainOptions

FINETUNED = "finetuned"
_OPTIONS = "options.json"
_log = logging.getLogger(__name__)


def open_work_directory(options: TrainOptions, *, overwrite: bool, resume: bool, prepare: bool) -> Path:
    """Return the work directory of a run: a new and empty one, or with ``resume`` the stopped run's.

    :param overwrite: discard a stopped run.
    :param prepare: whether to create the directory: true in the main process only.
    :raises UsageError: there is nothing to resume, the stopped run had other options, or the directory is not writable.
    :raises OutputExistsError: the directory holds a stopped run, a running one, or something else.
    """
    work = work_directory(options.output)
    record, asked = work / _OPTIONS, options_record(options)
    if resume:
        _check_same_options(record, asked)
        return work
    if not prepare:
        return work
    if record.is_file() and not overwrite:
        with _exclusive(work):
            raise OutputExistsError(f"{work} holds a stopped run. Continue it with `resume`, or use `overwrite`.")
    if os.path.lexists(work) and not record.is_file() and not _is_empty_directory(work):
        raise OutputExistsError(f"{work} is in the way: it is not a stopped run. Move it, or choose another `output`.")
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _exclusive(work):
            for entry in work.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            replace_file(record, (json.dumps(asked, indent=2) + "\n").encode())
    except OSError as error:
        raise UsageError(f"{work} cannot be written: {error.strerror}. Choose another `output`.") from error
    return work


def options_record(options: TrainOptions) -> dict[str, Any]:
    """Return options as JSON has them."""
    record: dict[str, Any] = json.loads(json.dumps(asdict(options), default=str))
    return record


@contextmanager
def discard_unless_resumable(work: Path, *, main_process: bool) -> Iterator[None]:
    """Hold the work directory. If the run fails, remove it when there is nothing to resume, or say how to resume."""
    with _exclusive(work) if main_process else nullcontext():
        try:
            with full_disk_named(work, work):
                yield
        except BaseException:
            if main_process and not (work / FINETUNED).is_dir() and not any(map(last_whole_checkpoint, work.iterdir())):
                shutil.rmtree(work)
            elif main_process:
                _log.warning("The run is kept in %s. Continue it with `resume` and the same options.", work)
            raise


def last_whole_checkpoint(directory: Path) -> str | None:
    """Return the Trainer's newest complete checkpoint: one whose state, which is written last, is whole."""
    for path in reversed(sort_checkpoints(str(directory)) if directory.is_dir() else []):
        try:
            json.loads((Path(path) / TRAINER_STATE_NAME).read_bytes())
        except (OSError, ValueError):
            continue
        return str(path)
    return None


def _check_same_options(record: Path, asked: dict[str, Any]) -> None:
    if not record.is_file():
        raise UsageError(f"There is nothing to resume: {record.parent} holds no stopped run. Start without `resume`.")
    try:
        stopped = dict(json.loads(record.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{record} is damaged: {error}. Start again with `overwrite`.") from error
    differing = [key for key in {**stopped, **asked} if stopped.get(key) != asked.get(key)]
    if differing:
        raise UsageError(
            f"The run in {record.parent} was started with other options ({', '.join(differing)}; see {record}). "
            "Resume with the same ones, or start again with `overwrite`."
        )


def _is_empty_directory(work: Path) -> bool:
    """Whether it is empty, except for the half-written options of a run that was killed as it started."""
    return (
        work.is_dir()
        and not work.is_symlink()
        and all(path.name.startswith(f".{_OPTIONS}.") for path in work.iterdir())
    )


@contextmanager
def _exclusive(work: Path) -> Iterator[None]:
    """Keep other runs out of the directory, in any container of this machine."""
    try:
        claim = Claim(work.resolve())
    except BlockingIOError as error:
        raise OutputExistsError(f"Another run uses {work}. Wait for it, or choose another `output`.") from error
    try:
        yield
    finally:
        claim.release()

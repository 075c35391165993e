"""Processes for tests. They are forked from a server that has imported the library, since that takes seconds."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path

from transformers import Trainer, TrainerCallback

from fastbert import cli
from fastbert.checkpoint import load_checkpoint
from fastbert.export import ExportOptions, export_bundle
from fastbert.training import TrainOptions, train

forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(["fastbert.cli", "fastbert.export", "fastbert.training"])


def train_until_killed(options: TrainOptions, *, phase: str, step: int, resume: bool) -> None:
    """Train, and die by SIGKILL at the end of a step of a phase."""

    class Kill(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if Path(args.output_dir).name == phase and state.global_step == step:
                os.kill(os.getpid(), signal.SIGKILL)

    init = Trainer.__init__

    def init_with_kill(self, **arguments):
        init(self, **arguments)
        self.add_callback(Kill)

    Trainer.__init__ = init_with_kill
    train(options, resume=resume)


def export_until_killed(checkpoint: Path, output: Path, began: Event) -> None:
    """Export again and again over the same bundle.

    :param began: set when the first export begins.
    """
    loaded = load_checkpoint(checkpoint)
    options = ExportOptions(verify_data=loaded.sample_rows[:4])
    began.set()
    while True:
        export_bundle(loaded, output, options, overwrite=True)


def run_command(arguments: Sequence[object], environment: dict[str, str], stdout: Path) -> None:
    """Run the command line with additional environment variables and its stdout in a file."""
    os.environ.update(environment)
    sys.argv = ["fastbert", *map(str, arguments)]
    sys.stdout = stdout.open("w")
    cli.main()

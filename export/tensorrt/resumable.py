"""A build's folder, which keeps what a stopped build has done."""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fastbert.files.atomic import replace_file
from fastbert.runtime.errors import EngineError
from fastbert.runtime.manifest import file_record

_STATE = "state.json"


class ResumableBuild:
    """The hidden folder of a build and the engines that are complete in it.

    Only the process that holds `fastbert.export.exclusive.exclusive_bundle` may use it.

    :param folder: made if it is missing. Engines in it that were built with other settings are removed.
    :param settings: what decides whether an engine can be used again: source variant, versions, GPU, profiles.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self._settings = settings
        state_file = folder / _STATE
        state = json.loads(state_file.read_bytes()) if state_file.is_file() else {}
        if state.get("settings") != settings:
            shutil.rmtree(folder, ignore_errors=True)
            state = {"engines": {}}
        folder.mkdir(exist_ok=True)
        for half_written in folder.glob(".*.partial-*"):  # by a killed build
            half_written.unlink()
        self._engines: dict[str, dict[str, Any]] = state["engines"]

    @property
    def low_precision(self) -> dict[str, float]:
        """Engine -> share of its layers in float16 or int8, where the library can tell."""
        shares = {graph: record["low_precision"] for graph, record in self._engines.items()}
        return {graph: share for graph, share in shares.items() if share is not None}

    def has(self, graph: str, onnx_sha256: str) -> bool:
        """Return whether the engine of this graph is there, complete and unaltered."""
        record, path = self._engines.get(graph), self.folder / f"{graph}.engine"
        return (
            record is not None
            and record["onnx_sha256"] == onnx_sha256
            and path.is_file()
            and file_record(path) == record["file"]
        )

    def add(self, graph: str, plan: bytes, onnx_sha256: str, low_precision: float | None) -> None:
        """Keep an engine.

        :raises EngineError: it cannot be written, as on a full disk.
        """
        path = self.folder / f"{graph}.engine"
        try:
            replace_file(path, plan)
            self._engines[graph] = {
                "onnx_sha256": onnx_sha256,
                "low_precision": low_precision,
                "file": file_record(path),
            }
            state = {"settings": self._settings, "engines": self._engines}
            replace_file(self.folder / _STATE, json.dumps(state, indent=2).encode())
        except OSError as error:
            raise EngineError(
                f"{path} ({len(plan) / 1e6:.1f} MB) cannot be written: {error.strerror}. Make room for it; the engines "
                "that are complete are kept, and the same command builds only what is missing."
            ) from error

    def keep_only(self, graphs: Collection[str]) -> None:
        """Remove the engines that a stopped build made and this one does not want, such as that of a single row."""
        for graph in self._engines.keys() - set(graphs):
            del self._engines[graph]
            (self.folder / f"{graph}.engine").unlink(missing_ok=True)

    def move_to(self, target: Path) -> None:
        """Move the engines to their place in the bundle."""
        shutil.move(self.folder, target)  # not rename, which fails for a folder in a layer of a container image
        (target / _STATE).unlink()

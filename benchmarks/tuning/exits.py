"""Every exit's answer to every row of a data file: computed once, and kept in the bundle for the next call.

The kept file is ``.exits/VARIANT-KEY.npz`` in the bundle. KEY is a digest of all that decides the answers: the engines,
the tokenizer, the manifest's limits, this version of fastbert and the data file. The file repeats it, and has no texts.
"""

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.tuning.measures import MEASURES
from fastbert.data import Row
from fastbert.data.row_counts import count_rows
from fastbert.files.atomic import replace_file
from fastbert.runtime import Classifier
from fastbert.runtime.batching.in_order import WINDOW
from fastbert.runtime.batching.micro_batches import micro_batches
from fastbert.runtime.errors import BundleError
from fastbert.runtime.hardware import usable_cores
from fastbert.runtime.manifest import Manifest, Variant
from fastbert.runtime.operating_points import variant_digest
from fastbert.runtime.tokenization import TOKENIZER, Encoded
from fastbert.version import __version__

KEPT = ".exits"
_FORMAT = 1  # of the kept files; another number, and they are computed again
_GPU_BATCH = 32  # rows
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExitAnswers:
    """What every exit of a variant answers.

    :param answers: int32 [rows, exits], class index.
    :param uncertainty: float32 [rows, exits], as the engines compute it.
    :param other: float32 [rows, exits], of the measure that the bundle does not have (`other_measure`).
    """

    answers: NDArray[np.int32]
    uncertainty: NDArray[np.float32]
    other: NDArray[np.float32]

    def part(self, chosen: NDArray[np.int64]) -> "ExitAnswers":
        """Return the answers to some of the rows."""
        return ExitAnswers(self.answers[chosen], self.uncertainty[chosen], self.other[chosen])


_TYPES = {"answers": np.int32, "uncertainty": np.float32, "other": np.float32}


@dataclass(frozen=True)
class KeptExits:
    """What `exit_answers` found, and where.

    :param computed: whether the exits were run, and not read from an earlier call.
    :param problem: why the results could not be kept for the next call; None: they are kept.
    """

    exits: ExitAnswers
    computed: bool
    problem: str | None = None


def other_measure(manifest: Manifest) -> str:
    """Return the name of the measure that the bundle does not have."""
    return next(name for name in MEASURES if name != manifest.uncertainty)


def exit_answers(
    bundle: Path, manifest: Manifest, variant: Variant, rows: Sequence[Row], data_sha256: str, *, device: str,
    threads: int | None,
) -> KeptExits:  # fmt: skip
    """Return the kept results of an earlier call, or run every exit on every row and keep them.

    :param data_sha256: of the file that the rows are from.
    :param threads: processor threads; None: the cores that this process may use.
    :raises BundleError: the bundle is damaged, or was replaced meanwhile.
    :raises EngineError: the engine cannot run here.
    """
    key = _key(manifest, variant, data_sha256)
    path = bundle / KEPT / f"{variant.name}-{key[:32]}.npz"
    shape = (len(rows), len(manifest.exits))
    kept = _read(path, key, shape, len(manifest.labels))
    if kept is not None:
        return KeptExits(kept, computed=False)
    _log.info("%s: running every exit of %s on %s", bundle, variant.name, count_rows(len(rows)))
    exits = _run(bundle, key, variant, rows, data_sha256, device=device, threads=threads)
    return KeptExits(exits, computed=True, problem=_keep(path, key, exits))


def _key(manifest: Manifest, variant: Variant, data_sha256: str) -> str:
    parts = {
        "format": _FORMAT,
        "version": __version__,  # another one may read or tokenize texts otherwise
        "variant": variant_digest(manifest, variant),
        "tokenizer": manifest.files[TOKENIZER]["sha256"].lower(),
        "data": data_sha256,
        "uncertainty": manifest.uncertainty,
        "limits": [manifest.max_length, manifest.truncation_side, manifest.pad_token_id, manifest.type_vocab_size],
        "exits": manifest.exits,
        "classes": len(manifest.labels),
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _run(
    bundle: Path, key: str, variant: Variant, rows: Sequence[Row], data_sha256: str, *, device: str, threads: int | None
) -> ExitAnswers:
    on_cpu = device == "cpu"
    workers = (threads or usable_cores()) if on_cpu else 1
    classifier = Classifier.load(
        bundle, device=device, variant=variant.name, threads=1 if on_cpu else threads, batches=on_cpu
    )
    if _key(classifier.manifest, variant, data_sha256) != key:
        raise BundleError(f"{bundle} was replaced while it was tuned. Tune it again.")
    other = MEASURES[other_measure(classifier.manifest)]
    exits = np.zeros((len(rows), len(classifier.manifest.exits)), np.int32)
    found = ExitAnswers(exits, exits.astype(np.float32), exits.astype(np.float32))
    by_size = np.argsort([-len(row.text) - len(row.text_pair or "") for row in rows], kind="stable")

    def answer(window: NDArray[np.int64], encoded: Encoded, batch: NDArray[np.int64]) -> None:
        width = int(encoded.attention_mask[batch].sum(axis=1).max())
        arrays = encoded.input_ids, encoded.attention_mask, encoded.token_type_ids
        logits, uncertainty = classifier.run_all_exits(*(array[batch, :width] for array in arrays))
        places = window[batch]  # each row's are written once, whichever thread runs it
        found.answers[places] = logits.argmax(axis=2)
        found.uncertainty[places] = uncertainty
        found.other[places] = other(logits)

    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(rows), WINDOW):
            window = by_size[start : start + WINDOW]
            encoded = classifier.encode([rows[index].text_input for index in window])
            batches = micro_batches(encoded.attention_mask.sum(axis=1), batch_size=None if on_cpu else _GPU_BATCH)
            for _ in pool.map(partial(answer, window, encoded), batches):
                pass
    return found


def _read(path: Path, key: str, shape: tuple[int, int], classes: int) -> ExitAnswers | None:
    """Return the kept results; None: there are none, or they are damaged or of something else."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in _TYPES}
            if file["key"].item() != key:
                return None
    except Exception:  # zipfile, zlib, numpy and the system raise different ones
        return None
    fits = all(array.shape == shape and array.dtype == _TYPES[name] for name, array in arrays.items())
    if not fits:
        return None
    kept = ExitAnswers(**arrays)
    sound = ((kept.answers >= 0) & (kept.answers < classes)).all()
    sound &= all(((values >= 0) & (values <= 1)).all() for values in (kept.uncertainty, kept.other))  # NaN: no
    return kept if sound else None


def _keep(path: Path, key: str, exits: ExitAnswers) -> str | None:
    """Write the results; return why that failed, or None."""
    content = io.BytesIO()
    np.savez(content, key=np.array(key), **{name: getattr(exits, name) for name in _TYPES})
    try:
        replace_file(path, content.getvalue())
    except OSError as error:
        return f"{path.parent} cannot be written: {error.strerror or error}"
    return None

"""A loaded bundle: texts or ids in, predictions out."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbert.runtime.batching import WINDOW, micro_batches, run_in_order
from fastbert.runtime.chain import ChainOutput, Engine, exits_looked_at, run_all_exits, run_chain
from fastbert.runtime.engines import load_engine
from fastbert.runtime.errors import BundleError, UsageError
from fastbert.runtime.exit_rule import ExitRule, exit_rule
from fastbert.runtime.inputs import checked_inputs, is_visible_row
from fastbert.runtime.manifest import MANIFEST, Manifest, check_files, file_versions, read_manifest
from fastbert.runtime.threads import usable_cores
from fastbert.runtime.tokenization import TOKENIZER, TextEncoder, TextInput, Tokens, text_size

__all__ = ["Classifier", "Prediction"]


@dataclass(frozen=True)
class Prediction:
    """One text's answer.

    :param label: the class with the highest probability.
    :param probabilities: class name -> probability.
    :param exit_layer: 0-based layer whose exit answered; layers run = exit_layer + 1.
    :param uncertainty: of that exit, in [0, 1].
    :param truncated: whether the text was cut to the bundle's ``max_length``.
    """

    label: str
    probabilities: Mapping[str, float]
    exit_layer: int
    uncertainty: float
    truncated: bool


class Classifier:
    """An early-exit text classifier. Load it once; it may be shared by threads.

    ::

        classifier = Classifier.load("bundle")
        classifier.predict(["so good"], speed=0.5)[0].label
    """

    def __init__(self, manifest: Manifest, engine: Engine, encoder: TextEncoder, *, exit_every: int = 1) -> None:
        self._manifest = manifest
        self._engine = engine
        self._encoder = encoder
        self._exits = exits_looked_at(manifest.exits, exit_every)

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        *,
        device: str = "cpu",
        variant: str | None = None,
        threads: int | None = None,
        thread_pool: str = "separate",
        exit_every: int = 1,
        cuda_graphs: bool = False,
        batches: bool = False,
        check_contents: bool = True,
    ) -> "Classifier":
        """Load a bundle.

        :param bundle: directory that ``fastbert export`` wrote; it is only read. What is loaded with the first batch is
            held open until then, so that a classifier stays one version whatever happens to the path.
        :param device: one of `fastbert.runtime.engines.DEVICES`.
        :param variant: a variant's name; None: the first one that is for the device.
        :param threads: processor threads for one call; None: the cores that this process may use.
        :param thread_pool: ``"separate"``, ``"shared"`` or ``"host"``: see `fastbert.runtime.engines.cpu.engine.load`.
        :param exit_every: look at every so many exits only, which saves synchronisations of a GPU; the last one counts.
        :param cuda_graphs: replay what lies between two exits as CUDA graphs; a length is slow at first in each thread.
        :param batches: get ready for batches, as for a file of texts, rather than for one text at a time: on the CPU a
            single text has an engine of its own, and what runs batches is otherwise loaded with the first one.
        :param check_contents: compare every file's sha256 with the manifest's; False: only its size.
        :raises BundleError: the bundle is missing, damaged or of another schema.
        :raises EngineError: the engine cannot run here.
        :raises UsageError: no such device or variant, or an option that the device does not have.
        """
        path = _resolved(bundle)  # one version for the classifier's life, wherever a link leads later
        manifest = read_manifest(path)
        chosen = manifest.variant_for(device, variant)
        exits_looked_at(manifest.exits, exit_every)  # refused before anything is read
        files = (*chosen.files, TOKENIZER)
        before = file_versions(path, (MANIFEST, *files))
        check_files(path, manifest, files, contents=check_contents, threads=usable_cores())
        options: dict[str, Any] = {"threads": threads, "thread_pool": thread_pool}
        if device != "cpu":
            options |= {"exit_every": exit_every, "cuda_graphs": cuda_graphs}
        elif exit_every != 1 or cuda_graphs:
            raise UsageError(
                "exit_every and cuda_graphs are for a GPU; on device='cpu' an exit costs nothing to look at."
            )
        else:
            options["batches"] = batches
        loaded = cls.from_engine(path, manifest, load_engine(device, path, chosen, **options), exit_every=exit_every)
        if file_versions(path, before) != before:
            raise BundleError(f"{bundle} was replaced or written to while it was loaded. Load it again.")
        return loaded

    @classmethod
    def from_engine(cls, bundle: Path, manifest: Manifest, engine: Engine, *, exit_every: int = 1) -> "Classifier":
        """Make a classifier of an engine that is loaded; ``bundle`` gives the tokenizer.

        :param exit_every: what the engine was loaded with.
        :raises BundleError: the manifest has other labels than the engine has classes, or the tokenizer is damaged.
        """
        if len(manifest.labels) != engine.classes:
            raise BundleError(
                f"{bundle / MANIFEST} has {len(manifest.labels)} labels; the engines tell {engine.classes} classes "
                "apart. Export the bundle again, or correct the labels where you wrote them yourself."
            )
        return cls(manifest, engine, TextEncoder.from_bundle(bundle, manifest), exit_every=exit_every)

    @property
    def manifest(self) -> Manifest:
        """What the bundle is."""
        return self._manifest

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        return self._manifest.labels

    def predict(
        self,
        texts: Sequence[TextInput],
        *,
        speed: float | None = None,
        batch_size: int | None = None,
        workers: int = 1,
    ) -> list[Prediction]:
        """Classify texts, or pairs of texts as tuples.

        Texts of like length run together, and a batch shrinks as its texts leave.

        :param speed: in [0, 1]; 0: every text runs the whole model; None: the bundle's ``default_speed``.
        :param batch_size: most texts run together; None: as many as are fastest. It changes an answer by no more than
            rounding: what lies beside a text does not matter to it, in int8 neither.
        :param workers: batches run at once, each with the ``threads`` of `load`. For many texts, workers with one
            thread each are faster than one worker with many threads.
        :returns: one prediction a text, in the order of the texts.
        :raises UsageError: ``speed``, ``batch_size`` or ``workers`` is out of range, or a text is no string, or holds a
            token that the model does not have.
        """
        if isinstance(texts, Sequence) and len(texts) == 1:  # without what many texts need
            rule = self._checked(texts, speed, batch_size=batch_size, workers=workers)
            return self._answers(rule, self._encoder.tokenize(texts))
        return list(self.predict_iter(texts, speed=speed, batch_size=batch_size, workers=workers))

    def predict_iter(
        self,
        texts: Iterable[TextInput],
        *,
        speed: float | None = None,
        batch_size: int | None = None,
        workers: int = 1,
        window: int = WINDOW,
    ) -> Iterator[Prediction]:
        """Classify any number of texts in bounded memory; otherwise as `predict`.

        :param window: most texts read ahead, within which those of like length are found; fewer where they are long.
            The first answer comes after so many texts.
        """
        rule = self._checked(texts, speed, batch_size=batch_size, workers=workers, window=window)
        read = 0

        def plan(window_texts: list[TextInput]) -> list[Callable[[], list[tuple[int, Prediction]]]]:
            nonlocal read
            items = self._encoder.tokenize(window_texts, first=read)
            read += len(window_texts)
            batches = micro_batches([len(item.ids) for item in items], batch_size=batch_size)
            return [partial(self._predict_batch, rule, items, rows) for rows in batches]

        return run_in_order(texts, plan, window=window, workers=workers, size=text_size)

    def _checked(self, texts: Iterable[TextInput], speed: float | None, **counts: int | None) -> ExitRule:
        """Check what `predict` and `predict_iter` are asked, and return the rule of the speed."""
        _check_texts(texts)
        for name, value in counts.items():
            if value is not None and (not isinstance(value, int | np.integer) or value < 1):
                raise UsageError(f"{name} is {value!r}; it must be a whole number, at least 1.")
        return exit_rule(self._manifest.default_speed if speed is None else speed)

    def _predict_batch(
        self, rule: ExitRule, items: Sequence[Tokens], rows: NDArray[np.int64]
    ) -> list[tuple[int, Prediction]]:
        return list(zip(rows.tolist(), self._answers(rule, [items[row] for row in rows]), strict=True))

    def _answers(self, rule: ExitRule, items: Sequence[Tokens]) -> list[Prediction]:
        """Run one batch of what the encoder's ``tokenize`` gave."""
        encoded = self._encoder.pad(items)
        output = self._run_chain(rule, encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
        return self._predictions(output, encoded.truncated)

    def run(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        speed: float | None = None,
    ) -> ChainOutput:
        """Classify token ids.

        :param input_ids: integers [batch, sequence], padded on the right.
        :param attention_mask: [batch, sequence], 1 for tokens, 0 for padding; None: no padding.
        :param token_type_ids: [batch, sequence]; None: the bundle's ``default_token_type``, mostly 0.
        :param speed: as in `predict`.
        :returns: arrays in input order; a batch of no rows gives arrays of no rows.
        :raises UsageError: shapes disagree, an id is unknown, a sequence is too long, or a row has no token.
        """
        rule = exit_rule(self._manifest.default_speed if speed is None else speed)
        run_row = self._engine.run_row  # what `run_chain` would come to: at batch 1 each call on the way counts
        if run_row is not None and is_visible_row(self._manifest, input_ids, attention_mask, token_type_ids):
            return ChainOutput._make(run_row(input_ids, token_type_ids, rule.speed32))  # type: ignore[arg-type]
        ids, mask, types = checked_inputs(self._manifest, input_ids, attention_mask, token_type_ids)
        if not len(ids):
            empty = np.zeros(0, dtype=np.float32)
            return ChainOutput(np.zeros((0, len(self.labels)), np.float32), np.zeros(0, np.int64), empty)
        return self._run_chain(rule, ids, mask, types)

    def run_all_exits(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run every stage on every row, for verification and for choosing a speed. Arguments and errors as in `run`.

        :returns: logits float32 [batch, exits, classes] and uncertainty float32 [batch, exits].
        """
        ids, mask, types = checked_inputs(self._manifest, input_ids, attention_mask, token_type_ids)
        exits = len(self._exits)
        if not len(ids):
            return np.zeros((0, exits, len(self.labels)), np.float32), np.zeros((0, exits), np.float32)
        return run_all_exits(self._engine, ids, mask, types)

    def encode(self, texts: Sequence[TextInput]) -> Any:
        """Tokenize texts as `predict` does: `fastbert.runtime.tokenization.Encoded`."""
        _check_texts(texts)
        return self._encoder.encode(list(texts))

    def _run_chain(
        self, rule: ExitRule, ids: NDArray[np.int64], mask: NDArray[np.int64], types: NDArray[np.int64]
    ) -> ChainOutput:
        return run_chain(self._engine, self._exits, rule, ids, mask, types)

    def _predictions(self, output: ChainOutput, truncated: NDArray[np.bool_]) -> list[Prediction]:
        columns = (output.logits, output.exit_layer, output.uncertainty, truncated)
        return [
            Prediction(
                label=self.labels[logits.index(max(logits))],
                probabilities=dict(zip(self.labels, _softmax(logits), strict=True)),
                exit_layer=exit_layer,
                uncertainty=uncertainty,
                truncated=cut,
            )
            for logits, exit_layer, uncertainty, cut in zip(*(column.tolist() for column in columns), strict=True)
        ]


def _resolved(bundle: str | Path) -> Path:
    try:
        path = Path(bundle).resolve()
        str(path).encode()  # neither engines nor tokenizers open other names
        return path
    except UnicodeEncodeError as error:
        raise BundleError(f"{bundle!r} is a path that is not UTF-8, which no engine opens. Rename it.") from error
    except (OSError, RuntimeError, ValueError) as error:  # a removed working directory, a circle of links, a NUL
        raise BundleError(f"{bundle} cannot be read: {error}. Name a bundle that this user can read.") from error


def _check_texts(texts: Any) -> None:
    if isinstance(texts, str):
        raise UsageError("predict takes a list of texts; put the one text into a list.")
    try:
        iter(texts)
    except TypeError as error:
        raise UsageError(f"predict takes a list of texts, not {type(texts).__name__}: {error}.") from error


def _softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    scaled = [math.exp(value - top) for value in logits]
    total = sum(scaled)
    return [value / total for value in scaled]

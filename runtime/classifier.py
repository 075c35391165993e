"""A loaded bundle: takes texts or token ids, returns predictions."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbert.runtime.batching.in_order import WINDOW, run_in_order
from fastbert.runtime.batching.micro_batches import length_groups, micro_batches
from fastbert.runtime.batching.stage_pools import OpenPools, run_pooled
from fastbert.runtime.chain import ChainOutput, Engine, run_all_exits, run_chain
from fastbert.runtime.engines import load_engine, options_given
from fastbert.runtime.errors import BundleError, UsageError
from fastbert.runtime.exit_rule import ExitRule, exit_rule
from fastbert.runtime.hardware import usable_cores
from fastbert.runtime.inputs import Inputs, checked_inputs
from fastbert.runtime.manifest import MANIFEST, Manifest, Variant, check_files, file_versions, read_manifest
from fastbert.runtime.operating_points import resolve_speed, usable_speeds
from fastbert.runtime.tokenization import TOKENIZER, Encoded, TextEncoder, TextInput, Tokens, text_size

_GROUP_TOKENS = 1 << 16  # a group of rows whose batches are kept full has at least as many


@dataclass(frozen=True)
class Prediction:
    """The answer for one text.

    :param label: the class with the highest probability.
    :param probabilities: class name -> probability.
    :param exit_layer: 0-based layer of the exit that answered.
    :param uncertainty: of that exit, in [0, 1].
    :param truncated: whether the text was cut to the bundle's ``max_length``.
    """

    label: str
    probabilities: Mapping[str, float]
    exit_layer: int
    uncertainty: float
    truncated: bool

    @property
    def layers_run(self) -> int:
        """How many layers the text ran."""
        return self.exit_layer + 1


class Classifier:
    """An early-exit text classifier. Load it once; it may be shared by threads.

    ::

        classifier = Classifier.load("bundle")
        classifier.predict(["so good"], speed=0.5)[0].label
    """

    def __init__(
        self, manifest: Manifest, engine: Engine, encoder: TextEncoder, variant: Variant | None = None
    ) -> None:
        self._manifest = manifest
        self._engine = engine
        self._encoder = encoder
        self._variant = variant  # None: engines that are not in the manifest yet, and so have no operating points
        self._named_speeds = {} if variant is None else usable_speeds(manifest, variant)

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        *,
        device: str = "cpu",
        variant: str | None = None,
        threads: int | None = None,
        thread_pool: str | None = None,
        batches: bool = False,
        cuda_graphs: bool = False,
        runtime_cache: str | Path | bool | None = None,
        check_contents: bool = True,
    ) -> "Classifier":
        """Load a bundle.

        ``threads``, ``thread_pool`` and ``batches`` are CPU options, ``cuda_graphs`` is a GPU option, ``runtime_cache``
        is one of the device ``"tensorrt-rtx"``.

        :param bundle: directory that ``fastbert export`` wrote; it is only read. Files that are loaded with the first
            batch are held open until then, so that a classifier remains one version whatever happens to the path.
        :param device: one of `fastbert.runtime.engines.DEVICES`.
        :param variant: a variant's name; None: the first one for the device.
        :param threads: processor threads for one call; None: the cores that this process may use.
        :param thread_pool: ``"separate"`` or None: the classifier has its own threads, which sleep when idle.
            ``"host"``: it uses ONNX Runtime's global thread pool, which the host program made and sized.
        :param batches: load the engine for batches now instead of the one for single rows. Without it, the engine for
            batches is loaded with the first batch; with it, a single row runs as a batch.
        :param cuda_graphs: replay the work between two exits as CUDA graphs. The first runs of each sequence length in
            each thread are slow, as the graphs are captured then.
        :param runtime_cache: folder that keeps what TensorRT for RTX compiles for this GPU; None: a folder of this
            user; False: nothing is kept, and every process compiles again.
        :param check_contents: compare every file's sha256 with the manifest's; False: only its size.
        :raises BundleError: the bundle is missing, damaged or of another schema.
        :raises EngineError: the engine cannot run here.
        :raises UsageError: the device or the variant is unknown, or the device does not have an option that was given.
        """
        path = _resolved(bundle)  # one version for the classifier's life, wherever a link leads later
        manifest = read_manifest(path)
        chosen = manifest.variant_for(device, variant)
        options = options_given(
            device,
            {
                "threads": threads,
                "thread_pool": thread_pool,
                "batches": batches,
                "cuda_graphs": cuda_graphs,
                "runtime_cache": runtime_cache,
            },
        )
        files = (*chosen.files, TOKENIZER)
        before = file_versions(path, (MANIFEST, *files))
        check_files(path, manifest, files, contents=check_contents, threads=usable_cores())
        classifier = cls._from_engine(path, manifest, load_engine(device, path, chosen, **options), chosen)
        if file_versions(path, before) != before:
            raise BundleError(f"{bundle} was replaced or written to while it was loaded. Load it again.")
        return classifier

    @classmethod
    def _from_engine(
        cls, bundle: Path, manifest: Manifest, engine: Engine, variant: Variant | None = None
    ) -> "Classifier":
        """Return a classifier that runs a loaded engine, with the tokenizer of ``bundle``.

        :param variant: whose engine it is, for the operating points; None: they cannot be used.
        :raises BundleError: the manifest's labels do not match the engine's classes, or the tokenizer is damaged.
        """
        if len(manifest.labels) != engine.classes:
            raise BundleError(
                f"{bundle / MANIFEST} has {len(manifest.labels)} labels; the engines have {engine.classes} classes. "
                "Export the bundle again, or correct the labels if you wrote them yourself."
            )
        return cls(manifest, engine, TextEncoder.from_bundle(bundle, manifest), variant)

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self._manifest

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        return self._manifest.labels

    def predict(
        self,
        texts: Sequence[TextInput],
        *,
        speed: float | str | None = None,
        batch_size: int | None = None,
        workers: int = 1,
    ) -> list[Prediction]:
        """Classify texts, or pairs of texts as tuples.

        Texts of similar length run together, and a batch shrinks as its texts exit.

        :param speed: in [0, 1]; 0: every text runs the whole model; a string: the bundle's operating point of that
            name; None: the bundle's ``default_speed``.
        :param batch_size: most texts in a batch; None: as many as are fastest. Predictions depend on it by no more than
            floating-point rounding, in int8 too: a text's result does not depend on its neighbours in the batch.
        :param workers: batches that run in parallel, each with the ``threads`` of `load`. For many texts, workers with
            one thread each are faster than one worker with many threads.
        :returns: one prediction per text, in the order of the texts.
        :raises UsageError: ``speed``, ``batch_size`` or ``workers`` is out of range, the bundle has no such operating
            point for this variant, or a text is not a string or has a token that the model does not have.
        """
        if isinstance(texts, Sequence) and len(texts) == 1:  # hot path: docs/performance.md#single-row
            rule = self._checked(texts, speed, batch_size=batch_size, workers=workers)
            return self._answers(rule, self._encoder.tokenize(texts))
        return list(self.predict_iter(texts, speed=speed, batch_size=batch_size, workers=workers))

    def predict_iter(
        self,
        texts: Iterable[TextInput],
        *,
        speed: float | str | None = None,
        batch_size: int | None = None,
        workers: int = 1,
        window: int = WINDOW,
    ) -> Iterator[Prediction]:
        """Classify any number of texts in bounded memory; otherwise as `predict`.

        :param window: most texts read ahead, to find those of similar length; fewer where they are long. The first
            answer comes after the first window.
        """
        rule = self._checked(texts, speed, batch_size=batch_size, workers=workers, window=window)
        read = 0

        def plan(window_texts: list[TextInput]) -> list[Callable[[], list[tuple[int, Prediction]]]]:
            nonlocal read
            items = self._encoder.tokenize(window_texts, first=read)
            read += len(window_texts)
            lengths = [len(item.ids) for item in items]
            if open_pools := self._engine.pools:
                groups = length_groups(lengths, least_tokens=_GROUP_TOKENS)
                return [partial(self._predict_pooled, open_pools, rule, items, rows, batch_size) for rows in groups]
            batches = micro_batches(lengths, batch_size=batch_size)
            return [partial(self._predict_batch, rule, items, rows) for rows in batches]

        return run_in_order(texts, plan, window=window, workers=workers, size=text_size)

    def _checked(self, texts: Iterable[TextInput], speed: float | str | None, **counts: int | None) -> ExitRule:
        """Check the arguments of `predict` and `predict_iter`, and return the rule of the speed."""
        _check_texts(texts)
        for name, value in counts.items():
            if value is not None and (not isinstance(value, int | np.integer) or value < 1):
                raise UsageError(f"`{name}` is {value!r}; it must be a whole number, at least 1.")
        return self._rule(speed)

    def _rule(self, speed: float | str | None) -> ExitRule:
        if isinstance(speed, str):
            named = self._named_speeds.get(speed)
            return exit_rule(resolve_speed(self._manifest, self._variant, speed) if named is None else named)
        return exit_rule(self._manifest.default_speed if speed is None else speed)

    def _predict_batch(
        self, rule: ExitRule, items: Sequence[Tokens], rows: NDArray[np.int64]
    ) -> list[tuple[int, Prediction]]:
        return list(zip(rows.tolist(), self._answers(rule, [items[row] for row in rows]), strict=True))

    def _predict_pooled(
        self, open_pools: OpenPools, rule: ExitRule, items: Sequence[Tokens], rows: NDArray[np.int64], size: int | None
    ) -> list[tuple[int, Prediction]]:
        """Run tokenized texts of similar length in full batches of at most ``size``."""
        pools = open_pools(min(len(rows), size or len(rows)), max(len(items[row].ids) for row in rows))
        if len(rows) <= pools.batch:  # nothing to fill it up with
            return self._predict_batch(rule, items, rows)

        def batches() -> Iterator[tuple[NDArray[np.int64], Inputs]]:
            for part in np.split(rows, range(pools.batch, len(rows), pools.batch)):
                encoded = self._encoder.pad([items[row] for row in part])
                yield part, Inputs(encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)

        predictions: list[tuple[int, Prediction]] = []
        for found in run_pooled(pools, self._manifest.exits, rule, batches()):
            layers = np.full(len(found.rows), found.layer)
            output = ChainOutput(found.logits, layers, found.uncertainty)
            truncated = np.array([items[row].truncated for row in found.rows])
            predictions += zip(found.rows.tolist(), self._predictions(output, truncated), strict=True)
        return predictions

    def _answers(self, rule: ExitRule, items: Sequence[Tokens]) -> list[Prediction]:
        """Run a batch of tokenized texts."""
        encoded = self._encoder.pad(items)
        inputs = Inputs(encoded.input_ids, encoded.attention_mask, encoded.token_type_ids, len(items) == 1)
        return self._predictions(run_chain(self._engine, self._manifest.exits, rule, inputs), encoded.truncated)

    def run(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        speed: float | str | None = None,
    ) -> ChainOutput:
        """Classify token ids.

        :param input_ids: integers [batch, sequence], padded on the right.
        :param attention_mask: [batch, sequence], 1 for tokens, 0 for padding; None: no padding.
        :param token_type_ids: [batch, sequence]; None: the bundle's ``default_token_type``, mostly 0.
        :param speed: as in `predict`.
        :returns: arrays in input order; without rows, they are empty.
        :raises UsageError: ``speed`` is not valid, shapes disagree, an id is unknown, a sequence is too long, or a row
            has no token.
        """
        rule = self._rule(speed)
        inputs = checked_inputs(self._manifest, input_ids, attention_mask, token_type_ids)
        return run_chain(self._engine, self._manifest.exits, rule, inputs)

    def run_all_exits(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run every stage on every row, to verify a bundle or to choose a speed. Arguments and errors as in `run`.

        :returns: logits float32 [batch, exits, classes] and uncertainty float32 [batch, exits].
        """
        return run_all_exits(self._engine, checked_inputs(self._manifest, input_ids, attention_mask, token_type_ids))

    def encode(self, texts: Iterable[TextInput]) -> Encoded:
        """Tokenize and pad texts, or pairs of texts as tuples, as `predict` does.

        :raises UsageError: a text is not a string, or has a token that the model does not have.
        """
        _check_texts(texts)
        return self._encoder.encode(list(texts))

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
        str(path).encode()  # neither the engines nor tokenizers open other paths
        return path
    except UnicodeEncodeError as error:
        raise BundleError(f"The path {bundle!r} is not UTF-8, so the engines cannot open it. Rename it.") from error
    except (OSError, RuntimeError, ValueError) as error:  # working directory removed, links in a circle, a NUL
        raise BundleError(f"{bundle} cannot be read: {error}. Name a bundle that this user can read.") from error


def _check_texts(texts: Any) -> None:
    if isinstance(texts, str):
        raise UsageError("`texts` is a string; it must be a list of texts. Put the text into a list.")
    try:
        iter(texts)
    except TypeError as error:
        raise UsageError(f"`texts` is of type {type(texts).__name__}; it must be a list of texts: {error}.") from error


def _softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    scaled = [math.exp(value - top) for value in logits]
    total = sum(scaled)
    return [value / total for value in scaled]

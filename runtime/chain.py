"""The chain: runs the stages one after another and removes from the batch the samples that have exited.

It knows an `Engine` and an `ExitRule`, but no engine by name. A single row runs here only where the engine has no
`Engine.run_row`; the CPU engine has one, an ONNX model that contains all stages.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.batching.stage_pools import OpenPools
from fastbert.runtime.exit_rule import ExitRule
from fastbert.runtime.inputs import Inputs

# Runs a single row until an exit's uncertainty is below the speed, at the latest to the last exit:
# input_ids int64 [1, sequence], token_type_ids int64 [1, sequence], speed float32 [1] -> the fields of a `ChainOutput`.
RunRow = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]], Sequence[NDArray[Any]]]


class Engine(Protocol):
    """Runs the stages of one bundle variant. May be shared by threads.

    A state is what the engine keeps between two stages: hidden states and mask of the samples still in the chain, and
    the logits of the last exit. Only the engine reads it, and it stays on the engine's device. It is valid until the
    same thread starts another batch.
    """

    @property
    def stages(self) -> int:
        """Number of stages."""

    @property
    def max_batch(self) -> int | None:
        """Most rows of one run; None: no limit."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def run_row(self) -> RunRow | None:
        """Runs a single row in one call; None: this engine runs it as a batch."""

    @property
    def pools(self) -> OpenPools | None:
        """Opens pools, to keep batches full; None: on this engine a batch costs by its rows."""

    def start(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> Any:
        """Run the embeddings: int64 [batch, sequence] each -> state."""

    def run_stage(self, stage: int, state: Any) -> tuple[Any, NDArray[np.float32]]:
        """Run a stage: state -> (next state, uncertainty of its exit: float32 [samples], until the next stage runs)."""

    def logits(self, state: Any) -> NDArray[np.float32]:
        """Return the logits of the last exit that ran: float32 [samples, classes]."""

    def keep(self, state: Any, rows: NDArray[np.int64], sequence: int) -> Any:
        """Return the state of these samples only, in this order, cut to their first ``sequence`` tokens."""


class ChainOutput(NamedTuple):
    """Answers in input order.

    :param logits: float32 [batch, classes] of the exit that answered.
    :param exit_layer: int64 [batch], the 0-based layer of that exit.
    :param uncertainty: float32 [batch] at that exit, in [0, 1].
    """

    logits: NDArray[np.float32]
    exit_layer: NDArray[np.int64]
    uncertainty: NDArray[np.float32]

    @property
    def layers_run(self) -> NDArray[np.int64]:
        """How many layers each sample ran: int64 [batch]."""
        return self.exit_layer + 1


def run_chain(engine: Engine, exits: tuple[int, ...], rule: ExitRule, inputs: Inputs) -> ChainOutput:
    """Run a batch. Every sample exits where ``rule`` first allows it, at the latest at the last exit.

    A batch larger than the engine's ``max_batch`` runs in parts. Without rows, the arrays are empty.

    :param exits: 0-based layer of each stage's exit.
    """
    if inputs.single_row and engine.run_row is not None:  # hot path: docs/performance.md#single-row
        return ChainOutput._make(engine.run_row(inputs.input_ids, inputs.token_type_ids, rule.speed32))
    batch = len(inputs.input_ids)
    if batch == 0:
        empty = np.zeros(0, np.float32)
        return ChainOutput(np.zeros((0, engine.classes), np.float32), np.zeros(0, np.int64), empty)
    if batch == 1:
        return _run_one(engine, exits, rule, inputs)
    if engine.max_batch is not None and batch > engine.max_batch:
        outputs = [run_chain(engine, exits, rule, part) for part in _parts(engine.max_batch, inputs)]
        return ChainOutput(*(np.concatenate(field) for field in zip(*outputs, strict=True)))
    return _run_batch(engine, exits, rule, inputs)


def _run_one(engine: Engine, exits: tuple[int, ...], rule: ExitRule, inputs: Inputs) -> ChainOutput:
    """Run a batch of one, without the bookkeeping that a batch needs."""
    speed, state = rule.speed32.item(), engine.start(*inputs[:3])
    for stage in range(len(exits)):
        state, uncertainty = engine.run_stage(stage, state)
        if uncertainty.item(0) < speed:
            break
    return ChainOutput(engine.logits(state), np.array([exits[stage]]), uncertainty.copy())


def _run_batch(engine: Engine, exits: tuple[int, ...], rule: ExitRule, inputs: Inputs) -> ChainOutput:
    state = engine.start(*inputs[:3])
    rows = np.arange(len(inputs.input_ids))  # which sample each row of the state is
    lengths = _lengths(inputs.attention_mask)
    answers: list[tuple[NDArray[np.int64], int, NDArray[np.float32], NDArray[np.float32]]] = []
    for stage, layer in enumerate(exits):
        state, uncertainty = engine.run_stage(stage, state)
        if layer == exits[-1]:
            answers.append((rows, layer, engine.logits(state), uncertainty.copy()))
            break
        exiting = rule.exits(uncertainty)
        count = np.count_nonzero(exiting)
        if count == 0:
            continue
        answers.append((rows[exiting], layer, engine.logits(state)[exiting], uncertainty[exiting]))
        if count == len(rows):
            break
        kept = np.flatnonzero(~exiting)
        rows, lengths = rows[kept], lengths[kept]
        state = engine.keep(state, kept, int(lengths.max()))
    order = np.argsort(np.concatenate([group for group, *_ in answers]))
    return ChainOutput(
        np.concatenate([logits for _, _, logits, _ in answers])[order],
        np.concatenate([np.full(len(group), layer, dtype=np.int64) for group, layer, _, _ in answers])[order],
        np.concatenate([uncertainty for *_, uncertainty in answers])[order],
    )


def _lengths(attention_mask: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place after each row's last visible token: int64 [batch, sequence] -> int64 [batch]."""
    lengths: NDArray[np.int64] = attention_mask.shape[1] - attention_mask[:, ::-1].argmax(axis=1)
    return lengths


def run_all_exits(engine: Engine, inputs: Inputs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Run every stage on the whole batch, in parts where it is larger than the engine's ``max_batch``.

    :returns: logits float32 [batch, exits, classes] and uncertainty float32 [batch, exits].
    """
    batch = len(inputs.input_ids)
    if batch == 0:
        return np.zeros((0, engine.stages, engine.classes), np.float32), np.zeros((0, engine.stages), np.float32)
    if engine.max_batch is not None and batch > engine.max_batch:
        parts = [run_all_exits(engine, part) for part in _parts(engine.max_batch, inputs)]
        return np.concatenate([logits for logits, _ in parts]), np.concatenate([values for _, values in parts])
    state = engine.start(*inputs[:3])
    logits, uncertainties = [], []
    for stage in range(engine.stages):
        state, uncertainty = engine.run_stage(stage, state)
        logits.append(engine.logits(state))
        uncertainties.append(uncertainty.copy())
    return np.stack(logits, axis=1), np.stack(uncertainties, axis=1)


def _parts(size: int, inputs: Inputs) -> Iterator[Inputs]:
    ids, mask, types, _ = inputs
    for start in range(0, len(ids), size):
        part = slice(start, start + size)
        yield Inputs(ids[part], mask[part], types[part])

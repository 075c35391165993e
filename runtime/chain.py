"""The loop: run stage after stage, let samples leave at the exits, and drop them from the batch.

It knows an `Engine` and an `ExitRule`; it knows no engine by name.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.errors import UsageError
from fastbert.runtime.exit_rule import ExitRule

__all__ = ["ChainOutput", "Engine", "RunRow", "exits_looked_at", "run_all_exits", "run_chain"]

# Runs one row without padding until the uncertainty of an exit is below the speed, or to the last one: input_ids and
# token_type_ids, int64 [1, sequence], and the speed, float32 [1] -> the fields of a `ChainOutput`.
RunRow = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]], Sequence[NDArray[Any]]]


class Engine(Protocol):
    """What runs the stages of one bundle variant. May be shared by threads.

    A state is whatever the engine keeps between two stages: hidden_states and mask of the samples still in the chain,
    and the logits of the last exit. Only the engine looks inside; it stays on its device. It is valid until the same
    thread starts another batch.
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
        """What runs a single row in one call; None: this engine runs it as a batch."""

    def start(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> Any:
        """Run the embeddings: int64 [batch, sequence] each -> state."""

    def run_stage(self, stage: int, state: Any) -> tuple[Any, NDArray[np.float32]]:
        """Run one stage: state -> (next state, uncertainty of its exit: float32 [samples], until the next is run)."""

    def logits(self, state: Any) -> NDArray[np.float32]:
        """Return the logits of the last exit that was run: float32 [samples, classes]."""

    def keep(self, state: Any, rows: NDArray[np.int64], sequence: int) -> Any:
        """Return the state of these samples only, in this order, cut to their first ``sequence`` tokens."""


class ChainOutput(NamedTuple):
    """Answers in input order.

    :param logits: float32 [batch, classes] of the exit that answered.
    :param exit_layer: int64 [batch], the 0-based layer of that exit; layers run = exit_layer + 1.
    :param uncertainty: float32 [batch] at that exit, in [0, 1].
    """

    logits: NDArray[np.float32]
    exit_layer: NDArray[np.int64]
    uncertainty: NDArray[np.float32]


def exits_looked_at(exits: tuple[int, ...], every: int) -> tuple[int, ...]:
    """Return every ``every``-th exit, and the last one.

    :raises UsageError: ``every`` is below 1.
    """
    if not isinstance(every, int | np.integer) or every < 1:
        raise UsageError(f"exit_every is {every!r}; it must be a whole number, at least 1.")
    return tuple(dict.fromkeys((*exits[every - 1 :: every], exits[-1])))


def run_chain(
    engine: Engine,
    exits: tuple[int, ...],
    rule: ExitRule,
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    token_type_ids: NDArray[np.int64],
) -> ChainOutput:
    """Run a batch; every sample leaves at the first exit that ``rule`` lets it, at the latest at the last one.

    A batch larger than the engine's ``max_batch`` is run in parts.

    :param exits: 0-based layer of each stage's exit.
    :param input_ids: int64 [batch, sequence], at least one row; the others likewise.
    """
    if engine.max_batch is not None and len(input_ids) > engine.max_batch:
        parts = [
            run_chain(engine, exits, rule, *arrays)
            for arrays in _parts(engine.max_batch, input_ids, attention_mask, token_type_ids)
        ]
        return ChainOutput(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.exit_layer for part in parts]),
            np.concatenate([part.uncertainty for part in parts]),
        )
    if len(input_ids) == 1:
        return _run_one(engine, exits, rule, input_ids, attention_mask, token_type_ids)
    state = engine.start(input_ids, attention_mask, token_type_ids)
    rows = np.arange(len(input_ids))  # which sample each row of the state is
    lengths = _lengths(attention_mask)
    left: list[tuple[NDArray[np.int64], int, NDArray[np.float32], NDArray[np.float32]]] = []
    for stage, layer in enumerate(exits):
        state, uncertainty = engine.run_stage(stage, state)
        if layer == exits[-1]:
            left.append((rows, layer, engine.logits(state), uncertainty.copy()))
            break
        leaves = rule.leaves(uncertainty)
        leaving = np.count_nonzero(leaves)
        if leaving == 0:
            continue
        left.append((rows[leaves], layer, engine.logits(state)[leaves], uncertainty[leaves]))
        if leaving == len(rows):
            break
        stays = np.flatnonzero(~leaves)
        rows, lengths = rows[stays], lengths[stays]
        state = engine.keep(state, stays, int(lengths.max()))
    if len(left) == 1:
        _, layer, logits, uncertainty = left[0]
        return ChainOutput(logits, np.full(len(input_ids), layer, dtype=np.int64), uncertainty)
    order = np.argsort(np.concatenate([group for group, *_ in left]))
    return ChainOutput(
        np.concatenate([logits for _, _, logits, _ in left])[order],
        np.concatenate([np.full(len(group), layer, dtype=np.int64) for group, layer, _, _ in left])[order],
        np.concatenate([uncertainty for *_, uncertainty in left])[order],
    )


def _run_one(
    engine: Engine,
    exits: tuple[int, ...],
    rule: ExitRule,
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    token_type_ids: NDArray[np.int64],
) -> ChainOutput:
    """Run a batch of one: the same without any bookkeeping.

    It matters: Python's own code has left the caches each time that an engine has streamed its weights through them.
    """
    if engine.run_row is not None and (length := _tokens_before_padding(attention_mask)):
        return ChainOutput._make(engine.run_row(input_ids[:, :length], token_type_ids[:, :length], rule.speed32))
    speed, state = rule.speed32.item(), engine.start(input_ids, attention_mask, token_type_ids)
    for stage in range(len(exits)):
        state, uncertainty = engine.run_stage(stage, state)
        if uncertainty.item(0) < speed:
            break
    return ChainOutput(engine.logits(state), np.array([exits[stage]]), uncertainty.copy())


def _tokens_before_padding(attention_mask: NDArray[np.int64]) -> int | None:
    """Return how many tokens one row has: int64 [1, sequence]; None where one is hidden between others."""
    [visible] = attention_mask.tolist()
    length: int = visible.count(1)
    return None if 1 in visible[length:] else length


def _lengths(attention_mask: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place after each row's last visible token: int64 [batch, sequence] -> int64 [batch]."""
    return attention_mask.shape[1] - attention_mask[:, ::-1].argmax(axis=1)


def run_all_exits(
    engine: Engine,
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    token_type_ids: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Run every stage on the whole batch.

    :returns: logits float32 [batch, exits, classes] and uncertainty float32 [batch, exits].
    """
    if engine.max_batch is not None and len(input_ids) > engine.max_batch:
        found = [
            run_all_exits(engine, *arrays)
            for arrays in _parts(engine.max_batch, input_ids, attention_mask, token_type_ids)
        ]
        return np.concatenate([logits for logits, _ in found]), np.concatenate([values for _, values in found])
    state = engine.start(input_ids, attention_mask, token_type_ids)
    logits, uncertainties = [], []
    for stage in range(engine.stages):
        state, uncertainty = engine.run_stage(stage, state)
        logits.append(engine.logits(state))
        uncertainties.append(uncertainty.copy())
    return np.stack(logits, axis=1), np.stack(uncertainties, axis=1)


def _parts(size: int, *arrays: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], ...]]:
    for start in range(0, len(arrays[0]), size):
        yield tuple(array[start : start + size] for array in arrays)

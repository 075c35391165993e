"""Full batches: the same answers as one row at a time, and few rows of padding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbert.runtime.batching.stage_pools import run_pooled
from fastbert.runtime.exit_rule import ExitRule
from fastbert.runtime.inputs import Inputs

CLASSES = 3


class ArrayPools:
    """Pools whose stages look up a row's uncertainty and logits: ``table`` float32 [rows, stages, 1 + classes]."""

    def __init__(self, table, batch):
        self._table, self.batch, self.stages = table, batch, table.shape[1]
        self._pools = [[] for _ in range(self.stages)]
        self._run = None
        self.batches = []  # (stage, rows) of each run

    def embed(self, inputs):
        assert not self._pools[0] and 0 < len(inputs.input_ids) <= self.batch
        self._pools[0] = inputs.input_ids[:, 0].tolist()

    def run_stage(self, stage, rows):
        assert self._run is None and 0 < rows <= min(self.batch, len(self._pools[stage]))
        self._run = stage, self._pools[stage][:rows]
        self.batches.append((stage, rows))
        return self._table[self._run[1], stage, 0]

    def logits(self):
        stage, rows = self._run
        return self._table[rows, stage, 1:]

    def advance(self, kept):
        (stage, rows), self._run = self._run, None
        self._pools[stage] = self._pools[stage][len(rows) :]
        if stage + 1 < self.stages:
            self._pools[stage + 1] += [rows[index] for index in kept]
            assert len(self._pools[stage + 1]) < 2 * self.batch
        else:
            assert len(kept) == 0


def run(table, batch, speed):
    rows = np.arange(len(table), dtype=np.int64)

    def batches():
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            ids = part[:, None]
            yield part, Inputs(ids, np.ones_like(ids), np.zeros_like(ids))

    pools = ArrayPools(table, batch)
    exits = tuple(range(table.shape[1]))
    return pools, list(run_pooled(pools, exits, ExitRule(speed), batches()))


@settings(max_examples=200, deadline=None)
@given(
    rows=st.integers(0, 60),
    stages=st.integers(1, 7),
    batch=st.integers(1, 17),
    speed=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_row_gets_the_answer_that_it_gets_alone(rows, stages, batch, speed, seed):
    table = np.random.default_rng(seed).random((rows, stages, 1 + CLASSES), dtype=np.float32)
    _, answers = run(table, batch, speed)
    assert sorted(np.concatenate([found.rows for found in answers]).tolist() if answers else []) == list(range(rows))
    for found in answers:
        for row, logits, uncertainty in zip(found.rows, found.logits, found.uncertainty, strict=True):
            below = np.flatnonzero(table[row, :-1, 0] < np.float32(speed))
            layer = below[0] if len(below) else stages - 1
            assert found.layer == layer
            assert uncertainty == table[row, layer, 0]
            assert logits.tobytes() == table[row, layer, 1:].tobytes()


@pytest.mark.parametrize("batch", [32, 128])
def test_batches_are_full_where_most_rows_exit_early(batch):
    rng = np.random.default_rng(7)
    rows, stages = 10_000, 6
    depth = np.minimum(rng.geometric(1 / 1.65, rows) - 1, stages - 1)  # how many exits a row passes
    table = np.ones((rows, stages, 1 + CLASSES), np.float32)
    for row, exit_ in enumerate(depth):
        table[row, exit_:, 0] = 0.0
    pools, answers = run(table, batch, 0.5)
    mean_layers = sum(len(found.rows) * (found.layer + 1) for found in answers) / rows
    assert 1.5 < mean_layers < 1.7
    assert sum(count for _, count in pools.batches) / (batch * len(pools.batches)) >= 0.9

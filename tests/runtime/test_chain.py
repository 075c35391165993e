"""The chain on an engine that computes nothing: what runs, on which rows, and what is returned."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastbert.runtime.chain import ChainOutput, run_all_exits, run_chain
from fastbert.runtime.exit_rule import ExitRule
from fastbert.runtime.inputs import Inputs


@dataclass
class Table:
    """Uncertainties are given; a sample's logits at a stage are (sample, stage)."""

    uncertainty: np.ndarray  # [samples, stages]
    max_batch: int | None = None
    run_row = None

    def __post_init__(self):
        self.ran = []

    classes = 2

    @property
    def stages(self):
        return self.uncertainty.shape[1]

    def start(self, input_ids, attention_mask, token_type_ids):
        assert self.max_batch is None or len(input_ids) <= self.max_batch
        return input_ids[:, 0], -1

    def run_stage(self, stage, state):
        rows, before = state
        assert stage == before + 1
        self.ran.append(len(rows))
        return (rows, stage), self.uncertainty[rows, stage]

    def logits(self, state):
        rows, stage = state
        return np.stack([rows, np.full(len(rows), stage)], axis=1).astype(np.float32)

    def keep(self, state, rows, sequence):
        return state[0][rows], state[1]


tables = hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=st.floats(0, 1, width=16))


@given(tables, st.floats(0, 1), st.one_of(st.none(), st.integers(1, 9)))
def test_every_sample_exits_once_at_its_first_certain_exit_and_runs_no_further(uncertainty, speed, max_batch):
    engine = Table(uncertainty, max_batch)
    samples, stages = uncertainty.shape
    exits = tuple(range(1, 2 * stages, 2))  # stages of two layers
    ids = np.tile(np.arange(samples)[:, None], (1, 3))
    output = run_chain(engine, exits, ExitRule(speed), Inputs(ids, ids, ids))
    certain = uncertainty < np.float32(speed)
    certain[:, -1] = True
    stage = certain.argmax(axis=1)
    assert output.exit_layer.tolist() == [exits[index] for index in stage]
    assert output.layers_run.tolist() == [exits[index] + 1 for index in stage]
    assert output.logits.tolist() == [[row, index] for row, index in enumerate(stage)]
    assert output.uncertainty.tolist() == uncertainty[np.arange(samples), stage].tolist()
    assert sum(engine.ran) == (stage + 1).sum()


def test_all_exits_are_run_in_order():
    engine = Table(np.array([[0.1, 0.2], [0.3, 0.4]], dtype=np.float32))
    ids = np.arange(2)[:, None]
    logits, uncertainty = run_all_exits(engine, Inputs(ids, ids, ids))
    assert logits.tolist() == [[[0, 0], [0, 1]], [[1, 0], [1, 1]]]
    assert uncertainty.tolist() == engine.uncertainty.tolist()
    engine.max_batch = 1
    in_parts = run_all_exits(engine, Inputs(ids, ids, ids))
    assert in_parts[0].tolist() == logits.tolist()
    assert in_parts[1].tolist() == uncertainty.tolist()


def test_no_rows_give_arrays_of_no_rows():
    engine = Table(np.zeros((0, 4), dtype=np.float32))
    none = np.zeros((0, 1), dtype=np.int64)
    output = run_chain(engine, (0, 1, 2, 3), ExitRule(0.5), Inputs(none, none, none))
    assert [array.shape for array in output] == [(0, 2), (0,), (0,)]
    assert [array.shape for array in run_all_exits(engine, Inputs(none, none, none))] == [(0, 4, 2), (0, 4)]
    assert engine.ran == []


def test_only_a_single_row_runs_in_one_call():
    ids = np.arange(3)[None]
    asked = []

    def run_row(input_ids, token_type_ids, speed):
        asked.append((input_ids, token_type_ids, speed.tolist()))
        return np.zeros((1, 2), np.float32), np.array([7]), np.zeros(1, np.float32)

    engine = Table(np.zeros((1, 2), dtype=np.float32))
    engine.run_row = run_row
    found = run_chain(engine, (0, 1), ExitRule(0.5), Inputs(ids, ids, ids, single_row=True))
    assert isinstance(found, ChainOutput) and found.exit_layer.tolist() == [7]
    assert engine.ran == [] and asked[0][0] is ids and asked[0][2] == [0.5]
    assert run_chain(engine, (0, 1), ExitRule(0.5), Inputs(ids, ids, ids)).exit_layer.tolist() == [0]
    assert engine.ran == [1] and len(asked) == 1

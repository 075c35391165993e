"""What full batches would save on a GPU: ``python -m studies.simulated_batches STAGES``.

Runs the scheduler (`fastbert.runtime.batching.stage_pools`) and the chain on engines that only add up times, those
that ``python -m studies.gpu_stages`` measured. Where a row exits is drawn: at each exit with the same probability,
chosen for a mean number of layers. The break-even is the mean number of layers below which the chain with full batches
is faster than the whole model at the same batch.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.batching.micro_batches import padded_size
from fastbert.runtime.batching.stage_pools import run_pooled
from fastbert.runtime.chain import run_chain
from fastbert.runtime.inputs import Inputs
from studies.full_batches import DrawnRule, probability

SCHEMA = "fastbert-simulated-batches/1"


class StageTimes:
    """Milliseconds of every part of the chain for one model and length, by batch.

    :param shapes: of a report of `studies.gpu_stages`, of one length.
    """

    def __init__(self, shapes: Sequence[Mapping[str, Any]]) -> None:
        ordered = sorted(shapes, key=lambda shape: int(shape["batch"]))
        self._batches = [shape["batch"] for shape in ordered]
        self._times = {name: np.array([shape[name] for shape in ordered]) for name in ordered[0] if "_ms" in name}

    def of(self, part: str, rows: int, stage: int | None = None) -> float:
        """Return the time of a part for a batch, padded as with CUDA graphs; between measured batches on a line."""
        times = self._times[part] if stage is None else self._times[part][:, stage]
        return float(np.interp(padded_size(rows), self._batches, times))


class TimedPools:
    """Pools (`fastbert.runtime.batching.stage_pools.StagePools`) that add up times."""

    def __init__(self, times: StageTimes, stages: int, batch: int) -> None:
        self.batch, self.stages, self.ms = batch, stages, 0.0
        self.runs: list[int] = []  # rows of each run of a stage
        self._times = times

    def embed(self, inputs: Inputs) -> None:
        """Add the time of the embeddings."""
        self.ms += self._times.of("embeddings_ms", self.batch)

    def run_stage(self, stage: int, rows: int) -> NDArray[np.float32]:
        """Add the time of a stage."""
        self.runs.append(rows)
        self.ms += self._times.of("stage_ms", self.batch, stage)
        return np.zeros(rows, np.float32)

    def logits(self) -> NDArray[np.float32]:
        """Add the time of copying logits."""
        self.ms += self._times.of("logits_ms", self.batch)
        return np.zeros((self.runs[-1], 1), np.float32)

    def advance(self, kept: NDArray[np.int64]) -> None:
        """Add the time of the compaction, if rows are kept."""
        self.ms += self._times.of("compaction_ms", self.batch) if len(kept) else 0.0


class TimedEngine:
    """An engine (`fastbert.runtime.chain.Engine`) that adds up times; its state is the number of rows."""

    max_batch = run_row = pools = None
    classes = 1

    def __init__(self, times: StageTimes, stages: int) -> None:
        self.stages, self.ms = stages, 0.0
        self._times = times

    def start(self, input_ids: NDArray[np.int64], *_: Any) -> int:
        """Add the time of the embeddings."""
        self.ms += self._times.of("embeddings_ms", len(input_ids))
        return len(input_ids)

    def run_stage(self, stage: int, state: int) -> tuple[int, NDArray[np.float32]]:
        """Add the time of a stage."""
        self.ms += self._times.of("stage_ms", state, stage)
        return state, np.zeros(state, np.float32)

    def logits(self, state: int) -> NDArray[np.float32]:
        """Add the time of copying logits."""
        self.ms += self._times.of("logits_ms", state)
        return np.zeros((state, 1), np.float32)

    def keep(self, state: int, rows: NDArray[np.int64], sequence: int) -> int:
        """Add the time of the compaction."""
        self.ms += self._times.of("compaction_ms", state)
        return len(rows)


def simulate(
    times: StageTimes, exits: tuple[int, ...], *, batch: int, rows: int, mean_layers: float
) -> dict[str, float]:
    """Return rows per second of the whole model, and of the chain with shrinking and with full batches."""
    rule = DrawnRule(probability(mean_layers, exits))
    pools, engine = TimedPools(times, len(exits), batch), TimedEngine(times, len(exits))
    ids = np.zeros((rows, 1), np.int64)
    parts = [Inputs(ids[start : start + batch], ids[start : start + batch] + 1, ids) for start in range(0, rows, batch)]
    numbered = [(np.arange(len(part.input_ids)) + index * batch, part) for index, part in enumerate(parts)]
    layers = sum(len(found.rows) * (found.layer + 1) for found in run_pooled(pools, exits, rule, numbered)) / rows
    for part in parts:
        run_chain(engine, exits, rule, part)
    whole_ms = sum(times.of("whole_model_ms", len(part.input_ids)) for part in parts)
    return {
        "batch": batch,
        "mean_layers": layers,
        "full_share": sum(pools.runs) / (batch * len(pools.runs)),
        "whole_model_rows_per_s": rows / whole_ms * 1e3,
        "shrinking_times_faster": whole_ms / engine.ms,
        "full_times_faster": whole_ms / pools.ms,
    }


def break_even(times: StageTimes, exits: tuple[int, ...], *, batch: int, rows: int) -> float:
    """Return the mean layers at which the chain with full batches is as fast as the whole model; 0: it never is."""
    low, high = 1.0, exits[-1] + 1.0
    for _ in range(10):  # the more layers, the slower
        middle = (low + high) / 2
        found = simulate(times, exits, batch=batch, rows=rows, mean_layers=middle)
        low, high = (middle, high) if found["full_times_faster"] >= 1.0 else (low, middle)
    return low if low > 1.0 else 0.0


def main() -> None:
    """Simulate, print, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m studies.simulated_batches", description=__doc__.split(":")[0])
    parser.add_argument("stages", type=Path, help="report of studies.gpu_stages")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--mean-layers", type=float, nargs="+", default=[1.6, 3.0])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128, 256])
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    measured, found = json.loads(arguments.stages.read_text()), []
    for model in measured["models"]:
        exits = tuple(model["exits"])
        for sequence in sorted({shape["sequence"] for shape in model["shapes"]}):
            times = StageTimes([shape for shape in model["shapes"] if shape["sequence"] == sequence])
            for batch in arguments.batches:
                even = break_even(times, exits, batch=batch, rows=arguments.rows)
                for layers in arguments.mean_layers:
                    one = simulate(times, exits, batch=batch, rows=arguments.rows, mean_layers=layers)
                    one = {"layers": model["layers"], "hidden_size": model["hidden_size"], "sequence": sequence, **one}
                    found.append({**one, "break_even_layers": even})
                    print(
                        f"{one['layers']} x {one['hidden_size']}, {batch} x {sequence} tokens, "
                        f"{one['mean_layers']:.1f} layers: whole model {one['whole_model_rows_per_s']:.0f} rows/s, "
                        f"shrinking {one['shrinking_times_faster']:.2f} x, full {one['full_times_faster']:.2f} x, "
                        f"{100 * one['full_share']:.0f} % full, break-even {even:.1f} layers"
                    )
    document = {
        "schema": SCHEMA,
        "rows": arguments.rows,
        "stages": arguments.stages.name,
        "gpu": measured["gpu"],
        "simulated": found,
    }
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()

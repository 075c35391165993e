"""One bench of everything on the tiny bundle, made once a session."""

import pytest
from support.factories import make_rows, write_tsv

from fastbert.benchmarks.bench import run_bench
from fastbert.benchmarks.options import BenchOptions

SPEEDS = (0.0, 0.4, 1.0)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("bench") / "d.tsv", make_rows(60, seed=3))


@pytest.fixture(scope="session")
def report(bundle, checkpoint_dir, data):
    return run_bench(
        BenchOptions(
            bundle=bundle,
            data=data,
            speeds=SPEEDS,
            scenarios=("single-stream", "offline", "server"),
            checkpoint=checkpoint_dir,
            baselines=("onnxruntime", "onnxruntime-int8", "pytorch-early-exit"),
            threads=1,
            max_seconds=6,
            rates=(20.0, 100_000.0),
        )
    )


@pytest.fixture(scope="session")
def document(report):
    return report.as_dict()

"""One bench of everything on the tiny bundle, made once per session."""

import pytest
from support.factories import make_rows, write_tsv

from fastbert.benchmarks import BenchOptions, bench, run_bench
from fastbert.benchmarks.machine.footprint import Footprint, measure_footprint
from fastbert.benchmarks.report import plots
from fastbert.benchmarks.scenarios import offline, server, single_stream

SPEEDS = (0.0, 0.4, 1.0)
NO_FOOTPRINT = Footprint(1.0, 1.0, None)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("bench") / "d.tsv", make_rows(60, seed=3))


@pytest.fixture(scope="session")
def report(bundle, checkpoint_dir, data):
    """A complete report: two passes, the chain's footprint alone, and a third of a second per arrival rate."""

    def chain_footprint(system, *arguments):
        return measure_footprint(system, *arguments) if system.name == "fp32" else (NO_FOOTPRINT, None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "measure_footprint", chain_footprint)
        _measure_briefly(patch)
        patch.setattr(server, "_QUEUE_S", 0.1)  # a queue of 10,000 requests is too long
        return run_bench(
            BenchOptions(
                bundle=bundle,
                data=data,
                speeds=SPEEDS,
                scenarios=("single-stream", "offline", "server"),
                checkpoint=checkpoint_dir,
                baselines=("onnxruntime", "onnxruntime-int8", "pytorch-early-exit"),
                threads=1,
                max_seconds=60,
                rates=(20.0, 100_000.0),
            )
        )


def _measure_briefly(patch):
    """Two passes, however much they differ, and a third of a second for each arrival rate."""
    patch.setattr(single_stream, "_MAX_PASSES", 2)
    patch.setattr(offline, "_MAX_PASSES", 2)
    patch.setattr(server, "_SECONDS", 0.3)


@pytest.fixture
def brief(monkeypatch):
    """Benches as short as that of `report`; without footprints, which take seconds each."""
    monkeypatch.setattr(bench, "measure_footprint", lambda *_: (NO_FOOTPRINT, None))
    _measure_briefly(monkeypatch)


@pytest.fixture
def one_plot(monkeypatch):
    """Draw the first plot alone: each takes a good part of a second."""
    monkeypatch.setattr(plots, "_PLOTS", {"plot-accuracy": plots._PLOTS["plot-accuracy"]})


@pytest.fixture(scope="session")
def document(report):
    return report.as_dict()

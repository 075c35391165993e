"""``fastbert tune``: operating points, from what may be lost to a speed, with a guarantee where one is asked for."""

from fastbert.benchmarks.tuning.options import TuneOptions
from fastbert.benchmarks.tuning.report import TuneReport
from fastbert.benchmarks.tuning.run import tune

__all__ = ["TuneOptions", "TuneReport", "tune"]

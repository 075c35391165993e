"""Two-phase training: fine-tune the backbone with the last exit, then distil the other exits from it."""

from fastbert.training.options import PhaseOptions, PhaseReport, TrainOptions, TrainReport
from fastbert.training.run import train

__all__ = ["PhaseOptions", "PhaseReport", "TrainOptions", "TrainReport", "train"]

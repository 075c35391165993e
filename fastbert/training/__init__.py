"""Two-phase training: fine-tune the backbone with the last exit, then distil the other exits from it."""

from fastbert.training.run import StageOptions, StageReport, TrainOptions, TrainReport, train

__all__ = ["StageOptions", "StageReport", "TrainOptions", "TrainReport", "train"]

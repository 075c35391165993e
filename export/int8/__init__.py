"""Calibration, and the int8 graphs of the CPU and of GPUs."""

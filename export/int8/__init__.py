"""Int8 graphs for CPUs and GPUs, and their calibration on real rows."""

"""Measurements: latency against the whole model, accuracy at each speed, and the project's own targets."""

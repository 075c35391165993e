"""Checkpoint -> bundle: engines, manifest, golden rows, and the check that they answer as PyTorch does."""

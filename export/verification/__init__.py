"""The check that engines answer as PyTorch does."""

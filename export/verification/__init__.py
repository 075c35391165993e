"""Whether engines answer as PyTorch does."""

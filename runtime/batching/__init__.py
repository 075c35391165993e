"""Many rows: which of them run together, and how their answers come back in order."""

"""Models that join the engines of a variant and read their weights from the engines' files."""
